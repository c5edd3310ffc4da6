//! Names of functions that the user gave: each must be one of the library's, or the nearest ones are said.

use std::collections::BTreeSet;

use crate::domain::Guarded;
use crate::elf::Dynamic;
use crate::nearest::nearest;

/// Checks the names of a domain against a library that was loaded. Of several libraries, each has only some of the functions: the
/// launcher has checked what it could.
pub(crate) fn check(guarded: &Guarded, dynamic: &Dynamic) -> Result<(), String> {
    if is_one_of_many(guarded) || guarded.settings.functions().next().is_none() {
        return Ok(());
    }
    for name in guarded.settings.functions() {
        if dynamic
            .defined(name)
            .is_none_or(|symbol| !symbol.is_function())
        {
            let exported: BTreeSet<String> = dynamic
                .all_symbols()
                .filter(|symbol| symbol.is_defined() && symbol.is_function())
                .map(|symbol| dynamic.name(&symbol))
                .collect();
            let nearest = nearest(name, exported.iter().map(String::as_str)).join(", ");
            return Err(format!("no function {name}; the nearest are {nearest}"));
        }
    }
    Ok(())
}

fn is_one_of_many(guarded: &Guarded) -> bool {
    guarded.settings.libraries.len() > 1 || crate::domain::all().len() > 1
}
