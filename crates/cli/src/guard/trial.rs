//! The trial start: whether the program's loader takes the audit library.
//!
//! A loader that cannot load an audit library says so and goes on without it. So the program is started once to list its libraries
//! (`LD_TRACE_LOADED_OBJECTS`), which loads audit libraries and ends before any code of the program runs; the audit library
//! answers on a pipe that it is up. Same file, same environment, same limits: what the loader does now it does again.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use crate::guard::library::Library;
use crate::guard::program::Program;
use crate::guard::settings::{AUDIT_VARIABLE, IS_UP, Settings, VARIABLE};
use crate::guard::{Refusal, text};

/// Starts the program to list its libraries.
pub(super) fn start(
    program: &Program,
    library: &Library,
    settings: &Settings,
) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::Failed(format!("the trial start: {error}"));
    let (mut answer, end) = std::io::pipe().map_err(failed)?;
    keep_across_exec(end.as_raw_fd());
    let settings = Settings {
        trial: end.as_raw_fd(),
        ..settings.clone()
    };
    let done = program
        .command()
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .env(AUDIT_VARIABLE, library.path(false))
        .env(VARIABLE, text(&settings)?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| {
            Refusal::NotExecutable(format!("{}: {error}", program.path().display()))
        })?;
    drop(end);
    let mut said = Vec::new();
    answer.read_to_end(&mut said).map_err(failed)?;
    if said == [IS_UP] {
        return Ok(());
    }
    Err(Refusal::NotGuarded(why(&String::from_utf8_lossy(
        &done.stderr,
    ))))
}

/// What kept the audit library from coming up, from what was said on standard error.
fn why(said: &str) -> String {
    if let Some((_, own)) = said.split_once("pkeys guard: ") {
        return own.lines().next().unwrap_or_default().to_owned();
    }
    if let Some((_, reason)) = said.split_once("audit interface: ") {
        let reason = reason.lines().next().unwrap_or_default();
        let reason = reason.trim_end_matches("; ignored.");
        return format!("the loader does not take the audit library: {reason}");
    }
    "the program's loader did not load the audit library".to_owned()
}

#[allow(unsafe_code, reason = "fcntl(2)")]
fn keep_across_exec(descriptor: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn the_reason_is_found() {
        let loader = "ERROR: ld.so: object 'x' cannot be loaded as audit interface: cannot allocate memory in static TLS block; ignored.\n";
        assert_eq!(
            why(loader),
            "the loader does not take the audit library: cannot allocate memory in static TLS block"
        );
        assert_eq!(why("pkeys guard: no keys\nmore"), "no keys");
        assert!(!why("").is_empty());
    }
}
