//! Why a command did not do its work: one line for the person who called it, and the exit status.
//!
//! The statuses of all commands: 0 done, 1 failed, 2 usage (clap's own), 3 no usable keys for a command that cannot do
//! without. A reader who leaves before the end, as `head` does, is no failure.

use core::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit status: the work could not be done.
const FAILED: u8 = 1;

/// Exit status: the arguments ask for something that there is not, which clap could not know.
const USAGE: u8 = 2;

/// Exit status: there are no keys here that this process could use.
pub(crate) const NO_KEYS: u8 = 3;

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong; the text says what, in one line.
    Failed(String),
    /// The arguments name something that there is not; the text says what, in one line.
    Usage(String),
    /// Nobody reads the output any more.
    ReaderLeft,
}

impl Failure {
    /// Tells the person, and gives the exit status.
    pub(crate) fn end(self) -> ExitCode {
        match self {
            Self::Failed(text) => say(&text, FAILED),
            Self::Usage(text) => say(&text, USAGE),
            Self::ReaderLeft => ExitCode::SUCCESS,
        }
    }
}

/// Writes the line, and gives the status.
fn say(text: &str, status: u8) -> ExitCode {
    // Where even this cannot be written, the status says it.
    let _ = writeln!(io::stderr(), "pkeys: {text}");
    ExitCode::from(status)
}

/// An error in writing the output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Says what was being done when an error came.
pub(crate) trait Doing<T> {
    /// The error with what was being done in front: `doing: error`.
    fn doing(self, doing: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed(format!("{doing}: {error}")))
    }
}
