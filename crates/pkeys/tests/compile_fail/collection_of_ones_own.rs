//! A type of one's own is made keyable, with promises that the list of collections keeps.

use pkeys::keyed::{Keyable, KeyedAlloc};
use pkeys::{Domain, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

struct Mine;

unsafe impl Keyable for Mine {
    type In<'w> = Mine;
    type Elements = ();

    fn allocator<'a, 'w>(_: &'a Mine) -> &'a KeyedAlloc<'w> {
        unreachable!()
    }
}

fn main() {
    drop(domain().keyed::<Mine>(|_| Mine));
}
