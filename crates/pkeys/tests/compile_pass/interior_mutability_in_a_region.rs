//! Elements with interior mutability are written through a window that writes.

use core::cell::Cell;

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut region = domain.map::<Cell<u32>>(8).expect("a region");
    region.write().expect("a window")[0].set(1);
}
