//! `pkeys guard` on real programs and libraries, as a distribution ships them: SQLite's shell, Python, libxml2, LMDB, `LevelDB`.
//!
//! Each does real work twice, as it is and with the library guarded in strict mode, and must print the same. Each is then
//! given a stray write, from the main thread, another thread and a signal handler, and must die of it at the guilty
//! instruction. The verdict is the kernel's: the programs are traced (`ptrace(2)`), and the last `siginfo_t` is compared with what
//! the program said it would do.
//!
//! * [`programs`]: the programs in C and C++ that use the libraries, and how they are built;
//! * [`subject`]: one program and its library; [`run`]: running it, with and without the guard;
//! * [`work`], [`strays`]: the two halves of every subject;
//! * [`shell`]: SQLite's shell, what `--learn` says of it, and how reports end up in a file;
//! * [`ungated`]: the functions that the profile calls without a gate.
//!
//! The libraries come from packages, which a machine need not have: `cargo xtask test --tier guarded` unpacks them for a Linux
//! guest and runs this there. The variable `PKEYS_TEST_PROGRAMS` names the folder of the built programs; without it everything
//! here is left out, and counted as ignored. On a machine with keys and the packages it can be set by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod run;
mod shell;
mod strays;
mod subject;
#[path = "../../../pkeys/tests/common/tracer.rs"]
#[allow(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "ptrace(2)"
)]
mod tracer;
mod ungated;
mod work;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test: its name, and what it does.
type Test = (String, Box<dyn FnOnce() -> Result<(), Failed> + Send>);

/// Names the folder to build the programs into; nothing is tested then.
const BUILD: &str = "PKEYS_TEST_BUILD";

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(BUILD) {
        programs::build(folder.as_ref());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let why = missing();
    if let Some(why) = &why {
        eprintln!("real programs are left out: {why}");
    }
    let tests = work::tests()
        .into_iter()
        .chain(strays::tests())
        .chain(shell::tests())
        .chain(ungated::tests());
    let trials = tests
        .map(|(name, run)| Trial::test(name, run).with_ignored_flag(why.is_some()))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What this cannot run without.
fn missing() -> Option<String> {
    if let Err(missing) = pkeys::support() {
        return Some(missing.to_string());
    }
    programs::folder()
        .is_none()
        .then(|| format!("{} names no folder of programs", programs::FOLDER))
}
