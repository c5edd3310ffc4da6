//! A collection is swapped out of its guard: for that another one with such an allocator would be needed.

use pkeys::keyed::Vec;
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut array = domain.keyed_vec::<u64>().expect("an array");
    let stolen;
    {
        let mut guard = array.write().expect("a window");
        let empty = Vec::new_in(guard.allocator().clone());
        stolen = core::mem::replace(&mut *guard, empty);
    }
    println!("{}", stolen.len());
}
