//! A closure gives a collection with an allocator of another closure.

use pkeys::keyed::Vec;
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let outer = domain.keyed::<Vec<u64>>(|outer| {
        let inner = domain.keyed::<Vec<u64>>(|inner| {
            drop(inner);
            Vec::new_in(outer)
        });
        drop(inner);
        unreachable!()
    });
    drop(outer);
}
