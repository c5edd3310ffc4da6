//! `cargo xtask guest`: one program in the guest. How it is called stands at the top of [`mod@super`].

use super::contents::Contents;
use super::program::{Call, Ended, Guest};
use super::{Options, put_in};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use core::ops::ControlFlow;
use put_in::PutIn;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run one program in the Linux guest.
///
/// Its output is printed, and its status is this command's: 128+N when signal N ended it, 124 when the time limit did.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --packages the guest has no libraries, so the program must be static, or come --with-libs. For example:

  RUSTFLAGS=-Ctarget-feature=+crt-static \\
      cargo build --release --package pkeys-cli --target x86_64-unknown-linux-gnu
  cargo xtask guest --exec target/x86_64-unknown-linux-gnu/release/pkeys -- doctor
  cargo xtask guest --exec target/x86_64-unknown-linux-gnu/release/pkeys --guest-cpu max,-pku -- demo
  cargo xtask guest --packages python3 --exec /usr/bin/python3 -- -c 'import sqlite3; print(sqlite3.sqlite_version)'
  cargo xtask guest --with-libs --exec ./a.out")]
pub(crate) struct Args {
    /// The program: an absolute path in the guest's root, or a file on this machine, which is put in
    #[arg(long, value_name = "PROG")]
    exec: PathBuf,
    /// Debian or Ubuntu packages of this machine's release, which come with what they depend on
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    packages: Vec<String>,
    /// Put a file or folder of this machine in, at the same path or at GUEST
    #[arg(long = "file", value_name = "HOST[:GUEST]", value_parser = PutIn::parse)]
    files: Vec<PutIn>,
    /// Put in the shared libraries of this machine that the program and the files need and the guest does not have
    #[arg(long)]
    with_libs: bool,
    /// Set an environment variable of the program
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = put_in::variable)]
    variables: Vec<(String, String)>,
    /// What the program reads on its standard input, whole; `-` is our own. Else its input is empty
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Its arguments
    #[arg(last = true)]
    args: Vec<String>,
}

impl Args {
    /// What the program is called with.
    #[cfg(test)]
    pub(crate) fn program_args(&self) -> &[String] {
        &self.args
    }
}

/// What timeout(1) gives when it has killed a program.
const TIME_LIMIT_STATUS: u8 = 124;

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut contents = if args.packages.is_empty() {
        Contents::default()
    } else {
        Contents::of_packages(&workspace, &args.packages, &say)?
    };
    for file in &args.files {
        contents.put(&file.host, &file.guest)?;
    }
    let program = contents.program(&args.exec, args.with_libs)?;
    if args.with_libs {
        contents.put_all_libraries()?;
    }
    let call = Call {
        program,
        args: args.args.clone(),
        env: args.variables.clone(),
        stdin: args.stdin.as_deref().map(input).transpose()?,
    };
    let guest = Guest::prepare(&workspace, &args.options, &say, &|_| {})?;
    let ended = guest.run_in(&contents, &call, &mut print)?;
    status(&ended)
}

/// All of a file, or of our own input.
fn input(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    read.with_context(|| format!("the program's input, {}", path.display()))
}

/// Prints a line of a program in a guest. Breaks off where nobody reads any more.
pub(crate) fn print(line: &str) -> ControlFlow<()> {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// What this program says about a guest, beside what the program in it prints.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// The status for a program that has ended in a guest; says how it ended.
pub(crate) fn status(ended: &Ended) -> Result<ExitCode> {
    match ended {
        Ended::Itself(outcome) => {
            say(&format!(
                "{outcome} (in a guest, under emulation: say nothing of speed)"
            ));
            Ok(ExitCode::from(u8::try_from(outcome.shell_status())?))
        }
        Ended::TimeLimit(trouble) => {
            say(trouble);
            Ok(ExitCode::from(TIME_LIMIT_STATUS))
        }
        Ended::Stopped => bail!("the program was stopped"),
    }
}

#[cfg(test)]
mod tests {
    use super::input;
    use std::path::Path;

    #[test]
    fn an_input_is_read_whole_and_a_missing_one_is_named() {
        assert!(!input(Path::new("Cargo.toml")).unwrap().is_empty());
        let err = format!("{:#}", input(Path::new("/nonexistent")).unwrap_err());
        assert!(
            err.starts_with("the program's input, /nonexistent: "),
            "{err}"
        );
    }
}
