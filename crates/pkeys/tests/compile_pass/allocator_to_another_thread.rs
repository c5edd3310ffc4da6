//! Another thread makes what the closure needs.

use pkeys::keyed::Vec;
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let array = domain.keyed::<Vec<u64>>(|alloc| {
        std::thread::scope(|scope| {
            scope.spawn(|| println!("another thread"));
        });
        Vec::new_in(alloc)
    });
    drop(array);
}
