//! Elements with interior mutability would be written through a window that only reads.

use core::cell::Cell;

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<Cell<u32>>(8).expect("a region");
    region.read().expect("a window")[0].set(1);
}
