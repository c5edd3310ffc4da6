//! Zeroed memory is a value of the element type: an absent reference.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<*const u8>(8).expect("a region");
    drop(region);
}
