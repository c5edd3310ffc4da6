//! Running a program to its end, and saying what it did when it did not do what it should.

use std::process::Command;

use libtest_mimic::Failed;

use crate::tracer::{self, End, Record};

/// Runs a program, traced.
pub(crate) fn run(command: Command) -> Result<Record, Failed> {
    let shown = format!("{command:?}");
    tracer::run(command).map_err(|error| format!("{shown}: {error}").into())
}

/// The same of one that must end with status 0.
pub(crate) fn run_well(command: Command) -> Result<Record, Failed> {
    let record = run(command)?;
    ensure(record.end == End::Exit(0), "it ended badly", &record)?;
    Ok(record)
}

/// Fails with everything that a program said, unless `is_so`.
pub(crate) fn ensure(is_so: bool, why: &str, record: &Record) -> Result<(), Failed> {
    if is_so {
        return Ok(());
    }
    let Record {
        end,
        signals,
        out,
        err,
        ..
    } = record;
    Err(format!(
        "{why}: {end:?}, signals {signals:x?}\n--- it printed\n{out}\n--- and on standard error\n{err}"
    )
    .into())
}
