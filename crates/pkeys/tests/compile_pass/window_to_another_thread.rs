//! The domain is lent to another thread, which opens a window of its own.

use pkeys::{Domain, Rights, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let window = domain.open(Rights::ReadWrite).expect("a window");
            drop(window)
        });
    });
}
