//! Runs one program, with a time limit, and clears up after it.
//!
//! Process 1 inherits every orphan of the guest. Tests start processes of their own and some of them are killed in the
//! middle of that, so the loop reaps whatever ends, and afterwards kills whatever is left: each program finds the guest
//! as the first one found it.

use core::time::Duration;
use guest_init::events::Outcome;
use guest_init::jobs::{self, Job};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::fs::{self, File};
use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

/// Runs `job` on the console and waits for its end.
pub(crate) fn run(job: &Job) -> Outcome {
    let input = match input(job) {
        Ok(input) => input,
        Err(err) => return Outcome::NotStarted(err.raw_os_error().unwrap_or(0)),
    };
    let child = Command::new(&job.program)
        .args(&job.args)
        .env_clear()
        .envs(job.env.iter().map(|(key, value)| (key, value)))
        .current_dir("/tmp")
        .stdin(input)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(err) => return Outcome::NotStarted(err.raw_os_error().unwrap_or(0)),
    };
    let pid = Pid::from_child(&child);
    let (ended, wait_for_end) = mpsc::channel::<()>();
    let limit = job.limit;
    let watchdog = thread::spawn(move || kill_after(limit, pid, &wait_for_end));
    let outcome = reap_until(pid);
    drop(ended);
    let was_killed = watchdog.join().unwrap_or(false);
    kill_the_rest();
    if was_killed {
        Outcome::TimeLimit
    } else {
        outcome
    }
}

/// What a job reads.
fn input(job: &Job) -> io::Result<Stdio> {
    if job.has_input {
        File::open(jobs::STDIN).map(Stdio::from)
    } else {
        Ok(Stdio::null())
    }
}

/// Kills `pid` when `limit` passes before the other end of `ended` is dropped; gives whether it did.
fn kill_after(limit: Duration, pid: Pid, ended: &mpsc::Receiver<()>) -> bool {
    let is_late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    is_late && kill_process(pid, Signal::KILL).is_ok()
}

/// Waits for any process, until it is `pid`.
fn reap_until(pid: Pid) -> Outcome {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended == pid => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Outcome::Exit(status),
                    (None, Some(signal)) => Outcome::Signal(signal),
                    (None, None) => continue,
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Outcome::NotStarted(err.raw_os_error()),
        }
    }
}

/// Kills every other process of the guest and reaps it. The kernel's own threads ignore the signal.
fn kill_the_rest() {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    let pids = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| !pid.is_init());
    for pid in pids {
        // Gone since the folder was read, or a kernel thread: both are fine.
        kill_process(pid, Signal::KILL).ok();
    }
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
