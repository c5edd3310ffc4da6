//! A collection that was lent for a window is used when the window is gone.

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
    drop(window);
    inside.push(1);
}
