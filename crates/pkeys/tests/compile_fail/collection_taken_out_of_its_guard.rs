//! A collection is taken out of its guard, which would need an allocator made from nothing.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut map = domain.keyed_map::<u64, u64>().expect("a map");
    let stolen = core::mem::take(&mut *map.write().expect("a window"));
    println!("{}", stolen.len());
}
