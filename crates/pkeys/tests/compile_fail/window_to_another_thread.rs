//! A window is sent to another thread, whose register it does not open.

use pkeys::{Domain, Rights, WithoutKeys};

fn domain() -> Domain {
    let builder = Domain::builder("case").without_keys(WithoutKeys::Mprotect);
    builder.create().expect("a domain")
}

fn main() {
    let domain = domain();
    let window = domain.open(Rights::ReadWrite).expect("a window");
    std::thread::scope(|scope| {
        scope.spawn(move || drop(window));
    });
}
