//! The collection is lent to another thread, which opens it there.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let array = domain.keyed_vec::<u64>().expect("an array");
    std::thread::scope(|scope| {
        scope.spawn(|| array.read().expect("a window").len());
    });
}
