//! A reference outlives its window.

use pkeys::{Domain, Rights, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let region = domain.map::<u64>(8).expect("a region");
    let first = {
        let window = domain.open(Rights::ReadOnly).expect("a window");
        &region.get(&window).expect("the domain's window")[0]
    };
    println!("{first}");
}
