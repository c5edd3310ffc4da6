//! `pkeys guard`: an unmodified library's heap behind a key, in an unmodified program.
//!
//! This is the launcher. It turns arguments into the settings of the audit library (`crates/guard`), finds out from outside whether the
//! program can be guarded, makes a trial start, and executes the program in its own place: status, signals and terminal are
//! the program's.
//!
//! * [`options`]: libraries, functions, callbacks, and profiles ([`profile`]) into settings ([`settings`]);
//! * [`known`]: names of functions against the library's file, where it is found;
//! * [`program`]: what is started, and why it cannot be guarded;
//! * [`library`]: the audit library, which travels inside this program, as a file without a name;
//! * [`trial`]: the loader goes on without an audit library that it cannot load. So it is asked first.

mod known;
mod library;
mod options;
mod profile;
mod program;
mod trial;

#[path = "../../../guard/src/nearest.rs"]
#[allow(
    unreachable_pub,
    reason = "shared with the audit library, where it is public"
)]
mod nearest;
#[path = "../../../guard/src/settings.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the audit library, which uses the rest"
)]
mod settings;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pkeys::{Mode, Pardon};

use crate::failure::Failure;
use library::Library;
use program::Program;
use settings::{AUDIT_VARIABLE, NOT_GUARDED, Settings, VARIABLE};

/// Exit status: the program is there and cannot be executed, as `env(1)` and shells have it.
const NOT_EXECUTABLE: u8 = 126;

/// Exit status: the program is not there.
const NOT_FOUND: u8 = 127;

/// Run a program with a library's heap behind a key
///
/// The heap of each library is writable only while the library itself runs. A write by anything else stops at the guilty
/// instruction, with a report. Neither the program nor the library is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// A library by the name that the loader knows it by, such as libsqlite3.so.0; several with commas between them share a key
    #[arg(long = "lib", value_name = "SONAME[,SONAME]")]
    libraries: Vec<String>,
    /// Settings for a library: a name that comes with this program (sqlite), or a file
    #[arg(long, value_name = "NAME|FILE")]
    profile: Vec<String>,
    /// What becomes of a stray write: strict stops the program, relaxed reports each place once, silent counts, off does not protect
    #[arg(long, value_name = "MODE", default_value = "strict", value_parser = mode)]
    mode: Mode,
    /// How a stray write is let through when the mode is relaxed or silent: for one instruction, or until the thread's next call of the library ends (context)
    #[arg(long, value_name = "HOW", default_value = "instruction", value_parser = pardon)]
    pardon: Pardon,
    /// Functions whose allocations belong to their caller, who may write to them
    #[arg(long, value_name = "FN,..", value_delimiter = ',')]
    share: Vec<String>,
    /// Close the key while callbacks run that FN is given as these arguments, counted from 0
    #[arg(long, value_name = "FN:ARG+ARG,..", value_delimiter = ',')]
    callbacks: Vec<String>,
    /// Functions that write nothing behind the key, to be called without a gate
    #[arg(long, value_name = "FN,..", value_delimiter = ',')]
    ungated: Vec<String>,
    /// Put the library's variables (.data and .bss) behind the key too
    #[arg(long)]
    data: bool,
    /// Put memory that the library maps and can write behind the key too, files included
    #[arg(long)]
    mmap: bool,
    /// Run relaxed, and print at the end which functions need --share
    #[arg(long, conflicts_with = "mode")]
    learn: bool,
    /// Append reports to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How long a thread that has strayed waits for its report: 3 seconds; the symbols of a large program may take longer
    #[arg(long, value_name = "SECONDS")]
    report_wait: Option<u64>,
    /// Print what was done when the program ends
    #[arg(long)]
    stats: bool,
    /// Guard the program's children too
    #[arg(long)]
    inherit: bool,
    /// End with status 4 when the program has not loaded every library
    #[arg(long)]
    require: bool,
    /// Gates and allocator without keys: nothing is protected
    #[arg(long, hide = true)]
    without_keys: bool,
    /// Gates by mprotect(2) in place of keys, for programs with one thread: nothing but a figure to hold keys against
    #[arg(long, hide = true)]
    by_mprotect: bool,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

const HELP: &str = "\
Example: pkeys guard --profile sqlite -- python3 app.py

Exit status: the program's own; 1 the report cannot be written, 2 usage (an unknown profile or function among it), 3 the program \
cannot be guarded and was not started, 4 a library was not loaded (--require), 126 not executable, 127 not found";

fn mode(text: &str) -> Result<Mode, String> {
    text.parse::<Mode>().map_err(|error| error.to_string())
}

fn pardon(text: &str) -> Result<Pardon, String> {
    text.parse::<Pardon>().map_err(|error| error.to_string())
}

/// Why the program is not started.
#[derive(Debug)]
enum Refusal {
    /// What was asked for does not exist.
    Usage(String),
    /// Something on this side failed.
    Failed(String),
    /// The program cannot be guarded.
    NotGuarded(String),
    /// There is no such program.
    NotFound(String),
    /// It cannot be executed.
    NotExecutable(String),
}

impl Refusal {
    /// The line and the status.
    fn end(self) -> ExitCode {
        let (text, status) = match self {
            Self::Usage(text) => (text, 2),
            Self::Failed(text) => (text, 1),
            Self::NotGuarded(text) => (text, u8::try_from(NOT_GUARDED).unwrap_or(u8::MAX)),
            Self::NotExecutable(text) => (text, NOT_EXECUTABLE),
            Self::NotFound(text) => (text, NOT_FOUND),
        };
        // Where even this cannot be written, the status says it.
        let _ = writeln!(std::io::stderr(), "pkeys guard: {text}");
        ExitCode::from(status)
    }
}

/// Runs the command: it comes back only where the program was not started.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match start(args) {
        Ok(never) => match never {},
        Err(refusal) => Ok(refusal.end()),
    }
}

fn start(args: &Args) -> Result<core::convert::Infallible, Refusal> {
    let mut settings = settings(args)?;
    if !settings.is_unprotected {
        pkeys::support().map_err(|error| Refusal::NotGuarded(error.to_string()))?;
    }
    if std::env::var_os(AUDIT_VARIABLE).is_some_and(|value| !value.is_empty()) {
        let text = format!(
            "{AUDIT_VARIABLE} is set: another audit library would decide over the same calls"
        );
        return Err(Refusal::NotGuarded(text));
    }
    let program = Program::find(&args.command)?;
    if let Some(path) = &args.report {
        settings.report = report(path)?;
    }
    let library = Library::open().map_err(Refusal::Failed)?;
    trial::start(&program, &library, &settings)?;
    let error = program
        .command()
        .env(AUDIT_VARIABLE, library.path(settings.inherit))
        .env(VARIABLE, text(&settings)?)
        .exec();
    Err(Refusal::NotExecutable(format!(
        "{}: {error}",
        program.path().display()
    )))
}

/// The settings as the audit library reads them.
fn text(settings: &Settings) -> Result<String, Refusal> {
    serde_json::to_string(settings).map_err(|error| Refusal::Failed(error.to_string()))
}

fn settings(args: &Args) -> Result<Settings, Refusal> {
    let mut domains = options::domains(args)?;
    known::assign(&mut domains)?;
    let mode = if args.learn { Mode::Relaxed } else { args.mode };
    Ok(Settings {
        domains: domains
            .into_iter()
            .map(options::Domain::into_settings)
            .collect(),
        mode: mode.to_string(),
        pardon: args.pardon.to_string(),
        data: args.data,
        mmap: args.mmap,
        learn: args.learn,
        stats: args.stats,
        inherit: args.inherit,
        require: args.require,
        report_wait: args.report_wait,
        report: String::new(),
        is_unprotected: args.without_keys || args.by_mprotect,
        by_mprotect: args.by_mprotect,
        trial: -1,
    })
}

/// The report's file, whole, made and tried with a first line: a disk that is full now is said now.
fn report(path: &Path) -> Result<String, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::Failed(format!(
            "cannot write reports to {}: {error}",
            path.display()
        ))
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(b"{\"schema\":1,\"kind\":\"guard\"}\n")
        .map_err(failed)?;
    let whole = std::path::absolute(path).map_err(failed)?;
    whole.into_os_string().into_string().map_err(|_| {
        let error = std::io::Error::other("the path is not UTF-8");
        failed(error)
    })
}
