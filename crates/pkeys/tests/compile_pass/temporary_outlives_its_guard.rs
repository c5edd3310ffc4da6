//! A temporary collection borrows an allocator while the guard lives.

use pkeys::keyed::Vec;
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let array = domain.keyed_vec::<u64>().expect("an array");
    {
        let guard = array.share().expect("a window");
        let temporary = Vec::<u64, _>::new_in(guard.allocator());
        println!("{}", temporary.len());
    }
}
