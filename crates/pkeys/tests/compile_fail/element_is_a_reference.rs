//! Zeroed memory is not a value of the element type: a reference is never null.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<&'static u8>(8).expect("a region");
    drop(region);
}
