//! A value with interior mutability is written through a window that writes.

use core::cell::Cell;

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut slot = domain.place(Cell::new(1)).expect("a slot");
    slot.write().expect("a window").set(2);
}
