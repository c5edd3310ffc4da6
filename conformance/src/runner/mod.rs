//! The command `conform`: which cases, on which ground, told how.
//!
//! Exit status: 0 when every case passed or was skipped, 1 when one failed, 2 for a command line that cannot be
//! followed, 3 when `--on linux` finds no usable keys; its first line then names the layer that lacks them.

mod huge_pages;
mod isolated;
mod json;
mod list;
mod machine;
mod recorder;
mod result;
mod select;
mod tap;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use self::huge_pages::Allowance;
use self::result::{End, Outcome};
use self::tap::Tap;
use crate::case::Case;
use crate::catalogue;
use crate::linux;

/// Hold a kernel to the ABI of user protection keys, one rule a case.
#[derive(Debug, Parser)]
#[command(
    name = "conform",
    version,
    after_help = "\
For example, the rules about freeing keys on the running Linux, with every signal that came:

  conform --verbose free.

Exit status: 0 all passed or skipped, 1 a case failed, 2 bad command line, 3 no usable keys."
)]
struct Args {
    /// What is held to it
    #[arg(long, value_name = "GROUND", default_value = "linux")]
    on: On,
    /// One JSON object a case, in place of TAP
    #[arg(long)]
    json: bool,
    /// Also print every signal that a case got
    #[arg(long)]
    verbose: bool,
    /// Print the catalogue and run nothing
    #[arg(long)]
    list: bool,
    /// Also run cases whose rule is of a newer version than the kernel says it is
    #[arg(long)]
    any_version: bool,
    /// As root: let the kernel make up to this many huge pages of 2 MiB while the cases run
    #[arg(long, value_name = "PAGES")]
    huge_pages: Option<u32>,
    /// Names of cases, or how they begin; all cases if none
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
}

/// What can be under the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The running kernel
    Linux,
    /// The kernel library on the software machine
    Machine,
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_KEYS: u8 = 3;

/// Runs the command with this program's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let cases = match select::select(catalogue::cases(), &args.cases) {
        Ok(cases) => cases,
        Err(err) => return complain(&err.to_string(), USAGE),
    };
    let result = if args.list {
        list::write(&mut io::stdout().lock(), &cases).map(|()| ExitCode::SUCCESS)
    } else {
        run(&args, &cases)
    };
    match result {
        Ok(code) => code,
        // Nobody reads on: that is their right.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(FAILED),
        Err(err) => complain(&err.to_string(), FAILED),
    }
}

fn complain(what: &str, status: u8) -> ExitCode {
    eprintln!("conform: {what}");
    ExitCode::from(status)
}

fn run(args: &Args, cases: &[&Case]) -> io::Result<ExitCode> {
    match args.on {
        On::Linux => {
            if let Err(err) = linux::check() {
                return Ok(complain(&err.to_string(), NO_KEYS));
            }
            let _allowance = args.huge_pages.map(Allowance::new).transpose()?;
            report(args, cases, &linux::release(), |case| {
                isolated::run_case(case, args.any_version)
            })
        }
        On::Machine => report(args, cases, "the kernel library", |case| {
            Ok(machine::run_case(case))
        }),
    }
}

/// Runs each case and tells what came of it.
fn report(
    args: &Args,
    cases: &[&Case],
    ground: &str,
    run_case: impl Fn(&Case) -> io::Result<Outcome>,
) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let mut has_failed = false;
    let mut note = |outcome: &Outcome| has_failed |= matches!(outcome.end, End::Failed(_));
    if args.json {
        for case in cases {
            let outcome = run_case(case)?;
            json::write(&mut out, case, &outcome, ground, args.verbose)?;
            note(&outcome);
        }
    } else {
        let mut tap = Tap::new(&mut out, cases.len(), ground, args.verbose)?;
        for case in cases {
            let outcome = run_case(case)?;
            tap.result(case, &outcome)?;
            note(&outcome);
        }
        tap.end()?;
    }
    out.flush()?;
    Ok(ExitCode::from(if has_failed { FAILED } else { 0 }))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Args, On};

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::parse_from(["conform", "--on", "machine", "--json", "free.", "alloc."]);
        assert_eq!((args.on, args.json), (On::Machine, true));
        assert_eq!(args.cases, ["free.", "alloc."]);
        assert_eq!(Args::parse_from(["conform"]).on, On::Linux);
    }
}
