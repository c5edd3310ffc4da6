//! The kernel image under QEMU: `cargo xtask boot`, and the tier `boot`.
//!
//! The package `image` is a workspace of its own, built with flags of its own; its kernel is started by QEMU itself, without
//! a boot loader, and ends with a status that says how it went.
//!
//! The crate `pkeys-launch` starts QEMU, here as for the command `pkeys boot`.
//!
//! * [`machine`]: one boot, and all that was said in it;
//! * [`cases`]: counts what the kernel says of its cases;
//! * [`program`]: a program in ring 3 of the image; [`c_program`]: one of plain C, whose words are those of Linux;
//! * [`ends`]: machines and command lines that are refused, and cases that must end the kernel;
//! * [`figures`]: how long it takes, for `cargo xtask bars`;
//! * [`red_zone`]: no function of the linked image keeps data below its stack pointer;
//! * [`mod@tier`]: all of it, for `cargo xtask test`.

mod c_program;
mod cases;
mod ends;
pub(crate) mod figures;
mod machine;
mod program;
mod red_zone;
mod tier;

pub(crate) use program::Job;
pub(crate) use tier::tier;

use crate::workspace::Workspace;
use crate::{artifacts, guest};
use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use core::time::Duration;
use machine::{Bench, End, Machine};
use pkeys_launch::said::Outcome;
use std::process::ExitCode;

/// The package, and its program.
const PACKAGE: &str = "pkeys-image";

/// Build the kernel image and boot it under QEMU.
///
/// What it says on its serial line is printed. Ends with status 0 only where every case has passed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask boot --smp 2
  cargo xtask boot --guest-cpu max,-pks
  cargo xtask boot --test die-stray-write

A report of the kernel names functions; `addr2line -fie target/image/release/pkeys-image ADDRESS` tells the line.")]
pub(crate) struct Args {
    /// How many CPUs the machine has; all are used
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// QEMU's CPU model
    #[arg(
        long,
        value_name = "CPU",
        default_value = machine::DEFAULT_CPU,
        value_parser = NonEmptyStringValueParser::new()
    )]
    guest_cpu: String,
    /// Run this case only; one that there is not is answered with the nearest name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    test: Option<String>,
    /// More words for the kernel's command line, as image/src/options.rs reads them
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// Kill QEMU after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = guest::seconds)]
    time_limit: Duration,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let bench = bench(&workspace, &guest::say, &|_| {})?;
    let test = args.test.as_ref().map(|name| format!("test={name}"));
    let words = [format!("cpus={}", args.smp), args.append.clone()];
    let words: Vec<_> = words.into_iter().chain(test).collect();
    let machine = Machine {
        cpu: &args.guest_cpu,
        nr_cpus: args.smp,
        append: words.join(" "),
        ..Machine::default()
    };
    let (end, _) = bench.boot(&machine, args.time_limit, &mut |line| println!("{line}"))?;
    guest::say(&format!("{end} (under emulation: say nothing of speed)"));
    Ok(if end == End::Passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs a program in the image; gives how it ended, unless the machine ended in a way that makes that doubtful, and how
/// the machine did.
pub(crate) fn run_program(
    workspace: &Workspace,
    job: &Job<'_>,
    limit: Duration,
    note: &dyn Fn(&str),
    doing: &dyn Fn(&str),
    on_line: &mut dyn FnMut(&str),
) -> Result<(Option<Outcome>, End)> {
    let bench = bench(workspace, note, doing)?;
    program::run(&bench, job, limit, on_line)
}

/// Builds the image and finds or gets QEMU.
fn bench(workspace: &Workspace, note: &dyn Fn(&str), doing: &dyn Fn(&str)) -> Result<Bench> {
    Ok(Bench {
        image: artifacts::program(workspace.image_cargo(), PACKAGE, PACKAGE, doing)?,
        qemu: guest::find_qemu(&workspace.guest_dir(), note)?,
    })
}
