//! `pkeys boot`: the kernel image under QEMU, for everybody to see supervisor keys at work.
//!
//! * [`image`]: the image, which travels inside this program;
//! * [`words`]: arguments into the kernel's command line;
//! * [`cases`]: its cases, run or listed;
//! * [`program`]: a static Linux program in place of the cases (`--exec`);
//! * [`screen`]: rows and progress for people, JSON lines for programs;
//! * [`noise`]: what a guest says, made fit for a terminal.
//!
//! What the emulator does, and what its end means, is the crate `pkeys-launch`'s to know.

mod cases;
mod image;
mod noise;
mod program;
mod screen;
mod words;

use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use pkeys_launch::machine::DEFAULT_CPU;
use pkeys_launch::{Machine, Qemu};

use crate::demo::interrupt;
use crate::failure::Failure;

/// The modes, by their names.
const MODES: [&str; 4] = ["strict", "relaxed", "silent", "off"];

/// Boot a kernel with protection keys under QEMU and run its cases.
///
/// The kernel travels inside this command; QEMU emulates a CPU that has supervisor keys, whatever this machine has. Each case
/// shows one thing: a stray access of the kernel's that is stopped, a handler that runs closed, a program in ring 3 with user
/// keys. Times are an emulator's and say nothing about real hardware.
///
/// Exit status 0 only if every case has run and passed. A case that ends the kernel (die-..) therefore ends with 1, and
/// shows the kernel's report. With --exec it is the program's own status, 128+N for signal N.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pkeys boot\n  pkeys boot --smp 4 --mode relaxed\n  pkeys boot --test die-stray-write\n  \
                  pkeys boot --json | jq -r 'select(.kind == \"summary\").is_pass'\n  pkeys boot --exec ./static-program -- --its-argument"
)]
pub(crate) struct Args {
    /// What the kernel does about an access that supervisor keys forbid: --stray and --shared in one
    #[arg(long, value_name = "MODE", value_parser = MODES)]
    mode: Option<String>,
    /// The same for pages that nobody shared [default: strict, which ends the kernel]
    #[arg(long, value_name = "MODE", value_parser = MODES)]
    stray: Option<String>,
    /// The same for pages that kmap has shared [default: relaxed, which warns once and lets it through]
    #[arg(long, value_name = "MODE", value_parser = MODES)]
    shared: Option<String>,
    /// What PKRU starts with in programs, in hexadecimal; key 0 has to be open
    #[arg(long, value_name = "HEX", value_parser = words::init_pkru)]
    init_pkru: Option<u32>,
    /// How many CPUs the machine has; all have to come up
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Print the names of the cases, and run none
    #[arg(long, conflicts_with_all = ["test", "exec"])]
    list: bool,
    /// Run this case only
    #[arg(long, value_name = "NAME", value_parser = words::case_name, conflicts_with = "exec")]
    test: Option<String>,
    /// Run this static Linux program instead of the cases; its output is this command's
    #[arg(long, value_name = "PROG", conflicts_with = "json")]
    exec: Option<PathBuf>,
    /// A variable of the program's environment, which is empty otherwise
    #[arg(long, value_name = "NAME=VALUE", requires = "exec", value_parser = words::variable)]
    env: Vec<String>,
    /// Print JSON lines instead: one object a case, then a summary
    #[arg(long)]
    json: bool,
    /// QEMU's CPU model
    #[arg(long, value_name = "CPU", default_value = DEFAULT_CPU, value_parser = NonEmptyStringValueParser::new())]
    guest_cpu: String,
    /// The folder that QEMU is in, or was unpacked into, for when it is not on PATH
    #[arg(long, value_name = "DIR", env = "PKEYS_QEMU")]
    qemu: Option<PathBuf>,
    /// End QEMU after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = words::seconds)]
    time_limit: Duration,
    /// The program's arguments
    #[arg(last = true, requires = "exec", value_name = "ARGS")]
    args: Vec<std::ffi::OsString>,
}

/// Boots.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    interrupt::listen()?;
    let ended = match &args.exec {
        Some(program) => program::run(args, program),
        None => cases::run(args),
    };
    match ended {
        // Nobody has seen a pass then.
        Err(Failure::ReaderLeft) => Ok(ExitCode::FAILURE),
        ended => ended,
    }
}

impl Args {
    /// The machine, with a command line that has no cases and no program yet.
    fn machine(&self) -> Machine<'_> {
        Machine {
            cpu: &self.guest_cpu,
            nr_cpus: self.smp,
            append: words::common(self),
            ..Machine::default()
        }
    }

    /// The emulator: the one on PATH, the one that the user names, or the one that the checkout's tests have unpacked beside
    /// what they built.
    fn qemu(&self) -> Result<Qemu, Failure> {
        Qemu::find(self.qemu.as_deref())
            .or_else(|missing| image::beside_the_build().ok_or(missing))
            .map_err(|missing| Failure::Failed(missing.to_string()))
    }
}
