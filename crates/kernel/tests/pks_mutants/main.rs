//! Every broken rule of supervisor keys is noticed by a check of `tests/pks/`.
//!
//! A program of its own, since a rule is broken for the whole program. Among the rules are the protocols that earlier
//! kernels had: the cache written first, the register written first, the thread's rights left in place while its exception
//! is handled, a new thread with its creator's rights.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../pks/checks/mod.rs"]
mod checks;

use std::panic;
use std::path::{Path, PathBuf};
use std::{env, fs};

use pkeys_kernel::mutant::{self, Mutant};

macro_rules! as_list {
    ($($module:ident: $($check:ident)*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($check)), checks::$module::$check)),*),*]
    };
}

/// A check, and its name.
type Check = (&'static str, fn());

const CHECKS: &[Check] = checks::each_check!(as_list);

/// Faulty protocols, which the interleavings by themselves have to find.
const PROTOCOLS: [Mutant; 6] = [
    Mutant::PksCacheFirst,
    Mutant::PksRegisterFirst,
    Mutant::PksContextKept,
    Mutant::PksContextInherited,
    Mutant::PksLoadsOnce,
    Mutant::PksCacheRevalidated,
];

/// The checks of a module that fail with a rule broken: the first one.
fn noticed_by(mutant: Mutant, module: &str) -> Option<&'static str> {
    mutant::set(Some(mutant));
    let mut checks = CHECKS.iter().filter(|(name, _)| name.starts_with(module));
    let failed = checks.find(|(_, check)| panic::catch_unwind(check).is_err());
    mutant::set(None);
    failed.map(|(name, _)| *name)
}

/// The text of the files of the protocol: which mutants are its own stands there and nowhere else.
fn sources() -> String {
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let entries = fs::read_dir(Path::new(&root).join("src/pks")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path: &PathBuf| path.is_file());
    files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}

#[test]
fn each_broken_rule_is_noticed() {
    // Checks fail here on purpose: their messages would hide one that counts.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let sources = sources();
    let ours = |mutant: &&Mutant| sources.contains(&format!("Mutant::{mutant:?})"));
    let found: Vec<_> = Mutant::PKS
        .iter()
        .filter(ours)
        .filter(|mutant| !PROTOCOLS.contains(mutant))
        .map(|mutant| (*mutant, noticed_by(*mutant, "")))
        .collect();
    let by_interleaving = PROTOCOLS.map(|mutant| (mutant, noticed_by(mutant, "interleavings")));
    panic::set_hook(hook);

    assert!(
        found.len() + PROTOCOLS.len() >= 25,
        "only {found:?} are in the protocol"
    );
    let all = || found.iter().chain(&by_interleaving);
    for (mutant, check) in all() {
        println!("{mutant:?}: {}", check.unwrap_or("nobody notices"));
    }
    for (mutant, check) in all() {
        assert!(check.is_some(), "nobody notices {mutant:?}");
    }
}
