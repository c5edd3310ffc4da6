//! An allocator is kept beyond the closure that it was given to.

use pkeys::keyed::Vec;
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut outside = None;
    let array = domain.keyed::<Vec<u64>>(|alloc| {
        outside = Some(alloc);
        unreachable!()
    });
    drop((array, outside));
}
