//! How a boot ends, and what QEMU's status means.
//!
//! The image writes a number to QEMU's debug-exit device, and QEMU ends with twice the number plus one: never 0. Under
//! `-no-reboot` a machine that resets, as by a triple fault, ends QEMU with 0, which is why 0 is a failure, and why nothing
//! but the one exact status is a pass.

use core::fmt;
use core::ops::ControlFlow;
use core::time::Duration;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use crate::lines::Lines;
use crate::process::{Ended, Stream, run};

/// What the image writes, and what it means by it (`image/src/exit.rs`).
const STATUSES: [(u8, End); 5] = [
    (0x10, End::Passed),
    (0x11, End::Refused),
    (0x20, End::Failed),
    (0x21, End::Stopped),
    (0x22, End::Panicked),
];

/// A console with more than this on it is no console of the image's.
pub const MAX_CONSOLE_LEN_BYTES: usize = 4 << 20;

/// What a line ends with that was cut off.
const UNENDED: &str = "...";

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
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
    /// It wrote more than [`MAX_CONSOLE_LEN_BYTES`], and QEMU was killed.
    Flooded,
    /// Who read its console had seen enough, and QEMU was killed.
    Left,
    /// QEMU ended with another status; 0 is a reset of the machine.
    Status(i32),
    /// QEMU was killed by this signal.
    Signal(i32),
}

impl End {
    /// What QEMU's status means.
    #[must_use]
    pub fn from_status(status: ExitStatus) -> Self {
        let Some(code) = status.code() else {
            return Self::Signal(status.signal().unwrap_or_default());
        };
        let written = |written: u8| (i32::from(written) << 1) | 1;
        STATUSES
            .into_iter()
            .find(|(number, _)| written(*number) == code)
            .map_or(Self::Status(code), |(_, end)| end)
    }

    /// Whether the image itself ended the machine, and not something on the way.
    #[must_use]
    pub fn is_the_images_own(self) -> bool {
        STATUSES.iter().any(|(_, end)| *end == self)
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
            Self::Flooded => write!(
                f,
                "killed after {} MiB of output",
                MAX_CONSOLE_LEN_BYTES >> 20
            ),
            Self::Left => f.write_str("killed before its end"),
            Self::Status(0) => f.write_str("the machine was reset"),
            Self::Status(code) => write!(f, "QEMU ended with status {code}"),
            Self::Signal(signal) => write!(f, "QEMU was killed by signal {signal}"),
        }
    }
}

/// Starts QEMU and waits for its end; `on_line` sees each line of the guest's console and of the emulator, and may break off.
///
/// # Errors
///
/// It could not be started.
pub fn boot(
    qemu: Command,
    limit: Duration,
    on_line: &mut dyn FnMut(Stream, &str) -> ControlFlow<()>,
) -> io::Result<End> {
    let mut console = Lines::default();
    let mut emulator = Lines::default();
    let mut len_bytes = 0;
    let ended = run(qemu, Some(limit), &mut |stream, bytes| {
        len_bytes += bytes.len();
        if len_bytes > MAX_CONSOLE_LEN_BYTES {
            return ControlFlow::Break(());
        }
        let lines = match stream {
            Stream::Console => &mut console,
            Stream::Emulator => &mut emulator,
        };
        lines.take(bytes, &mut |line| on_line(stream, line))
    })?;
    let end = match ended {
        Ended::Status(status) => End::from_status(status),
        Ended::TimeLimit => End::TimeLimit,
        Ended::Stopped if len_bytes > MAX_CONSOLE_LEN_BYTES => End::Flooded,
        Ended::Stopped => return Ok(End::Left),
    };
    // What they have not ended is no whole line: a name in it may be half of one.
    let mut unended = |stream, lines: &mut Lines| {
        lines.finish(&mut |line| on_line(stream, &format!("{line}{UNENDED}")))
    };
    // Who breaks off now only misses what the other one has left.
    let _ = unended(Stream::Console, &mut console)
        .is_continue()
        .then(|| unended(Stream::Emulator, &mut emulator));
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::{End, Stream, boot};
    use core::ops::ControlFlow;
    use core::time::Duration;
    use std::process::Command;

    /// Boots a machine whose emulator is a shell script.
    fn script(text: &str, limit: Duration) -> (End, Vec<(Stream, String)>) {
        let mut qemu = Command::new("/bin/sh");
        qemu.args(["-c", text]);
        let mut lines = Vec::new();
        let end = boot(qemu, limit, &mut |stream, line| {
            // Of a flood only the beginning.
            if lines.len() < 10 {
                lines.push((stream, line.to_owned()));
            }
            match line {
                "enough" => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        (end.unwrap(), lines)
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn only_the_exact_status_is_a_pass() {
        for (status, end) in [
            (33, End::Passed),
            (35, End::Refused),
            (65, End::Failed),
            (67, End::Stopped),
            (69, End::Panicked),
            (0, End::Status(0)),
            (1, End::Status(1)),
            (34, End::Status(34)),
        ] {
            let found = script(&format!("exit {status}"), LONG).0;
            assert_eq!(found, end);
            assert_eq!(
                found.is_the_images_own(),
                (33..=69).contains(&status) && status % 2 == 1
            );
        }
        assert_eq!(script("kill -KILL $$", LONG).0, End::Signal(9));
    }

    #[test]
    fn an_image_that_hangs_is_killed_and_its_words_kept() {
        let text = "echo 'ok a'; printf 'ok b'; exec tail -f /dev/null";
        let (end, said) = script(text, Duration::from_secs(1));
        assert_eq!(end, End::TimeLimit);
        let said: Vec<_> = said.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(said, ["ok a", "ok b..."]);
    }

    #[test]
    fn a_flood_is_stopped_and_so_is_what_nobody_reads() {
        assert_eq!(script("exec yes", LONG).0, End::Flooded);
        assert_eq!(script("exec tr '\\0' x </dev/zero", LONG).0, End::Flooded);
        let (end, said) = script("echo enough; exec yes", LONG);
        assert_eq!((end, said.len()), (End::Left, 1));
    }

    #[test]
    fn the_emulators_words_are_told_from_the_guests() {
        let (_, said) = script("echo a; printf why >&2; exit 1", LONG);
        let expected = [(Stream::Console, "a"), (Stream::Emulator, "why...")];
        assert_eq!(
            said,
            expected.map(|(stream, line)| (stream, line.to_owned()))
        );
    }
}
