//! Every broken rule of signals and threads is noticed by a check of `tests/kernel/`.
//!
//! A program of its own, since a rule is broken for the whole program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kernel/checks/mod.rs"]
mod checks;

use std::panic;
use std::path::{Path, PathBuf};
use std::{env, fs};

use pkeys_kernel::mutant::{self, Mutant};

macro_rules! as_list {
    ($($module:ident: $($check:ident)*;)*) => {
        &[$($((stringify!($check), checks::$module::$check)),*),*]
    };
}

/// A check, and its name.
type Check = (&'static str, fn());

const CHECKS: &[Check] = checks::each_check!(as_list);

/// Rules of the key parts that a thread's life brings to light.
const OF_THREADS: [Mutant; 3] = [
    Mutant::ExecKeepsPkru,
    Mutant::CloneResetsPkru,
    Mutant::ForkForgetsKeys,
];

/// The first check that fails with this rule broken.
fn noticed_by(mutant: Option<Mutant>) -> Option<&'static str> {
    mutant::set(mutant);
    let failed = CHECKS
        .iter()
        .find(|(_, check)| panic::catch_unwind(check).is_err());
    mutant::set(None);
    failed.map(|(name, _)| *name)
}

/// The text of everything in a folder: which mutants are its own stands there and nowhere else.
fn text_of(folder: PathBuf) -> String {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn each_broken_rule_is_noticed() {
    // Checks fail here on purpose: their messages would hide one that counts.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let source = Path::new(&root).join("src");
    let sources: String = ["signal", "task", "ptrace", "syscall", "files"]
        .map(|folder| text_of(source.join(folder)))
        .concat();
    let ours = |mutant: &&Mutant| {
        OF_THREADS.contains(mutant) || sources.contains(&format!("Mutant::{mutant:?})"))
    };
    let found: Vec<_> = Mutant::ALL
        .iter()
        .filter(ours)
        .map(|mutant| (*mutant, noticed_by(Some(*mutant))))
        .collect();
    let without = noticed_by(None);
    panic::set_hook(hook);

    assert_eq!(without, None, "fails with no rule broken");
    assert!(found.len() >= 6, "only {found:?} are in these parts");
    for (mutant, check) in found {
        println!("{mutant:?}: {}", check.unwrap_or("nobody notices"));
        assert!(check.is_some(), "nobody notices {mutant:?}");
    }
}
