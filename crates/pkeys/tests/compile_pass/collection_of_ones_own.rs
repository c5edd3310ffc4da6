//! A type of one's own is an element of a keyable collection.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

struct Mine;

fn main() {
    drop(domain().keyed_vec::<Mine>());
}
