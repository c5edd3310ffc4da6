//! A program, and the CPU time of a run of it.
#![allow(unsafe_code, reason = "wait4(2)")]

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Program(Vec<OsString>);

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    /// CPU time of the program and of those that it waited for, in user space and in the kernel.
    pub(super) seconds: f64,
    /// What it printed.
    pub(super) printed: Vec<u8>,
}

impl Program {
    /// A program with arguments.
    pub(super) fn new<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }

    /// The same, guarded.
    pub(super) fn guarded(&self, pkeys: &Path, options: &[&str]) -> Self {
        let mut words = vec![pkeys.into(), "guard".into()];
        words.extend(options.iter().map(OsString::from));
        words.push("--".into());
        words.extend(self.0.iter().cloned());
        Self(words)
    }

    /// Runs it to its end, which has to be a good one.
    #[expect(clippy::zombie_processes, reason = "wait4(2) waits for it")]
    pub(super) fn run(&self) -> Run {
        let (program, arguments) = self.0.split_first().expect("a program");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut printed = Vec::new();
        let mut output = child.stdout.take().expect("a pipe");
        output.read_to_end(&mut printed).expect("its output");
        let process = i32::try_from(child.id()).expect("a process number");
        let mut status = 0;
        // SAFETY: zeroes are a value of it.
        let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
        // SAFETY: a child of this process that nobody else waits for; two variables of this function's own.
        let ended = unsafe { libc::wait4(process, &raw mut status, 0, &raw mut usage) };
        assert!(
            ended == process && status == 0,
            "{:?} ended with status {status:#x}",
            self.0
        );
        Run {
            seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            printed,
        }
    }
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}
