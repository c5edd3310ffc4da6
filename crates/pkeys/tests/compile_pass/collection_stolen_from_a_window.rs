//! A collection is used while the window that it was lent for is open.

use pkeys::{Domain, Rights, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut array = domain.keyed_vec::<u64>().expect("an array");
    let window = domain.open(Rights::ReadWrite).expect("a window");
    let inside = array.get_mut(&window).expect("the domain's window");
    inside.push(1);
    drop(window);
}
