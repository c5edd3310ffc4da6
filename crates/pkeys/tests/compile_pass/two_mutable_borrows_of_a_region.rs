//! Two regions are borrowed for writing, for one window.

use pkeys::{Domain, Rights, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut region = domain.map::<u64>(8).expect("a region");
    let mut other = domain.map::<u64>(8).expect("a region");
    let window = domain.open(Rights::ReadWrite).expect("a window");
    let first = region.get_mut(&window).expect("the domain's window");
    let second = other.get_mut(&window).expect("the domain's window");
    first[0] = 1;
    second[0] = 2;
}
