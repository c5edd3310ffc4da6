//! Elements with interior mutability are written through a window that writes.

use core::cell::Cell;

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut array = domain.keyed_vec::<Cell<u32>>().expect("an array");
    array.write().expect("a window").push(Cell::new(1));
    array.share().expect("a window")[0].set(2);
}
