//! `cargo xtask conform`: the catalogue of the keys' ABI, on Linux and on our kernel.
//!
//! The program `conform` (`conformance/`) runs a case a process and prints TAP, or JSON lines. On the software machine
//! it runs anywhere. On Linux it needs keys: where this machine has none, a static build of it runs in the guest. The same
//! static build runs in ring 3 of our kernel image. Each way its output and its status are handed on as they are.
//!
//! [`mod@tier`] is the same for `cargo xtask test`: it counts the cases. Those in the image count in the tier `boot`.

mod image;
mod tier;

pub(crate) use image::run as run_in_image;
pub(crate) use tier::{Linux, tier};

use crate::guest::{self, Guest};
use crate::keys;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use core::ops::ControlFlow;
use indicatif::ProgressBar;
use std::process::{Command, ExitCode, ExitStatus};

/// The package.
const PACKAGE: &str = "pkeys-conformance";

/// Its program.
const PROGRAM: &str = "conform";

/// In the guest, which is ours alone, the kernel may make so many huge pages for the cases that need one.
const GUEST_HUGE_PAGES: &str = "16";

/// Run the catalogue of the keys' ABI on Linux and on our kernel.
///
/// Without --on: on our kernel on the software machine, then on Linux, then in ring 3 of our kernel image under QEMU. Where this
/// machine has no usable keys, Linux is the one in the guest. Prints TAP. Exit status: 0 when every case passed or was skipped, 1 when one failed, 2 for a wrong
/// command line, 3 where Linux has no usable keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask conform
  cargo xtask conform --on linux --verbose pkey_alloc.flags
  cargo xtask conform --json")]
pub(crate) struct Args {
    /// Run on one of them only
    #[arg(long, value_name = "KERNEL")]
    on: Option<Side>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    /// Say more about each case
    #[arg(long)]
    verbose: bool,
    /// Run the Linux side in the guest whatever this machine has
    #[arg(long)]
    in_guest: bool,
    #[command(flatten)]
    guest: guest::Options,
    /// Names of the cases to run, or how they begin; all when none is named
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
}

/// What is under the cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    /// The kernel library on the software machine
    Machine,
    /// Linux
    Linux,
    /// The kernel image under QEMU
    Image,
}

impl Side {
    /// As the program wants it.
    fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            // To the program the image is Linux.
            Self::Linux | Self::Image => "linux",
        }
    }

    /// The comment before its results.
    fn title(self) -> &'static str {
        match self {
            Self::Machine => "# machine",
            Self::Linux => "# Linux",
            Self::Image => "# image",
        }
    }
}

impl Args {
    /// The sides to run, in order.
    fn sides(&self) -> &[Side] {
        match &self.on {
            Some(side) => core::slice::from_ref(side),
            None => &[Side::Machine, Side::Linux, Side::Image],
        }
    }

    /// Prints a line of a console that carries both streams of the program: who reads JSON wants nothing else.
    fn print(&self, line: &str) {
        if self.json && !line.starts_with('{') {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// The program's arguments for one side.
    fn program_args(&self, side: Side) -> Vec<String> {
        let mut args = vec!["--on".to_owned(), side.word().to_owned()];
        args.extend(self.json.then(|| "--json".to_owned()));
        args.extend(self.verbose.then(|| "--verbose".to_owned()));
        args.extend(self.cases.iter().cloned());
        args
    }
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let has_title = args.on.is_none() && !args.json;
    let mut first_bad = ExitCode::SUCCESS;
    for side in args.sides() {
        if has_title {
            println!("{}", side.title());
        }
        let in_guest = *side == Side::Linux && (args.in_guest || keys::probe().is_err());
        let program_args = args.program_args(*side);
        let status = if in_guest {
            run_in_guest(&workspace, args, &program_args)?
        } else if *side == Side::Image {
            run_image(&workspace, args, &program_args)?
        } else {
            run_here(&workspace, &program_args)?
        };
        if first_bad == ExitCode::SUCCESS {
            first_bad = status;
        }
    }
    Ok(first_bad)
}

/// The command that builds and runs the program on this machine.
fn command(workspace: &Workspace, args: &[String]) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--release", "--package", PACKAGE]);
    cargo.args(["--bin", PROGRAM, "--"]).args(args);
    cargo
}

/// Runs it on this machine, on our own streams.
fn run_here(workspace: &Workspace, args: &[String]) -> Result<ExitCode> {
    let status = command(workspace, args).status().context("cargo run")?;
    exit_code(status)
}

/// A status to end with.
fn exit_code(status: ExitStatus) -> Result<ExitCode> {
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code)?)),
        None => bail!("{PROGRAM} ended with {status}"),
    }
}

/// Runs it in the guest.
fn run_in_guest(workspace: &Workspace, args: &Args, program_args: &[String]) -> Result<ExitCode> {
    // Seen on a terminal only, and gone before the first result.
    let spinner = ProgressBar::new_spinner();
    let doing = |what: &str| spinner.set_message(what.to_owned());
    let note = |text: &str| spinner.suspend(|| guest::say(text));
    let program = guest::build_program(workspace, PACKAGE, PROGRAM, &doing)?;
    let guest = Guest::prepare(workspace, &args.guest, &note, &doing)?;
    spinner.finish_and_clear();
    let mut print = |line: &str| {
        args.print(line);
        ControlFlow::Continue(())
    };
    let program_args = [program_args, &guest_args()].concat();
    let ended = guest.run(&program, &program_args, &mut print)?;
    guest::status(&ended)
}

/// Runs it in ring 3 of the image.
fn run_image(workspace: &Workspace, args: &Args, program_args: &[String]) -> Result<ExitCode> {
    let spinner = ProgressBar::new_spinner();
    let doing = |what: &str| spinner.set_message(what.to_owned());
    let note = |text: &str| spinner.suspend(|| guest::say(text));
    let mut print = |line: &str| {
        spinner.finish_and_clear();
        args.print(line);
    };
    let outcome = image::run(workspace, program_args, &note, &doing, &mut print)?;
    Ok(image::exit_code(outcome))
}

/// What the program gets in the guest besides.
fn guest_args() -> [String; 2] {
    ["--huge-pages", GUEST_HUGE_PAGES].map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Args, Side};
    use clap::Parser;

    /// The arguments of a command line.
    fn parse(line: &str) -> Args {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let words = ["conform"].into_iter().chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap().args
    }

    #[test]
    fn all_sides_run_the_machine_first() {
        let args = parse("");
        assert_eq!(args.sides(), [Side::Machine, Side::Linux, Side::Image]);
        assert_eq!(args.program_args(Side::Image), ["--on", "linux"]);
        assert_eq!(parse("--on image").sides(), [Side::Image]);
        assert_eq!(args.program_args(Side::Machine), ["--on", "machine"]);
        assert_eq!(parse("--on linux").sides(), [Side::Linux]);
        assert_eq!(parse("--on machine").sides(), [Side::Machine]);
    }

    #[test]
    fn the_program_gets_its_arguments() {
        let args = parse("--json --verbose --in-guest --guest-cpu max a.b c");
        assert_eq!(
            args.program_args(Side::Linux),
            ["--on", "linux", "--json", "--verbose", "a.b", "c"]
        );
    }
}
