//! The process tier: one process a case, the kernel's own word as the verdict.
//!
//! This program is its own subject. Run without `PKEYS_CASE` it lists the cases to the test runner, and runs each by
//! executing itself with `PKEYS_CASE` set, under `ptrace(2)`: how the case ended, and every signal that it was about to
//! get, comes from the kernel, not from the library under test. A case that is to be stopped prints what it is about
//! to do (`EXPECT` lines, see [`case`]) and must then die of exactly that.
//!
//! It cannot show speed, and with `mprotect(2)` in place of keys it skips what names threads: the skips are counted as
//! ignored, with the reason, and `PKEYS_TEST_FORCE=1` makes them failures.
#![allow(
    clippy::unwrap_used,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test: what goes wrong ends it"
)]

mod case;
mod cases;
mod jump;
#[path = "../common/tracer.rs"]
mod tracer;

use std::process::{Command, ExitCode};

use case::{Case, Needs};
use libtest_mimic::{Arguments, Failed, Trial};
use tracer::Record;

fn main() -> ExitCode {
    let cases = cases::all();
    if let Some(name) = std::env::var_os("PKEYS_CASE") {
        let case = cases.iter().find(|case| name == case.name);
        (case.expect("a case of that name").body)();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let missing = pkeys::support().err();
    if let Some(missing) = missing {
        eprintln!("process tier without keys: {missing}");
    }
    let is_forced = std::env::var_os("PKEYS_TEST_FORCE").is_some_and(|value| value == "1");
    let trials = cases
        .into_iter()
        .map(|case| {
            let is_skipped = missing.is_some() && case.needs == Needs::Keys;
            let name = case.name;
            let run = move || run(&case, is_skipped);
            Trial::test(name, run).with_ignored_flag(is_skipped && !is_forced)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(case: &Case, is_skipped: bool) -> Result<(), Failed> {
    if is_skipped {
        return Err("needs protection keys, and PKEYS_TEST_FORCE=1 allows no skip".into());
    }
    let mut command = Command::new("/proc/self/exe");
    command
        .env("PKEYS_CASE", case.name)
        .env_remove("PKEYS_MODE")
        .env_remove("PKEYS_REPORT")
        .envs(case.env.iter().copied());
    let record = tracer::run(command)?;
    case::judge(case, &record).map_err(|why| {
        let Record { out, err, .. } = &record;
        format!("{why}\n--- what the case printed\n{out}\n--- and on standard error\n{err}").into()
    })
}
