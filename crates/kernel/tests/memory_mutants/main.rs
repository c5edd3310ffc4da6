//! Every broken rule of the memory part is noticed by a check of `tests/memory/`.
//!
//! A program of its own, since a rule is broken for the whole program.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test, with numbers that it chose itself"
)]

#[path = "../memory/checks/mod.rs"]
mod checks;

use std::panic;
use std::path::Path;
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

/// The first check that fails with this rule broken.
fn noticed_by(mutant: Option<Mutant>) -> Option<&'static str> {
    mutant::set(mutant);
    let failed = CHECKS
        .iter()
        .find(|(_, check)| panic::catch_unwind(check).is_err());
    mutant::set(None);
    failed.map(|(name, _)| *name)
}

/// The text of a folder: which mutants are its own stands there and nowhere else.
fn text_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            if path.is_dir() {
                text_below(&path)
            } else {
                fs::read_to_string(path).unwrap()
            }
        })
        .collect()
}

#[test]
fn each_broken_rule_is_noticed() {
    // Checks fail here on purpose: their messages would hide one that counts.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let sources = text_below(&Path::new(&root).join("src/memory"));
    let ours = |mutant: &&Mutant| sources.contains(&format!("Mutant::{mutant:?})"));
    let found: Vec<_> = Mutant::ALL
        .iter()
        .filter(ours)
        .map(|mutant| (*mutant, noticed_by(Some(*mutant))))
        .collect();
    let without = noticed_by(None);
    panic::set_hook(hook);

    assert_eq!(without, None, "fails with no rule broken");
    assert!(found.len() >= 6, "only {found:?} are in the memory part");
    for (mutant, check) in found {
        println!("{mutant:?}: {}", check.unwrap_or("nobody notices"));
        assert!(check.is_some(), "nobody notices {mutant:?}");
    }
}
