//! The elements are cloned to the ordinary heap.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let array = domain.keyed_vec::<u64>().expect("an array");
    let copy = {
        let guard = array.read().expect("a window");
        (*guard).to_vec()
    };
    println!("{}", copy.len());
}
