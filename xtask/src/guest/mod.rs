//! The Linux guest: a machine with protection keys on any x86-64 machine.
//!
//! How to run one program in it:
//!
//! ```text
//! cargo xtask guest --exec PROG [-- ARGS..]                        a static program of this machine
//! cargo xtask guest --with-libs --exec PROG [-- ARGS..]            a dynamic one, with its libraries
//! cargo xtask guest --packages python3,sqlite3 --exec /usr/bin/python3 -- -c 'print(1)'
//!     --packages NAME,..      a root of Debian or Ubuntu packages, of this machine's release, with all they depend on; made
//!                             once, without root, and kept in target/guest/roots
//!     --exec PROG             an absolute path in that root, or one that --file has put in; else a file of this machine,
//!                             which becomes /program/NAME
//!     --file HOST[:GUEST]     a file or folder of this machine, at the same path or at GUEST; any number of times
//!     --with-libs             the shared libraries that the program and the files need (ldd) and the guest does not have
//!     --env KEY=VALUE         any number of times
//!     --stdin FILE            what it reads; `-` is our own input; else it reads nothing
//!     --time-limit SECONDS, --guest-cpu CPU, --guest-kernel FILE
//! ```
//!
//! What the program prints on either stream comes out on standard output, its status is the command's (128+N for signal N, 124
//! for the time limit, 127 where it could not be started, 1 where the guest itself failed), and what the guest has to say
//! itself stands on standard error. The program is root and alone, in `/tmp`, with `/proc`, `/sys`, `/dev`. From this program it
//! is [`contents::Contents`], [`program::Call`] and [`Guest::run_in`].
//!
//! QEMU's emulator (TCG) has a CPU model with keys, whatever the host has. So where the host has none, the tests of the
//! process tier run in a small Linux under QEMU: a distribution's kernel, an initrd with static test binaries, and one
//! first process that runs them. Nothing of it is a claim about speed, and the emulator has gaps; what it shows is the
//! behaviour.
//!
//! * [`apt`], [`qemu`], [`kernel`]: getting the two parts that are not ours;
//! * [`packages`], [`root`], [`python`]: a root of packages, made once;
//! * [`contents`]: that root and files of this machine, with [`inside`] for paths, [`elf`] and [`libs`] for what starts a program;
//! * [`build`], [`initrd`], [`tree`] and [`cpio`]: what is run, and how it gets in; [`scratch`] for the file;
//! * [`machine`]: the command line, the time limit and what QEMU's status means;
//! * [`console`]: reading what comes out;
//! * [`program`]: one program in a guest, for [`exec`] (`cargo xtask guest`, whose words [`put_in`] reads) and the tasks that
//!   compare with Linux;
//! * [`mod@tier`] and [`guarded`]: the process tier's tests and those of `pkeys guard`, for `cargo xtask test`; [`batch`] runs them.

mod apt;
mod batch;
mod build;
mod console;
mod contents;
mod cpio;
mod elf;
mod exec;
mod guarded;
mod initrd;
mod inside;
mod kernel;
mod libs;
mod machine;
mod packages;
mod program;
mod put_in;
mod python;
mod qemu;
mod root;
mod scratch;
mod tier;
mod tree;

pub(crate) use build::program as build_program;
pub(crate) use contents::Contents;
pub(crate) use exec::{Args, print, run, say, status};
pub(crate) use guarded::tier as guarded_tier;
pub(crate) use program::{Call, Ended, Guest};
pub(crate) use qemu::find_or_install as find_qemu;
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
