//! The machine that the image is booted on, as QEMU's command line.
//!
//! Always the emulator (TCG): with KVM the guest would have the host's CPU, which may lack what the image is about.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::kernel::Kernel;
use crate::qemu::Qemu;

/// The CPU model that has every feature the emulator knows.
pub const DEFAULT_CPU: &str = "max";

/// The I/O port of QEMU's debug-exit device, which the image writes its status to (`image/src/exit.rs`).
const EXIT_PORT: u16 = 0xf4;

/// What differs from boot to boot.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// The CPU model.
    pub cpu: &'a str,
    /// How many of them.
    pub nr_cpus: u32,
    /// Its memory.
    pub memory_mib: u32,
    /// The kernel's command line.
    pub append: String,
    /// A file that the kernel finds in its memory.
    pub module: Option<PathBuf>,
    /// There is a second serial line, whose lines come with the emulator's own: for `log=2`, with which the kernel leaves
    /// the first one to the program that it runs.
    pub has_log: bool,
}

impl Default for Machine<'_> {
    fn default() -> Self {
        Self {
            cpu: DEFAULT_CPU,
            nr_cpus: 1,
            memory_mib: 128,
            append: String::new(),
            module: None,
            has_log: false,
        }
    }
}

impl Machine<'_> {
    /// QEMU's command line: the kernel's console is QEMU's standard output.
    ///
    /// # Errors
    ///
    /// A kernel in memory needs one more descriptor, and there is none.
    pub fn command(&self, qemu: &Qemu, kernel: &Kernel) -> io::Result<Command> {
        let mut qemu = qemu.command();
        qemu.args(["-accel", "tcg", "-cpu", self.cpu, "-smp"]);
        qemu.arg(self.nr_cpus.to_string());
        qemu.args(["-m", &self.memory_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "stdio"]);
        if self.has_log {
            qemu.args(["-serial", "file:/proc/self/fd/2"]);
        }
        qemu.arg("-device");
        qemu.arg(format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"));
        kernel.give_to(&mut qemu)?;
        if let Some(module) = &self.module {
            qemu.arg("-initrd").arg(module);
        }
        qemu.args(["-append", &self.append]);
        Ok(qemu)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kernel, Machine, Qemu};

    #[test]
    fn the_command_line_asks_for_the_emulator_and_the_cpu() {
        let machine = Machine {
            cpu: "max,-pks",
            nr_cpus: 2,
            append: "cpus=2 test=storm".into(),
            module: Some("/m".into()),
            has_log: true,
            ..Machine::default()
        };
        let qemu = Qemu::Installed("/q".into());
        let command = machine.command(&qemu, &Kernel::File("/k".into())).unwrap();
        let args: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        let line = args.join(" ");
        for part in [
            "-accel tcg -cpu max,-pks -smp 2 -m 128",
            "-no-reboot",
            "-serial stdio -serial file:/proc/self/fd/2 -device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel /k -initrd /m -append cpus=2 test=storm",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}
