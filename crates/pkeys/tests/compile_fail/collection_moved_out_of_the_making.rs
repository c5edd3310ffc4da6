//! A collection is moved out of the closure that made it, to be dropped outside of a window.

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
        outside = Some(Vec::<u64, _>::new_in(alloc));
        unreachable!()
    });
    drop((array, outside));
}
