//! Breaks rules one at a time, and wants each to be noticed by a check.
//!
//! A rule is broken for the whole program, so that each list of checks has a program of its own for this.

use std::panic;
use std::path::Path;
use std::{env, fs};

use pkeys_kernel::mutant::{self, Mutant};

/// A check, and its name with its module's.
pub(crate) type Check = (&'static str, fn());

/// The checks of the module `checks`, as its list of them has them.
macro_rules! as_list {
    ($($module:ident: $($check:ident)*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($check)), crate::checks::$module::$check)),*),*]
    };
}

/// The mutants whose rules stand in some folders of the sources: which are theirs stands there and nowhere else.
pub(crate) fn of_folders(mutants: &[Mutant], folders: &[&str]) -> Vec<Mutant> {
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    let root = Path::new(&root).join("src");
    let text: String = folders
        .iter()
        .map(|folder| text_below(&root.join(folder)))
        .collect();
    let is_there = |mutant: &&Mutant| text.contains(&format!("Mutant::{mutant:?})"));
    mutants.iter().filter(is_there).copied().collect()
}

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

/// Wants no check to fail with no rule broken, one after the other in this program.
pub(crate) fn assert_pass(checks: &[Check]) {
    mutant::set(None);
    for (_, check) in checks {
        check();
    }
}

/// Wants a check to fail for each mutant.
pub(crate) fn assert_noticed(mutants: &[Mutant], checks: &[Check]) {
    // Checks fail here on purpose: their messages would hide one that counts.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let found: Vec<_> = mutants
        .iter()
        .map(|mutant| (*mutant, noticed_by(*mutant, checks)))
        .collect();
    panic::set_hook(hook);

    for (mutant, check) in &found {
        println!("{mutant:?}: {}", check.unwrap_or("nobody notices"));
    }
    for (mutant, check) in found {
        assert!(check.is_some(), "nobody notices {mutant:?}");
    }
}

/// The first check that fails with this rule broken.
fn noticed_by(mutant: Mutant, checks: &[Check]) -> Option<&'static str> {
    mutant::set(Some(mutant));
    let mut checks = checks.iter();
    let failed = checks.find(|(_, check)| panic::catch_unwind(check).is_err());
    mutant::set(None);
    failed.map(|(name, _)| *name)
}
