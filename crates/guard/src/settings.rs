//! What the launcher tells the audit library: one variable of the environment, a JSON object.
//!
//! This file is part of both programs, which cannot share a crate: the launcher carries the audit library as a file.

use serde::{Deserialize, Serialize};

/// The variable.
pub const VARIABLE: &str = "PKEYS_GUARD";

/// The variable by which the loader finds the audit library (`ld.so(8)`).
pub const AUDIT_VARIABLE: &str = "LD_AUDIT";

/// Exit status of a program that could not be guarded, before its first instruction.
pub const NOT_GUARDED: i32 = 3;

/// Exit status under `--require` of a program in which there was nothing to guard.
pub const NOTHING_GUARDED: i32 = 4;

/// What the audit library writes to the launcher's descriptor when it has been loaded and can do its work.
pub const IS_UP: u8 = b'+';

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The domains, each with the libraries that share it.
    pub domains: Vec<DomainSettings>,
    /// `strict`, `relaxed`, `silent` or `off`.
    pub mode: String,
    /// `instruction` or `context`.
    pub pardon: String,
    /// Whether the key protects the libraries' `.data` and `.bss` too.
    pub data: bool,
    /// Whether memory that the libraries map and can write goes behind the key too.
    pub mmap: bool,
    /// Whether to record which gates allocated what the program wrote to.
    pub learn: bool,
    /// Whether to print what was done when the program ends.
    pub stats: bool,
    /// Whether the program's children are guarded too.
    pub inherit: bool,
    /// Whether a program in which there was nothing to guard ends with [`NOTHING_GUARDED`].
    pub require: bool,
    /// How many seconds a thread that has strayed waits for its report at most; where it is not given, as the library `pkeys` does.
    pub report_wait: Option<u64>,
    /// The file for reports, as JSON lines; empty for none.
    pub report: String,
    /// Gates and allocator without keys: nothing is protected. For tests and measurements.
    pub is_unprotected: bool,
    /// Without keys, heaps are closed by `mprotect(2)` outside gates, in a program with one thread. For a figure only.
    pub by_mprotect: bool,
    /// The launcher's descriptor in a trial start; negative in the program itself.
    pub trial: i32,
}

/// One domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainSettings {
    /// Names of libraries, as the loader knows them (`libsqlite3.so.0`).
    pub libraries: Vec<String>,
    /// Functions whose allocations belong to the caller.
    pub share: Vec<String>,
    /// Functions that take callbacks, and which of their arguments these are, from 0.
    pub callbacks: Vec<(String, Vec<u8>)>,
    /// Functions that write nothing behind the key, and are called without a gate.
    pub ungated: Vec<String>,
}

impl DomainSettings {
    /// The domain's name in reports: its first library.
    #[must_use]
    pub fn name(&self) -> &str {
        self.libraries.first().map_or("", String::as_str)
    }

    /// All functions that are named.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let callbacks = self.callbacks.iter().map(|(name, _)| name);
        self.share
            .iter()
            .chain(callbacks)
            .chain(&self.ungated)
            .map(String::as_str)
    }
}
