//! The elements are taken out of a collection.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut map = domain.keyed_map::<u64, u64>().expect("a map");
    let elements: Vec<(u64, u64)> = map.write().expect("a window").drain().collect();
    println!("{}", elements.len());
}
