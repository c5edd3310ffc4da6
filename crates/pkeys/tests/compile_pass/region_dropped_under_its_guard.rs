//! A region is unmapped after its guard.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<u64>(8).expect("a region");
    let guard = region.read().expect("a window");
    println!("{}", guard[0]);
    drop(guard);
    drop(region);
}
