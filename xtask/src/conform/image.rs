//! The third side: the program in ring 3 of our own kernel image, on QEMU's CPU with real instructions.
//!
//! It is the very program that runs on Linux, and takes what is under it for Linux.

use super::{PACKAGE, PROGRAM};
use crate::boot::{self, Job};
use crate::guest;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use core::time::Duration;
use pkeys_launch::said::Outcome;
use std::process::ExitCode;

/// Without this the C library would register memory that the kernel writes to, and the program would start itself anew with
/// it (`conformance/src/linux/begin.rs`).
const ENV: [&str; 1] = ["GLIBC_TUNABLES=glibc.pthread.rseq=0"];

/// QEMU's CPU model that has all that cases look at.
const CPU: &str = "max";
const NR_CPUS: u32 = 2;
/// Enough for huge pages.
const MEMORY_MIB: u32 = 512;

/// All cases take a few seconds where nothing else runs.
const LIMIT: Duration = Duration::from_secs(300);

/// Builds program and image, and runs the one on the other. `on_line` sees what is printed.
pub(crate) fn run(
    workspace: &Workspace,
    args: &[String],
    note: &dyn Fn(&str),
    doing: &dyn Fn(&str),
    on_line: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let program = guest::build_program(workspace, PACKAGE, PROGRAM, doing)?;
    let job = Job {
        file: &program,
        name: PROGRAM,
        args,
        env: &ENV,
        cpu: CPU,
        nr_cpus: NR_CPUS,
        memory_mib: MEMORY_MIB,
    };
    match boot::run_program(workspace, &job, LIMIT, note, doing, on_line)? {
        (Some(outcome), _) => Ok(outcome),
        (None, end) => bail!("the image: {end}"),
    }
}

/// The status that the task ends with.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    guest::say(&format!(
        "{} (in the image, under emulation: say nothing of speed)",
        match outcome {
            Outcome::Exited(status) => format!("exit status {status}"),
            Outcome::Killed(signal) => format!("killed by signal {signal}"),
        }
    ));
    ExitCode::from(outcome.shell_status())
}
