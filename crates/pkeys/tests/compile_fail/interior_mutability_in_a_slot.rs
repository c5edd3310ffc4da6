//! A value with interior mutability would be written through a window that only reads.

use core::cell::Cell;

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let slot = domain.place(Cell::new(1)).expect("a slot");
    slot.read().expect("a window").set(2);
}
