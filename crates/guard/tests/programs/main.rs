//! Programs and libraries in C and C++, run under the audit library as they are.
//!
//! Each case runs a program of `sources` in a process of its own and judges how it ended, what it printed and what the guard said.
//! Most work with and without protection keys: without, gates and allocator are tried, and nothing is protected. Cases about what is
//! protected need keys; where there are none they are counted as ignored, and `PKEYS_TEST_FORCE=1` makes them failures.
//!
//! The programs are built by the compiler that `cc` finds, once. Where there is no compiler, as in a guest:
//!
//! ```text
//! PKEYS_TEST_BUILD=DIR programs        builds them all into DIR, and ends
//! PKEYS_TEST_PROGRAMS=DIR programs     runs the cases with those
//! ```
//!
//! `libpkeys_guard.so` is looked for beside this program, and one folder up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod children;
mod domains;
mod fixtures;
mod interrupted;
mod memory;
mod modes;
mod objects;
mod pages;
mod run;
mod settings;
mod signals;
mod strays;
mod threads;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// What a case needs beyond a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// Protection keys.
    Keys,
    /// A linker that packs relocations, when the programs are built.
    Packing,
}

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) body: fn(),
}

/// A case of that name, which is its function's.
macro_rules! case {
    ($needs:ident, $body:ident) => {
        $crate::Case {
            name: concat!(module_path!(), "::", stringify!($body)),
            needs: $crate::Needs::$needs,
            body: $body,
        }
    };
}

pub(crate) use case;

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os("PKEYS_TEST_BUILD") {
        fixtures::build(Path::new(&folder));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        fixtures::folder();
    }
    if let Err(missing) = pkeys::support() {
        eprintln!("without keys, nothing is protected here: {missing}");
    }
    let is_forced = std::env::var_os("PKEYS_TEST_FORCE").is_some_and(|value| value == "1");
    let all: [&'static [Case]; 12] = [
        interrupted::CASES,
        threads::CASES,
        signals::CASES,
        memory::CASES,
        objects::CASES,
        domains::CASES,
        children::CASES,
        calls::CASES,
        strays::CASES,
        settings::CASES,
        modes::CASES,
        pages::CASES,
    ];
    let trials = all
        .into_iter()
        .flatten()
        .map(|case| trial(case, is_forced))
        .collect();
    let status = libtest_mimic::run(&arguments, trials).exit_code();
    fixtures::remove();
    status
}

fn trial(case: &'static Case, is_forced: bool) -> Trial {
    let missing = match case.needs {
        Needs::Keys if !run::has_keys() => Some("protection keys"),
        Needs::Packing if !fixtures::can_pack() => Some("a linker that packs relocations"),
        _ => None,
    };
    let name = case.name.trim_start_matches("programs::");
    let run = move || match missing {
        Some(missing) => Err(Failed::from(format!("needs {missing}"))),
        None => {
            (case.body)();
            Ok(())
        }
    };
    Trial::test(name, run).with_ignored_flag(missing.is_some() && !is_forced)
}
