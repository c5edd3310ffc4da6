//! A case on Linux: in a process of its own, with a time limit.
//!
//! The process sends its verdict through a socket and ends. If it dies or hangs before, that is the verdict. Its own
//! children die with it.
#![allow(unsafe_code, reason = "fork, wait and kill of the case's process")]

use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::time::Instant;

use super::result::{Outcome, run};
use crate::case::Case;
use crate::linux::LinuxSystem;

/// How long a case may take. The slowest takes seconds under emulation.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs one case in a child process; one of a newer kernel only if that is wanted.
///
/// # Errors
///
/// The process could not be started.
pub(super) fn run_case(case: &Case, is_any_version: bool) -> io::Result<Outcome> {
    let since = case.since.filter(|_| !is_any_version);
    let case = Case { since, ..*case };
    run_within(LIMIT, |stream| send(stream, &on_this_process(&case)))
}

fn run_within(limit: Duration, body: impl FnOnce(UnixStream)) -> io::Result<Outcome> {
    let start = Instant::now();
    let (mine, its) = UnixStream::pair()?;
    // SAFETY: this program has one thread, so that the child is a whole copy.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        drop(mine);
        prepare();
        // A panic was told on standard error; it must not go on in the copy of the runner.
        let is_done = catch_unwind(AssertUnwindSafe(|| body(its))).is_ok();
        // SAFETY: does not return.
        unsafe { libc::_exit(if is_done { 0 } else { 101 }) };
    }
    drop(its);
    let verdict = receive(mine, limit);
    let is_late = matches!(&verdict, Err(err) if err.kind() == io::ErrorKind::WouldBlock);
    if is_late {
        // SAFETY: a child that was not waited for: the number is its own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    let status = wait(pid)?;
    let mut outcome = match verdict {
        Ok(outcome) => outcome,
        Err(_) if is_late => {
            Outcome::without_verdict(format!("none within {} seconds", limit.as_secs()))
        }
        Err(_) => Outcome::without_verdict(describe(status)),
    };
    outcome.time = start.elapsed();
    Ok(outcome)
}

/// In the child: it dies with the runner and leaves no core file.
fn prepare() {
    // SAFETY: asks for a signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the structure.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}

/// In the child: the case as a test program.
fn on_this_process(case: &Case) -> Outcome {
    match LinuxSystem::enter() {
        Ok(mut system) => run(case, &mut system),
        Err(err) => Outcome::without_verdict(err.to_string()),
    }
}

/// Sends a result as one line. The runner notices if that fails.
fn send(mut stream: UnixStream, outcome: &Outcome) {
    if let Ok(mut line) = serde_json::to_vec(outcome) {
        line.push(b'\n');
        let _ = stream.write_all(&line);
    }
}

/// Receives the line; `WouldBlock` when it took too long.
fn receive(stream: UnixStream, limit: Duration) -> io::Result<Outcome> {
    stream.set_read_timeout(Some(limit))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn wait(pid: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: writes the status.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status);
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

/// How a process ended, in words.
fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("ended with status {}", libc::WEXITSTATUS(status))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::{describe, run_within, send};
    use crate::runner::result::{End, Outcome};

    /// The test harness has threads, of which a forked child has none: the bodies touch no lock.
    fn outcome(limit: Duration, body: fn(std::os::unix::net::UnixStream)) -> String {
        match run_within(limit, body).unwrap().end {
            End::Failed(mismatch) => mismatch.found,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_process_without_a_verdict_is_a_failure_that_says_how_it_ended() {
        let second = Duration::from_secs(10);
        // SAFETY: ends the child.
        let exits = |_| unsafe { libc::_exit(7) };
        assert_eq!(outcome(second, exits), "ended with status 7");
        // SAFETY: ends the child.
        let dies = |_| unsafe {
            libc::raise(libc::SIGKILL);
        };
        assert_eq!(outcome(second, dies), "killed by signal 9");
        assert_eq!(outcome(second, drop), "ended with status 0");
    }

    #[test]
    fn a_process_that_hangs_is_killed() {
        // SAFETY: waits for a signal that nobody sends.
        let hangs = |stream| unsafe {
            libc::pause();
            drop(stream);
        };
        let found = outcome(Duration::from_secs(1), hangs);
        assert_eq!(found, "none within 1 seconds");
    }

    #[test]
    fn a_verdict_comes_through() {
        let passes = |stream| {
            let outcome = Outcome {
                end: End::Passed,
                signals: vec!["SIGSEGV".into()],
                time: Duration::ZERO,
            };
            send(stream, &outcome);
        };
        let found = run_within(Duration::from_secs(10), passes).unwrap();
        assert_eq!((found.end, found.signals.len()), (End::Passed, 1));
        assert!(found.time > Duration::ZERO);
    }

    #[test]
    fn a_status_is_said_in_words() {
        assert_eq!(describe(11), "killed by signal 11");
        assert_eq!(describe(3 << 8), "ended with status 3");
    }
}
