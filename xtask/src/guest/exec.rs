//! `cargo xtask guest`: one program in the guest.

use super::Options;
use super::program::{Ended, Guest};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use core::ops::ControlFlow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run one static program in the Linux guest.
///
/// Its output is printed, and its status is this command's: 128+N when signal N ended it, 124 when the time limit did.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The guest has no libraries, so the program must be static. The command line, for example:

  RUSTFLAGS=-Ctarget-feature=+crt-static \\
      cargo build --release --package pkeys-cli --target x86_64-unknown-linux-gnu
  cargo xtask guest --exec target/x86_64-unknown-linux-gnu/release/pkeys -- doctor
  cargo xtask guest --exec target/x86_64-unknown-linux-gnu/release/pkeys --guest-cpu max,-pku -- demo")]
pub(crate) struct Args {
    /// The program, on this machine
    #[arg(long, value_name = "PROG")]
    exec: PathBuf,
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
    check_static(&args.exec)?;
    let workspace = Workspace::find()?;
    let guest = Guest::prepare(&workspace, &args.options, &say, &|_| {})?;
    let mut print = |line: &str| {
        println!("{line}");
        ControlFlow::Continue(())
    };
    let ended = guest.run(&args.exec, &args.args, &mut print)?;
    status(&ended)
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

/// Refuses what the guest could not start: it has no dynamic loader.
fn check_static(path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    match needs_loader(&bytes) {
        None => bail!("{}: not a program for 64-bit Linux", path.display()),
        Some(true) => bail!(
            "{}: dynamically linked; build it with RUSTFLAGS=-Ctarget-feature=+crt-static and --target",
            path.display()
        ),
        Some(false) => Ok(()),
    }
}

/// Whether an ELF file asks for a dynamic loader (has a `PT_INTERP` header); `None` for anything but a 64-bit ELF file.
fn needs_loader(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        let parts = bytes.iter().rev();
        Some(parts.fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry_len, entries) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut found = false;
    for entry in 0..entries {
        let at = usize::try_from(table.checked_add(entry * entry_len)?).ok()?;
        found |= number(at, 4)? == PT_INTERP;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::{check_static, needs_loader};
    use std::env;
    use std::path::Path;

    #[test]
    fn this_test_itself_is_a_dynamic_program() {
        let err = check_static(&env::current_exe().unwrap()).unwrap_err();
        assert!(err.to_string().contains("dynamically linked"), "{err}");
    }

    #[test]
    fn other_files_are_refused() {
        let err = check_static(Path::new(file!()).file_name().unwrap().as_ref()).unwrap_err();
        assert_eq!(err.to_string(), "exec.rs");
        assert_eq!(needs_loader(b""), None);
        assert_eq!(needs_loader(b"#!/bin/sh\n"), None);
        // A header that points outside the file.
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0xff);
        assert_eq!(needs_loader(&elf), None);
    }

    #[test]
    fn headers_are_read() {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64 + 2 * 56, 0);
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        assert_eq!(needs_loader(&elf), Some(false));
        elf[64 + 56] = 3;
        assert_eq!(needs_loader(&elf), Some(true));
    }
}
