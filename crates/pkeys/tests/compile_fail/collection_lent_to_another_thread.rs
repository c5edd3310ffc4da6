//! A collection in its window is lent to another thread, where the window is not open.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let array = domain.keyed_vec::<u64>().expect("an array");
    let guard = array.read().expect("a window");
    let inside = &*guard;
    std::thread::scope(|scope| {
        scope.spawn(move || println!("{}", inside.len()));
    });
}
