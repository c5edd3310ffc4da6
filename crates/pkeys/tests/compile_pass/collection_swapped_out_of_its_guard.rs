//! Two collections are swapped between their guards.

use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let mut array = domain.keyed_vec::<u64>().expect("an array");
    let mut other = domain.keyed_vec::<u64>().expect("an array");
    {
        let mut guard = array.write().expect("a window");
        let mut other = other.write().expect("a window");
        core::mem::swap(&mut *guard, &mut *other);
    }
    println!("{}", array.read().expect("a window").len());
}
