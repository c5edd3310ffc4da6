//! A static Linux program in the image: `pkeys boot --exec`.
//!
//! The program's output goes to standard output as it comes, byte by byte. The kernel speaks on a second serial line: its last
//! words say how the program ended, and what it says before that goes to standard error, as an unsupported system call does.

use core::ops::ControlFlow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{self, Path};
use std::process::ExitCode;

use pkeys_launch::lines::Lines;
use pkeys_launch::{End, Ended, Outcome, Said, Stream, Symbols, process};

use super::noise::tame;
use super::{Args, image, words};
use crate::failure::{Doing, Failure};

/// Memory for each byte of the program's file: the file itself, what is loaded of it, and page tables.
const MEMORY_PER_BYTE: u64 = 4;

/// Runs the program and gives its status.
pub(super) fn run(args: &Args, program: &Path) -> Result<ExitCode, Failure> {
    let what = program.display();
    let file = File::open(program).doing(&what)?;
    let metadata = file.metadata().doing(&what)?;
    if !metadata.is_file() {
        return Err(Failure::Failed(format!("{what}: not a file")));
    }
    // The emulator would bring nothing then, and the kernel could not say why.
    if metadata.len() == 0 {
        return Err(Failure::Failed(format!("{what}: empty")));
    }
    let mut machine = args.machine();
    words::add_program(&mut machine.append, program, args)?;
    // A name that begins with a dash, or has a colon in it, is one to QEMU too.
    machine.module = Some(path::absolute(program).doing(&what)?);
    machine.has_log = true;
    let mib = u32::try_from((metadata.len() * MEMORY_PER_BYTE) >> 20).unwrap_or(u32::MAX);
    machine.memory_mib = machine.memory_mib.saturating_add(mib);
    let command = machine
        .command(&args.qemu()?, &image::kernel()?)
        .doing("cannot start QEMU")?;
    let name = command.get_program().display().to_string();
    let mut log = Log {
        outcome: None,
        last: None,
        symbols: image::symbols(),
    };
    let mut lines = Lines::default();
    let mut written = Ok(());
    let ended = process::run(command, Some(args.time_limit), &mut |stream, bytes| {
        if stream == Stream::Emulator {
            return lines.take(bytes, &mut |line| log.line(line));
        }
        written = write(bytes);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    written?;
    let ended = ended.doing(format!("cannot start {name}"))?;
    let _ = lines.finish(&mut |line| log.line(line));
    log.finish(args, ended)
}

/// Writes a part of the program's output.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// What the kernel and the emulator say.
#[derive(Debug)]
struct Log {
    outcome: Option<Outcome>,
    /// The last line, not yet shown: it may be the reason of the end.
    last: Option<String>,
    /// The kernel's functions.
    symbols: Symbols,
}

impl Log {
    /// Takes a line in.
    fn line(&mut self, line: &str) -> ControlFlow<()> {
        if let Said::Program(outcome) = Said::parse(line) {
            self.outcome = Some(outcome);
        } else {
            self.tell();
            self.last = Some(tame(&self.symbols.name_in(line)).into_owned());
        }
        ControlFlow::Continue(())
    }

    /// Shows the line that was held back.
    fn tell(&mut self) {
        if let Some(line) = self.last.take() {
            // Who closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// The program's status, or why there is none.
    fn finish(mut self, args: &Args, ended: Ended) -> Result<ExitCode, Failure> {
        let end = match ended {
            Ended::Status(status) => End::from_status(status),
            Ended::TimeLimit => End::TimeLimit,
            Ended::Stopped => End::Left,
        };
        match (end, self.outcome) {
            (End::Passed | End::Failed, Some(outcome)) => {
                let status = outcome.shell_status();
                // The two have to say the same, or one of them is noise.
                if (end == End::Passed) == (status == 0) {
                    self.tell();
                    return Ok(ExitCode::from(status));
                }
            }
            (End::TimeLimit, _) => {
                self.tell();
                let limit = args.time_limit.as_secs_f64();
                return Err(Failure::Failed(format!("{end} (--time-limit {limit})")));
            }
            _ => {}
        }
        let why = self.last.take().map(|line| {
            let line = line.strip_prefix("pkeys: ").unwrap_or(&line);
            format!(": {line}")
        });
        Err(Failure::Failed(format!("{end}{}", why.unwrap_or_default())))
    }
}
