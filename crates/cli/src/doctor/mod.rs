//! `pkeys doctor`: what this machine, this kernel and this process's surroundings give, layer by layer.
//!
//! * [`cpu`]: what CPUID shows;
//! * [`calls`]: which system calls answer, and how many keys there are;
//! * [`traps`]: what changed between kernels, with a verdict for this one;
//! * [`surroundings`]: settings of the kernel and restrictions on the process;
//! * [`table`]: all of it for people.
//!
//! Everything is tried on this process alone and taken back: no other process, and no setting, changes.

mod calls;
mod cpu;
mod surroundings;
mod table;
mod traps;

use std::io::{self, Write};
use std::process::ExitCode;

use pkeys::KeyRegister;
use pkeys_arch::Pku;
use serde::Serialize;

use crate::failure::{Doing, Failure, NO_KEYS};
use crate::missing::MissingKeys;
use calls::Calls;
pub(crate) use cpu::Cpu;
use surroundings::{Process, Settings};
use traps::{Release, Trap};

/// The number of the JSON object's form. It changes when a field changes its meaning or goes; new fields may come.
const SCHEMA: u32 = 1;

/// Show what the CPU, the kernel and the sandbox give, and which layer is in the way.
///
/// Exit status 0 with usable protection keys, 3 without.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pkeys doctor\n  pkeys doctor --json | jq .missing.layer")]
pub(crate) struct Args {
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
struct Findings {
    schema: u32,
    command: &'static str,
    version: &'static str,
    /// Whether this process can use protection keys.
    is_usable: bool,
    /// The layer that has none; `null` where there are keys.
    missing: Option<MissingKeys>,
    /// What the library protects a domain with: `pkey`, or `none` unless a program asks for a fallback.
    backend: &'static str,
    cpu: Cpu,
    calls: Calls,
    /// PKRU as the kernel started this process, as `0x55555554`; `null` where it cannot be read.
    init_pkru: Option<String>,
    kernel: Kernel,
    settings: Settings,
    process: Process,
}

/// The running kernel.
#[derive(Debug, Clone, Serialize)]
struct Kernel {
    release: String,
    traps: Vec<Trap>,
}

/// Looks at everything and tells.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    // First of all: what the kernel gave this thread, before anything has touched it.
    let register = Pku::probe().ok().map(|(pku, _)| pku.read());
    let findings = look(register);
    if args.json {
        let text = serde_json::to_string_pretty(&findings).doing("cannot write the output")?;
        writeln!(io::stdout(), "{text}")?;
    } else {
        table::print(&findings)?;
    }
    Ok(if findings.is_usable {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO_KEYS)
    })
}

fn look(register: Option<KeyRegister>) -> Findings {
    let cpu = Cpu::look();
    let calls = Calls::try_all();
    let missing = pkeys::support().err().map(MissingKeys::from);
    let release = surroundings::release();
    let traps = traps::judge(Release::parse(&release), cpu.is_amd(), calls.mseal.answers);
    Findings {
        schema: SCHEMA,
        command: "doctor",
        version: env!("CARGO_PKG_VERSION"),
        is_usable: missing.is_none(),
        backend: if missing.is_none() { "pkey" } else { "none" },
        missing,
        cpu,
        calls,
        init_pkru: register.map(|register| format!("{:#010x}", register.bits())),
        kernel: Kernel { release, traps },
        settings: Settings::look(),
        process: Process::look(),
    }
}
