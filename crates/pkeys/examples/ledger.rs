//! A ledger that everybody may read and nobody may write but in a window, and a stray write to it.
//!
//! `cargo run -p pkeys --example ledger`

use pkeys::{Domain, Rights, WithoutKeys};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let ledger = Domain::builder("ledger")
        .closed(Rights::ReadOnly)
        .without_keys(WithoutKeys::Mprotect)
        .create()?;
    let mut balances = ledger.map_named::<u64>("balances", 1_000_000)?;

    balances.write()?[3] += 10; // a window for one region, shaped like a lock guard
    {
        let window = ledger.open(Rights::ReadWrite)?; // a window for many regions
        let balances = balances.get_mut(&window)?;
        balances[7] = balances[3];
    }
    println!("{} and {}", balances.read()?[3], balances.read()?[7]);

    // Somewhere else, an address that should have been forgotten.
    let stale = balances.as_ptr().expose_provenance();
    let telemetry = std::thread::Builder::new().name("telemetry".into());
    let thread = telemetry.spawn(move || count_event(stale))?;
    let _ = thread.join();
    Ok(())
}

fn count_event(counter: usize) {
    let counter = core::ptr::with_exposed_provenance_mut::<u64>(counter + 56);
    // SAFETY: none: this is the bug.
    #[allow(unsafe_code, reason = "the bug that the example is about")]
    unsafe {
        *counter += 1;
    }
}
