//! An allocator is lent to another thread, where no window is open.

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
            scope.spawn(|| println!("{alloc:?}"));
        });
        Vec::new_in(alloc)
    });
    drop(array);
}
