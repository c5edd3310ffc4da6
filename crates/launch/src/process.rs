//! A child process that is not left behind: it ends at its time limit, when its reader has seen enough, and with its parent.
//!
//! It is killed by the handle that started it, never by name. It also dies when this program does, by whatever: Linux sends
//! it SIGKILL when the thread that started it is gone (`PR_SET_PDEATHSIG`, `prctl(2)`). So a Ctrl-C, a closed terminal or the
//! kernel's out-of-memory killer leave no emulator that runs on. The terminal's signals do not reach it (it is a process group of
//! its own): whoever presses Ctrl-C hears from this program, and from no emulator that happened to end first.
//!
//! What the child writes is read on threads, so that waiting for it can have a limit. A few pieces are in flight at most: a
//! child that floods its output waits for the reader.

#![allow(
    unsafe_code,
    reason = "what a child does between fork(2) and execve(2)"
)]

use core::ops::ControlFlow;
use core::time::Duration;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Instant;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// How often it is checked whether the program has ended although its pipe is still open.
const POLL: Duration = Duration::from_millis(100);

/// The same for a program that has closed its output.
const SHORT_POLL: Duration = Duration::from_millis(1);

/// How much is read at once.
const PIECE_LEN_BYTES: usize = 1 << 13;

/// Pieces that were read and not yet looked at, at most.
const MAX_PIECES: usize = 16;

/// Which of the child's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: the guest's console.
    Console,
    /// Standard error: what the emulator has to say itself.
    Emulator,
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or by a signal from elsewhere.
    Status(ExitStatus),
    /// It was killed when its time was up.
    TimeLimit,
    /// It was killed because its reader had seen enough.
    Stopped,
}

/// A piece of output.
type Piece = (Stream, Vec<u8>);

/// Has a descriptor stay open in the child.
pub(crate) fn inherit(command: &mut Command, descriptor: OwnedFd) {
    let at_start = move || Ok(fcntl_setfd(&descriptor, FdFlags::empty())?);
    // SAFETY: (1) the closure makes one system call; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(at_start) };
}

/// Has the child die with this thread.
fn die_with_us(command: &mut Command) {
    let parent = getpid();
    let at_start = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that call; then nobody sends the signal any more.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: (1) the closure makes two system calls; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(at_start) };
}

/// A child that is killed when nobody holds it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing to a process that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` without input to its end; `on_piece` sees its output as it comes, and may break off. The calling thread
/// has to live until then.
///
/// # Errors
///
/// It could not be started, or there is no thread or pipe for its output.
pub fn run(
    mut command: Command,
    limit: Option<Duration>,
    on_piece: &mut dyn FnMut(Stream, &[u8]) -> ControlFlow<()>,
) -> io::Result<Ended> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    die_with_us(&mut command);
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut child = Running(command.spawn()?);
    let (sender, pieces) = mpsc::sync_channel(MAX_PIECES);
    if let Some(output) = child.0.stdout.take() {
        read(Stream::Console, output, sender.clone())?;
    }
    if let Some(output) = child.0.stderr.take() {
        read(Stream::Emulator, output, sender)?;
    }
    follow(&mut child.0, &pieces, deadline, on_piece)
}

/// Hands on what is read, until the program's end.
fn follow(
    child: &mut Child,
    pieces: &Receiver<Piece>,
    deadline: Option<Instant>,
    on_piece: &mut dyn FnMut(Stream, &[u8]) -> ControlFlow<()>,
) -> io::Result<Ended> {
    let mut status = None;
    let mut is_closed = false;
    loop {
        // A process that the program left behind may hold the pipes open for ever: silence after the program's end is
        // the end.
        if let (Some(status), true) = (status, is_closed) {
            return Ok(Ended::Status(status));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(status.map_or(Ended::TimeLimit, Ended::Status));
        }
        let patience = if is_closed { SHORT_POLL } else { POLL };
        match pieces.recv_timeout(left.map_or(patience, |left| left.min(patience))) {
            Ok((stream, bytes)) => {
                if on_piece(stream, &bytes).is_break() {
                    return Ok(Ended::Stopped);
                }
            }
            Err(RecvTimeoutError::Timeout) if status.is_some() => is_closed = true,
            Err(RecvTimeoutError::Timeout) => status = child.try_wait()?,
            Err(RecvTimeoutError::Disconnected) => {
                if is_closed && status.is_none() {
                    // Nothing is to be heard any more, so this alone waits.
                    thread::sleep(SHORT_POLL);
                }
                is_closed = true;
                status = child.try_wait()?;
            }
        }
    }
}

/// Reads one output on a thread of its own.
fn read(
    stream: Stream,
    mut output: impl Read + Send + 'static,
    pieces: SyncSender<Piece>,
) -> io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; PIECE_LEN_BYTES];
        loop {
            match output.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(len) => {
                    if pieces.send((stream, buffer[..len].to_vec())).is_err() {
                        return;
                    }
                }
            }
        }
    };
    thread::Builder::new()
        .name("output".to_owned())
        .spawn(read)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Ended, Stream, run};
    use core::ops::ControlFlow;
    use core::time::Duration;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::{Command, ExitStatus};

    fn shell(script: &str, limit: Duration) -> (Ended, String, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let (mut console, mut emulator) = (Vec::new(), Vec::new());
        let ended = run(command, Some(limit), &mut |stream, bytes| {
            let out = match stream {
                Stream::Console => &mut console,
                Stream::Emulator => &mut emulator,
            };
            out.extend_from_slice(bytes);
            if console.ends_with(b"enough\n") {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended.unwrap(), text(console), text(emulator))
    }

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn both_outputs_are_read_to_their_ends_and_kept_apart() {
        let script = "seq 100000; echo why >&2; exit 3";
        let (ended, console, emulator) = shell(script, LONG);
        assert_eq!(ended, Ended::Status(ExitStatus::from_raw(3 << 8)));
        assert_eq!(console.lines().count(), 100_000);
        assert_eq!(console.lines().last(), Some("100000"));
        assert_eq!(emulator, "why\n");
    }

    #[test]
    fn a_signal_from_elsewhere_is_told() {
        let (ended, ..) = shell("kill -KILL $$", LONG);
        let Ended::Status(status) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(status.signal(), Some(9));
    }

    #[test]
    fn who_hangs_is_killed_also_with_its_output_closed_or_flooded() {
        for script in [
            "exec tail -f /dev/null",
            "exec >/dev/null 2>&1; exec tail -f /dev/null",
            "trap '' TERM INT HUP; while :; do :; done",
            "exec yes",
        ] {
            let (ended, console, _) = shell(&format!("echo $$; {script}"), SHORT);
            assert_eq!(ended, Ended::TimeLimit, "{script}");
            let process = Path::new("/proc").join(console.lines().next().unwrap());
            assert!(!process.exists(), "{script}: {}", process.display());
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_ends_it() {
        let (ended, console, _) = shell("echo enough; exec tail -f /dev/null", LONG);
        assert_eq!((ended, console.as_str()), (Ended::Stopped, "enough\n"));
    }

    #[test]
    fn a_process_left_behind_with_the_pipe_does_not_hold_us() {
        // The child's child ends by itself when this test does.
        let (ended, console, _) = shell("tail -f /dev/null --pid=$PPID & echo done", LONG);
        assert_eq!(ended, Ended::Status(ExitStatus::from_raw(0)));
        assert_eq!(console, "done\n");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let command = Command::new("/nonexistent/program");
        let error = run(command, None, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
}
