//! A collection is used while its guard lives.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut map = domain.keyed_map::<u64, u64>().expect("a map");
    let mut guard = map.write().expect("a window");
    let inside = &mut *guard;
    inside.insert(1, 2);
    drop(guard);
}
