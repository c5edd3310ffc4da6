//! The virtual machine: QEMU's command line, the time limit, and what its status means.
//!
//! Only the status that `isa-debug-exit` gives for "all passed" is a pass. A triple fault or a kernel panic under
//! `-no-reboot` ends QEMU with 0, which is why 0 is a failure here.

use anyhow::{Context, Result};
use core::ops::ControlFlow;
use core::time::Duration;
use guest_init::events::Event;
use guest_init::{EXIT_FAIL, EXIT_PASS, EXIT_PORT, qemu_status};
use pkeys_launch::lines::Lines;
use pkeys_launch::{Ended, Qemu, Stream, process};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Virtual CPUs: enough that threads run side by side.
pub(super) const CPUS: u32 = 2;

/// How often a boot is tried: under emulation the kernel panics before its first process now and then (seen once in some
/// hundred boots), and no test has begun then.
const ATTEMPTS: u32 = 3;

/// Memory for everything but the initrd, and at least that much in all.
const MEMORY_MIB: u64 = 1024;

/// The kernel's command line. Nothing but a panic is printed, so that no message cuts a line of a test's in two; a
/// panic reboots at once, which ends QEMU.
/// Without 5-level paging, which a program could see: addresses end where they do on most machines.
const APPEND: &str = "console=ttyS0 panic=-1 loglevel=1 no5lvl rdinit=/init";

/// A machine that can be started.
#[derive(Debug)]
pub(super) struct Machine {
    /// The emulator.
    pub(super) qemu: Qemu,
    /// Linux.
    pub(super) kernel: PathBuf,
    /// The CPU model.
    pub(super) cpu: String,
    /// How many of them.
    pub(super) nr_cpus: u32,
    /// How long it may run.
    pub(super) limit: Duration,
}

/// How the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its first process said: every program ended with status 0.
    Passed,
    /// Its first process said: some program did not.
    Failed,
    /// Its time was up, and QEMU was killed.
    TimeLimit,
    /// Who read its console had seen enough, and QEMU was killed.
    Stopped,
    /// Something else; 0 is a panic or a triple fault. `None`: QEMU was killed by a signal.
    Status(Option<i32>),
}

impl End {
    /// What QEMU's status means; `None` for no status.
    fn from_status(status: Option<i32>) -> Self {
        match status {
            Some(code) if code == qemu_status(EXIT_PASS) => Self::Passed,
            Some(code) if code == qemu_status(EXIT_FAIL) => Self::Failed,
            other => Self::Status(other),
        }
    }
}

impl Machine {
    /// Boots with `initrd` and waits for the end. `on_line` sees the console, and may break off. A guest that panics
    /// before its first process is up is started again.
    pub(super) fn run(
        &self,
        initrd: &Path,
        initrd_len_bytes: u64,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(End, String)> {
        let mut attempt = 1;
        loop {
            let mut is_up = false;
            let command = self.command(initrd, initrd_len_bytes);
            let ended = boot(command, self.limit, &mut |line| {
                is_up |= matches!(Event::parse(line), Some(Event::Ready { .. }));
                on_line(line)
            })?;
            if is_up || ended.0 != End::Status(Some(0)) || attempt == ATTEMPTS {
                return Ok(ended);
            }
            attempt += 1;
        }
    }

    /// QEMU's command line.
    fn command(&self, initrd: &Path, initrd_len_bytes: u64) -> Command {
        let mut qemu = self.qemu.command();
        // KVM would give the host's CPU, which is the one that has no keys.
        qemu.args(["-accel", "tcg", "-cpu", &self.cpu, "-smp"]);
        qemu.arg(self.nr_cpus.to_string());
        qemu.args(["-m", &memory_mib(initrd_len_bytes).to_string()]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.args(["-serial", "stdio", "-device"]);
        qemu.arg(format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"));
        qemu.arg("-kernel").arg(&self.kernel);
        qemu.arg("-initrd").arg(initrd);
        qemu.args(["-append", APPEND]);
        qemu
    }
}

/// Starts QEMU and waits for its end; gives what was printed, too.
fn boot(
    qemu: Command,
    limit: Duration,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<(End, String)> {
    let name = qemu.get_program().display().to_string();
    let mut output = String::new();
    let mut on_line = |line: &str| {
        output.push_str(line);
        output.push('\n');
        on_line(line)
    };
    // The console and the emulator, each with a last line that may have no end.
    let mut lines = [Lines::default(), Lines::default()];
    let ended = process::run(qemu, Some(limit), &mut |stream, bytes| {
        lines[usize::from(stream == Stream::Emulator)].take(bytes, &mut on_line)
    })
    .context(name)?;
    if ended != Ended::Stopped {
        // The machine has ended: nothing is left to break off.
        let _ = lines
            .iter_mut()
            .try_for_each(|lines| lines.finish(&mut on_line));
    }
    let end = match ended {
        Ended::TimeLimit => End::TimeLimit,
        Ended::Stopped => End::Stopped,
        Ended::Status(status) => End::from_status(status.code()),
    };
    Ok((end, output))
}

/// Memory for an initrd: it is in memory twice while Linux unpacks it, into a file system of at most half the memory.
fn memory_mib(initrd_len_bytes: u64) -> u64 {
    MEMORY_MIB.max(MEMORY_MIB / 2 + 2 * (initrd_len_bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::{End, Machine, Qemu, boot, memory_mib};
    use core::ops::ControlFlow;
    use core::time::Duration;
    use std::path::Path;
    use std::process::Command;

    /// Boots a machine whose emulator is a shell script.
    fn script(text: &str, limit: Duration) -> (End, String) {
        let mut qemu = Command::new("/bin/sh");
        qemu.args(["-c", text]);
        boot(qemu, limit, &mut |line| match line {
            "enough" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap()
    }

    #[test]
    fn only_the_exact_status_is_a_pass() {
        let long = Duration::from_secs(60);
        assert_eq!(script("exit 33", long).0, End::Passed);
        assert_eq!(script("exit 65", long).0, End::Failed);
        // A panic of the first process, or a triple fault.
        assert_eq!(script("exit 0", long).0, End::Status(Some(0)));
        assert_eq!(script("exit 1", long).0, End::Status(Some(1)));
        assert_eq!(script("kill -KILL $$", long).0, End::Status(None));
    }

    #[test]
    fn a_guest_that_hangs_is_killed_and_its_console_kept() {
        let text = "echo '#guest# begin a'; exec tail -f /dev/null";
        let (end, console) = script(text, Duration::from_millis(300));
        assert_eq!(end, End::TimeLimit);
        assert_eq!(console, "#guest# begin a\n");
    }

    #[test]
    fn who_reads_the_console_may_end_it() {
        let text = "echo a; echo enough; exec tail -f /dev/null";
        let (end, console) = script(text, Duration::from_secs(60));
        assert_eq!(end, End::Stopped);
        assert_eq!(console, "a\nenough\n");
    }

    #[test]
    fn the_command_line_asks_for_the_emulator_and_the_cpu() {
        let machine = Machine {
            qemu: Qemu::Installed("/q".into()),
            kernel: "/k".into(),
            cpu: "max,-pku".into(),
            nr_cpus: 2,
            limit: Duration::ZERO,
        };
        let command = machine.command(Path::new("/i"), 0);
        let args: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        let line = args.join(" ");
        for part in [
            "-accel tcg -cpu max,-pku -smp 2 -m 1024",
            "-no-reboot",
            "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel /k -initrd /i -append console=ttyS0 panic=-1",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn memory_grows_with_the_initrd() {
        assert_eq!(memory_mib(0), 1024);
        assert_eq!(memory_mib(256 << 20), 1024);
        assert_eq!(memory_mib(600 << 20), 512 + 1200);
    }
}
