//! What the environment says: `PKEYS_MODE` and `PKEYS_REPORT`.
//!
//! An operator turns a running program's protection up or down without a new build. In a set-user-ID program the
//! environment is the attacker's: the kernel says so by `AT_SECURE` (`getauxval(3)`), and both variables are then
//! ignored.
#![allow(unsafe_code, reason = "getauxval(3)")]

use core::fmt;
use std::ffi::OsString;
use std::path::PathBuf;

use pkeys_core::Mode;

/// Overrides the mode of every domain that does not pin its own.
pub const MODE_VARIABLE: &str = "PKEYS_MODE";

/// Names the file that reports are appended to as JSON lines.
pub const REPORT_VARIABLE: &str = "PKEYS_REPORT";

/// A variable of the environment holds something else than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnvironmentError {
    /// The variable's name.
    pub variable: &'static str,
    /// What it holds.
    pub value: OsString,
    /// What it may hold.
    pub expected: &'static str,
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            expected,
        } = self;
        write!(f, "{variable} is {value:?}, expected {expected}")
    }
}

impl core::error::Error for EnvironmentError {}

/// The mode that `PKEYS_MODE` asks for; `None` where it is unset, empty or to be ignored.
pub(crate) fn mode() -> Result<Option<Mode>, EnvironmentError> {
    let Some(value) = variable(MODE_VARIABLE) else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(mode) => Ok(Some(mode)),
        None => Err(EnvironmentError {
            variable: MODE_VARIABLE,
            value,
            expected: "strict, relaxed, silent or off",
        }),
    }
}

/// The file that `PKEYS_REPORT` names; `None` where it is unset, empty or to be ignored.
pub(crate) fn report_path() -> Option<PathBuf> {
    variable(REPORT_VARIABLE).map(PathBuf::from)
}

fn variable(name: &str) -> Option<OsString> {
    if is_privileged() {
        return None;
    }
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether the program runs with rights that its caller has not (`AT_SECURE`).
fn is_privileged() -> bool {
    // SAFETY: reads the auxiliary vector of this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
