//! What a program sets: where reports go, and how long a thread that strayed waits for its report.

use core::fmt;
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::env;
use crate::fault::report::channel::Channel;
use crate::fault::report::modules;
use crate::fault::report::outlets;
use crate::fault::report::reporter::{self, Settings};
use crate::fault::stray::Stray;

/// The channel of this process.
static CHANNEL: Channel = Channel::new();

/// Whether the environment has been asked. The lock also lets one thread at a time change where reports go.
static IS_CONFIGURED: Mutex<bool> = Mutex::new(false);

/// Appends reports to a file as JSON lines, from now on and instead of to the file before. The file is made if it is not
/// there. What the lines hold is described at the top of this module.
///
/// `PKEYS_REPORT`, where it is set, takes this file's place when the first domain is made: the operator has the last word.
/// A program that sets a file after that has it.
///
/// # Errors
///
/// [`ReportError::Open`] with the path, when the file cannot be opened to append to. Reports go where they went.
pub fn append_to(path: impl AsRef<Path>) -> Result<(), ReportError> {
    let path = path.as_ref();
    let _lock = lock();
    set_file(path).map_err(|source| ReportError::Open {
        path: path.to_owned(),
        source,
    })
}

/// Turns reports on standard error on, which they are unless this is called, or off.
pub fn to_terminal(is_on: bool) {
    CHANNEL
        .outlets
        .set_terminal(is_on.then_some(libc::STDERR_FILENO));
}

/// Sets how long a thread that strayed waits for its report, 3 seconds unless this is called. The raw record is written
/// before it waits, so that only names and the call chain can be missing when the time is up. Without any time the chain is
/// never known.
pub fn wait_at_most(time: Duration) {
    CHANNEL.set_wait(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// Makes sure that there is a reporter in this process and that `PKEYS_REPORT` was heeded.
pub(crate) fn start() -> Result<(), StartError> {
    let mut is_configured = lock();
    if !*is_configured {
        if let Some(path) = env::report_path() {
            set_file(&path).map_err(|source| StartError::ReportFile { path, source })?;
        }
        *is_configured = true;
    }
    if !CHANNEL.has_reporter() {
        reporter::spawn(&CHANNEL, settings()).map_err(|source| StartError::Thread { source })?;
    }
    Ok(())
}

/// Puts a stray access on record and has it reported. For the fault handler: see [`Channel::emit`].
pub(crate) fn emit(stray: &Stray) {
    CHANNEL.emit(stray);
}

/// In a child of `fork(2)`: the reporter is not there.
pub(crate) fn forget() {
    CHANNEL.forget();
}

/// The locks of normal context, held across `fork(2)`: never looked into, only given back.
#[derive(Debug)]
#[expect(dead_code, reason = "held, and given back by its drop")]
pub(crate) struct ForkLock(MutexGuard<'static, bool>, modules::ForkLock);

/// Takes the locks of normal context.
pub(crate) fn lock_for_fork() -> ForkLock {
    ForkLock(lock(), modules::lock_for_fork())
}

fn set_file(path: &Path) -> io::Result<()> {
    CHANNEL.outlets.set_file(outlets::open(path)?)
}

/// The environment is asked once, here: the thread that strays may be changing it.
fn settings() -> Settings {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Settings {
        allows_colour: !is_set("NO_COLOR") && !is_dumb,
    }
}

fn lock() -> MutexGuard<'static, bool> {
    // What it guards is whole between any two steps.
    IS_CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports cannot be written where they should go.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReportError {
    /// The file cannot be opened to append to.
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => {
                write!(f, "cannot append reports to {}: {source}", path.display())
            }
        }
    }
}

impl core::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } => Some(source),
        }
    }
}

/// Reports cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The file that `PKEYS_REPORT` names cannot be opened to append to.
    ReportFile {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The thread that makes reports cannot be started.
    Thread {
        /// What the kernel answered.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReportFile { path, source } => write!(
                f,
                "cannot append reports to {} ({}): {source}",
                path.display(),
                env::REPORT_VARIABLE
            ),
            Self::Thread { source } => {
                write!(f, "cannot start the thread that writes reports: {source}")
            }
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::ReportFile { source, .. } | Self::Thread { source } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::error::Error;

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = append_to("/nonexistent/report.jsonl").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nonexistent/report.jsonl"), "{text}");
        assert!(text.contains("No such file"), "{text}");
        assert!(error.source().is_some());
    }

    #[test]
    fn what_keeps_reports_from_being_made_is_named() {
        let source = || io::Error::from_raw_os_error(libc::EAGAIN);
        let path = PathBuf::from("/a/report.jsonl");
        let error = StartError::ReportFile {
            path,
            source: source(),
        };
        let text = error.to_string();
        assert!(text.contains("/a/report.jsonl (PKEYS_REPORT)"), "{text}");
        assert!(error.source().is_some());
        let error = StartError::Thread { source: source() };
        assert!(
            error.to_string().contains("temporarily unavailable"),
            "{error}"
        );
        assert!(error.source().is_some());
    }

    #[test]
    fn starting_again_changes_nothing() {
        start().unwrap();
        assert!(CHANNEL.has_reporter());
        let bell = CHANNEL.bell.load(core::sync::atomic::Ordering::SeqCst);
        start().unwrap();
        assert!(CHANNEL.has_reporter());
        assert_eq!(
            CHANNEL.bell.load(core::sync::atomic::Ordering::SeqCst),
            bell
        );
    }
}
