//! Runs a program, hands out its output line by line, and keeps all of it.
//!
//! Standard output and standard error share one pipe, so that the lines stay in the order in which they were written:
//! cargo names a test binary on the one and the binary reports on the other. A time limit kills the program by the
//! handle that started it, never by name.

use core::ops::ControlFlow;
use core::time::Duration;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

/// How often it is checked whether the program has ended although its pipe is still open.
const POLL: Duration = Duration::from_millis(100);

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its status; `None` when it was killed, because its time was up or its reader had seen enough.
    pub(crate) status: Option<ExitStatus>,
    /// Everything it printed.
    pub(crate) output: String,
}

impl Finished {
    /// Whether it ended by itself with status 0.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` without input. `on_line` sees each line without its end.
pub(crate) fn run(
    command: Command,
    limit: Option<Duration>,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Finished> {
    run_while(command, limit, &mut |line| {
        on_line(line);
        ControlFlow::Continue(())
    })
}

/// The same, until `on_line` breaks off: then the program is killed.
pub(crate) fn run_while(
    mut command: Command,
    limit: Option<Duration>,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> io::Result<Finished> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the pipe's other end too: without this the reader would never see the end.
    drop(command);
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut output = String::new();
    let followed = follow(&mut child, &read_lines(reader), deadline, &mut |line| {
        output.push_str(&line);
        output.push('\n');
        on_line(&line)
    })?;
    if followed.is_break() {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(Finished {
        status: followed.is_continue().then_some(status),
        output,
    })
}

/// Hands on lines until the program's end; breaks where the deadline or `on_line` did.
fn follow(
    child: &mut Child,
    lines: &Receiver<String>,
    deadline: Option<Instant>,
    on_line: &mut dyn FnMut(String) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut has_ended = false;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) && !has_ended {
            return Ok(ControlFlow::Break(()));
        }
        match lines.recv_timeout(left.map_or(POLL, |left| left.min(POLL))) {
            Ok(line) => {
                if on_line(line).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(ControlFlow::Continue(())),
            // A process that the program left behind may hold the pipe open for ever: silence after the program's end
            // is the end.
            Err(RecvTimeoutError::Timeout) if has_ended => return Ok(ControlFlow::Continue(())),
            Err(RecvTimeoutError::Timeout) => has_ended = child.try_wait()?.is_some(),
        }
    }
}

/// Reads lines on a thread of its own, so that waiting for one can have a limit.
fn read_lines(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line);
            // A serial console ends its lines with both.
            let text = text.trim_end_matches(['\n', '\r']);
            if sender.send(text.to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::{Finished, run, run_while};
    use core::ops::ControlFlow;
    use core::time::Duration;
    use std::process::Command;

    fn shell(script: &str, limit: Option<Duration>) -> (Finished, Vec<String>) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let finished = run(command, limit, &mut |line| lines.push(line.to_owned())).unwrap();
        (finished, lines)
    }

    #[test]
    fn both_streams_arrive_in_order_with_the_status() {
        let (finished, lines) = shell("echo a; echo b >&2; printf 'c\\r\\n\\377'; exit 3", None);
        assert_eq!(lines, ["a", "b", "c", "\u{fffd}"]);
        assert_eq!(finished.output, "a\nb\nc\n\u{fffd}\n");
        assert_eq!(finished.status.and_then(|status| status.code()), Some(3));
        assert!(!finished.is_success());
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_its_output_kept() {
        let limit = Some(Duration::from_millis(300));
        let (finished, lines) = shell("echo started; exec tail -f /dev/null", limit);
        assert_eq!(lines, ["started"]);
        assert!(finished.status.is_none());
    }

    #[test]
    fn a_reader_that_has_seen_enough_ends_the_program() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo a; echo b; echo c; exec tail -f /dev/null"]);
        let finished = run_while(command, None, &mut |line| match line {
            "b" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let finished = finished.unwrap();
        assert_eq!(finished.output, "a\nb\n");
        assert!(finished.status.is_none());
    }

    #[test]
    fn a_process_left_behind_with_the_pipe_does_not_hold_us() {
        // The child's child ends by itself when the pipe it reads, held open by nobody else, is gone with the test.
        let (finished, lines) = shell("tail -f /dev/null --pid=$PPID & echo done", None);
        assert_eq!(lines, ["done"]);
        assert!(finished.is_success());
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let command = Command::new("/nonexistent/program");
        assert!(run(command, None, &mut |_| {}).is_err());
    }
}
