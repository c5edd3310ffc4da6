//! The way of a record from a signal handler to the reports: real handlers, real stacks, real locks.
//!
//! A signal that a thread sends to itself stands for the fault: its handler finds the thread stopped in the middle of a
//! function, as SIGSEGV's would, and puts a made-up stray access on record with the thread's true registers.
//!
//! * [`calls`]: what a report says.
//! * [`locks`]: faults under locks that the report needs.
//! * [`bounds`]: nobody waits for long, and what is lost is counted.
#![allow(unsafe_code, reason = "signal handlers")]

mod bounds;
mod calls;
mod locks;

use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Once;

use serde_json::Value;

use crate::fault::frame::Frame;
use crate::fault::report::channel::Channel;
use crate::fault::report::clock::SECOND_NS;
use crate::fault::report::reporter::{self, Settings};
use crate::fault::report::{outlets, sample};

/// A bound that no test is meant to reach.
const LONG_NS: u64 = 60 * SECOND_NS;

/// A bound that is meant to be reached.
const SHORT_NS: u64 = SECOND_NS / 5;

/// A channel of its own, which writes to two files.
struct Bench {
    channel: &'static Channel,
    file: PathBuf,
    terminal: PathBuf,
    _terminal: OwnedFd,
}

impl Bench {
    fn new(wait_ns: u64) -> Self {
        static NR: AtomicU32 = AtomicU32::new(0);
        let number = NR.fetch_add(1, SeqCst);
        let path = |kind| {
            let name = format!("pkeys-report-{}-{number}-{kind}", std::process::id());
            std::env::temp_dir().join(name)
        };
        let (file, terminal) = (path("file"), path("terminal"));
        let channel: &Channel = Box::leak(Box::new(Channel::new()));
        channel.set_wait(wait_ns);
        channel
            .outlets
            .set_file(outlets::open(&file).unwrap())
            .unwrap();
        let to_terminal = outlets::open(&terminal).unwrap();
        channel.outlets.set_terminal(Some(to_terminal.as_raw_fd()));
        Self {
            channel,
            file,
            terminal,
            _terminal: to_terminal,
        }
    }

    /// One with a reporter.
    fn served(wait_ns: u64) -> Self {
        let bench = Self::new(wait_ns);
        reporter::spawn(
            bench.channel,
            Settings {
                allows_colour: false,
            },
        )
        .unwrap();
        bench
    }

    /// The lines of the file of that kind. One that is being written at the moment is left for the next time.
    fn lines(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }

    fn terminal(&self) -> String {
        fs::read_to_string(&self.terminal).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.channel.outlets.set_terminal(None);
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.terminal);
    }
}

thread_local! {
    /// Where the handler reports to.
    static TARGET: Cell<Option<&'static Channel>> = const { Cell::new(None) };
    /// Whether this thread is in the handler.
    static IS_IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn on_stray(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's own argument to this handler (1), wrapped once (2).
    let frame = unsafe { Frame::new(context) };
    let Some(channel) = TARGET.get() else { return };
    let mut stray = sample::stray();
    stray.registers = frame.registers();
    stray.pc = frame.pc();
    IS_IN_HANDLER.set(true);
    channel.emit(&stray);
    IS_IN_HANDLER.set(false);
}

extern "C" fn on_other(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    stray_in_handler();
}

#[inline(never)]
fn stray_in_handler() {
    raise(libc::SIGUSR1);
    black_box(());
}

fn handle(signal: c_int, handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)) {
    // SAFETY: a zeroed one is a value: the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler does what a signal handler may, which is what these tests are about.
    let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(result, 0);
}

#[inline(never)]
fn raise(signal: c_int) {
    // SAFETY: takes an integer; the signal has a handler.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// Has the calling thread's handler report to this bench.
fn aim(bench: &Bench) {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        handle(libc::SIGUSR1, on_stray);
        handle(libc::SIGUSR2, on_other);
    });
    TARGET.set(Some(bench.channel));
}

/// Strays in the calling thread, reported to this bench.
fn stray(bench: &Bench) {
    aim(bench);
    raise(libc::SIGUSR1);
}

/// The function names of a report's frames, from the first that contains `from`.
fn names(report: &Value, from: &str) -> Vec<String> {
    let frames = report["frames"].as_array().unwrap().iter();
    let names = frames.map(|frame| frame["function"].as_str().unwrap_or("?").to_owned());
    names.skip_while(|name| !name.contains(from)).collect()
}
