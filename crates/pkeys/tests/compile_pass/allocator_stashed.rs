//! What the closure may keep of its allocator is the domain's name.

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
        outside = Some(alloc.domain_name().to_owned());
        Vec::new_in(alloc)
    });
    drop((array, outside));
}
