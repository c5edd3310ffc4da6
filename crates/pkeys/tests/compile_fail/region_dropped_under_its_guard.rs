//! A region is unmapped while a guard lends its elements.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<u64>(8).expect("a region");
    let guard = region.read().expect("a window");
    drop(region);
    println!("{}", guard[0]);
}
