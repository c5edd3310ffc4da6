//! The Linux guest: a machine with protection keys on any x86-64 machine.
//!
//! QEMU's emulator (TCG) has a CPU model with keys, whatever the host has. So where the host has none, the tests of the
//! process tier run in a small Linux under QEMU: a distribution's kernel, an initrd with static test binaries, and one
//! first process that runs them. Nothing of it is a claim about speed, and the emulator has gaps; what it shows is the
//! behaviour.
//!
//! * [`apt`], [`qemu`], [`kernel`]: getting the two parts that are not ours;
//! * [`build`], [`initrd`] and [`cpio`]: what is run, and how it gets in;
//! * [`machine`]: the command line, the time limit and what QEMU's status means;
//! * [`console`]: reading what comes out;
//! * [`program`]: one program in a guest, for [`exec`] (`cargo xtask guest`) and the tasks that compare with Linux;
//! * [`mod@tier`]: the process tier's tests, for `cargo xtask test`.

mod apt;
mod build;
mod console;
mod cpio;
mod exec;
mod initrd;
mod kernel;
mod machine;
mod program;
mod qemu;
mod tier;

pub(crate) use build::program as build_program;
pub(crate) use exec::{Args, run, say, status};
pub(crate) use program::{Ended, Guest};
pub(crate) use qemu::{Qemu, find_or_install as find_qemu};
pub(crate) use tier::tier;

use crate::workspace::Workspace;
use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use core::time::Duration;
use machine::Machine;
use std::path::PathBuf;

/// The CPU model that has every feature the emulator knows, keys among them.
const DEFAULT_CPU: &str = "max";

/// What the user may say about the guest.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// QEMU's CPU model in the guest; `max,-pku` has no keys
    #[arg(
        long,
        value_name = "CPU",
        env = "PKEYS_GUEST_CPU",
        default_value = DEFAULT_CPU,
        value_parser = NonEmptyStringValueParser::new()
    )]
    guest_cpu: String,
    /// A Linux kernel (bzImage) for the guest, instead of the distribution's, which is kept in target/guest/linux
    #[arg(long, value_name = "FILE", env = "PKEYS_GUEST_KERNEL")]
    guest_kernel: Option<PathBuf>,
    /// Kill the guest after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "1200", value_parser = seconds)]
    time_limit: Duration,
}

impl Options {
    /// Whether the tests in the guest must find keys: they must, unless the user chose another CPU.
    fn expects_keys(&self) -> bool {
        self.guest_cpu == DEFAULT_CPU
    }

    /// Finds or gets QEMU and a kernel. `note` hears what is done about it.
    fn machine(&self, workspace: &Workspace, note: &dyn Fn(&str)) -> Result<Machine> {
        let dir = workspace.guest_dir();
        let qemu = qemu::find_or_install(&dir, note)?;
        let kernel = match &self.guest_kernel {
            Some(kernel) => kernel.clone(),
            None => kernel::find_or_download(&dir, note)?,
        };
        Ok(Machine {
            qemu,
            kernel,
            cpu: self.guest_cpu.clone(),
            nr_cpus: machine::CPUS,
            limit: self.time_limit,
        })
    }
}

/// Reads a time limit of at least a second.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("at least one second".into()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err("a number of seconds".into()),
    }
}
