//! The machine that the image is booted on: QEMU's command line, the time limit, and what its status means.
//!
//! Only the status that `isa-debug-exit` gives for "every case passed" is a pass. Under `-no-reboot` a triple fault ends QEMU
//! with 0, which is why 0 is a failure.

use crate::capture;
use crate::guest::Qemu;
use anyhow::{Context, Result};
use core::fmt;
use core::time::Duration;
use guest_init::{EXIT_FAIL, EXIT_PASS, EXIT_PORT, qemu_status};
use std::path::PathBuf;
use std::process::Command;

/// The CPU model that has every feature the emulator knows.
pub(super) const DEFAULT_CPU: &str = "max";

/// Written by the image when CPU, memory or command line will not do (`image/src/exit.rs`, as the two below).
const EXIT_REFUSED: u8 = 0x11;

/// Written when an access or an exception stopped the kernel.
const EXIT_STOPPED: u8 = 0x21;

/// Written when the kernel panicked.
const EXIT_PANIC: u8 = 0x22;

/// What every boot needs.
#[derive(Debug)]
pub(super) struct Bench {
    /// The kernel.
    pub(super) image: PathBuf,
    /// The emulator.
    pub(super) qemu: Qemu,
}

/// What differs from boot to boot.
#[derive(Clone, Debug)]
pub(super) struct Machine<'a> {
    /// The CPU model.
    pub(super) cpu: &'a str,
    /// How many of them.
    pub(super) nr_cpus: u32,
    /// Its memory.
    pub(super) memory_mib: u32,
    /// The kernel's command line.
    pub(super) append: String,
}

impl Default for Machine<'_> {
    fn default() -> Self {
        Self {
            cpu: DEFAULT_CPU,
            nr_cpus: 1,
            memory_mib: 128,
            append: String::new(),
        }
    }
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every case that was asked for has run and passed (33).
    Passed,
    /// The CPU, the memory or the command line will not do (35).
    Refused,
    /// A case failed (65).
    Failed,
    /// A stray access or another exception stopped the kernel (67).
    Stopped,
    /// A defect of the kernel (69).
    Panicked,
    /// Its time was up, and QEMU was killed.
    TimeLimit,
    /// Something else; 0 is a triple fault. `None`: QEMU was killed by a signal.
    Status(Option<i32>),
}

impl End {
    /// What QEMU's status means; `None` for no status.
    fn from_status(status: Option<i32>) -> Self {
        let ends = [
            (EXIT_PASS, Self::Passed),
            (EXIT_REFUSED, Self::Refused),
            (EXIT_FAIL, Self::Failed),
            (EXIT_STOPPED, Self::Stopped),
            (EXIT_PANIC, Self::Panicked),
        ];
        ends.into_iter()
            .find(|(written, _)| status == Some(qemu_status(*written)))
            .map_or(Self::Status(status), |(_, end)| end)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Refused => f.write_str("the kernel refused to start"),
            Self::Failed => f.write_str("a case failed"),
            Self::Stopped => f.write_str("the kernel was stopped by an exception"),
            Self::Panicked => f.write_str("the kernel panicked"),
            Self::TimeLimit => f.write_str("killed at its time limit"),
            Self::Status(Some(0)) => f.write_str("the machine was reset"),
            Self::Status(Some(code)) => write!(f, "QEMU ended with status {code}"),
            Self::Status(None) => f.write_str("QEMU was killed by a signal"),
        }
    }
}

impl Bench {
    /// Boots and waits for the end; gives what was printed, too.
    pub(super) fn boot(
        &self,
        machine: &Machine<'_>,
        limit: Duration,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(End, String)> {
        wait(self.command(machine), limit, on_line)
    }

    /// QEMU's command line.
    fn command(&self, machine: &Machine<'_>) -> Command {
        let mut qemu = self.qemu.command();
        // KVM would give the host's CPU, which may lack what the image is about.
        qemu.args(["-accel", "tcg", "-cpu", machine.cpu, "-smp"]);
        qemu.arg(machine.nr_cpus.to_string());
        qemu.args(["-m", &machine.memory_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "stdio", "-device"]);
        qemu.arg(format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"));
        qemu.arg("-kernel").arg(&self.image);
        qemu.args(["-append", &machine.append]);
        qemu
    }
}

/// Starts QEMU and waits for its end.
fn wait(qemu: Command, limit: Duration, on_line: &mut dyn FnMut(&str)) -> Result<(End, String)> {
    let name = qemu.get_program().display().to_string();
    let done = capture::run(qemu, Some(limit), on_line).context(name)?;
    let end = match done.status {
        None => End::TimeLimit,
        Some(status) => End::from_status(status.code()),
    };
    Ok((end, done.output))
}

#[cfg(test)]
mod tests {
    use super::{Bench, End, Machine, wait};
    use crate::guest::Qemu;
    use core::time::Duration;
    use std::process::Command;

    /// Boots a machine whose emulator is a shell script.
    fn script(text: &str, limit: Duration) -> (End, String) {
        let mut qemu = Command::new("/bin/sh");
        qemu.args(["-c", text]);
        wait(qemu, limit, &mut |_| {}).unwrap()
    }

    #[test]
    fn only_the_exact_status_is_a_pass() {
        for (status, end) in [
            (33, End::Passed),
            (35, End::Refused),
            (65, End::Failed),
            (67, End::Stopped),
            (69, End::Panicked),
            (0, End::Status(Some(0))),
            (1, End::Status(Some(1))),
            (34, End::Status(Some(34))),
        ] {
            let text = format!("exit {status}");
            assert_eq!(script(&text, Duration::from_secs(60)).0, end);
        }
        let killed = script("kill -KILL $$", Duration::from_secs(60));
        assert_eq!(killed.0, End::Status(None));
    }

    #[test]
    fn an_image_that_hangs_is_killed_and_its_words_kept() {
        let text = "echo 'ok a'; exec tail -f /dev/null";
        let (end, said) = script(text, Duration::from_millis(300));
        assert_eq!((end, said.as_str()), (End::TimeLimit, "ok a\n"));
    }

    #[test]
    fn the_command_line_asks_for_the_emulator_and_the_cpu() {
        let bench = Bench {
            image: "/k".into(),
            qemu: Qemu::Installed("/q".into()),
        };
        let machine = Machine {
            cpu: "max,-pks",
            nr_cpus: 2,
            append: "cpus=2 test=storm".into(),
            ..Machine::default()
        };
        let command = bench.command(&machine);
        let args: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        let line = args.join(" ");
        for part in [
            "-accel tcg -cpu max,-pks -smp 2 -m 128",
            "-no-reboot",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel /k -append cpus=2 test=storm",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}
