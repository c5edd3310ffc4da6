//! What an interrupted demo leaves behind: nothing.
//!
//! On SIGINT, SIGTERM and SIGHUP a thread ends the demo's other processes, waits for them, removes the folder, and then
//! lets the signal do what it does by itself, so that the caller sees the true status. The main thread may meanwhile see
//! a process of its own end unexpectedly; it holds still instead of talking about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use console::Term;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::{Doing, Failure};

/// How often the folder is removed: a process that was just ended may have made one more file.
const ATTEMPTS: usize = 5;

/// What there is to end and to remove.
struct State {
    children: Vec<Arc<Mutex<Child>>>,
    folder: Option<PathBuf>,
    is_ending: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    children: Vec::new(),
    folder: None,
    is_ending: false,
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to listen for the signals.
pub(crate) fn listen() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).doing("cannot listen for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                end();
                // It does not return for these three; if it should, the next signal tries again.
                let _ = emulate_default_handler(signal);
            }
        })
        .doing("cannot start a thread")?;
    Ok(())
}

/// Has this folder removed when the demo is interrupted.
pub(crate) fn remove_at_interrupt(folder: &Path) {
    state().folder = Some(folder.to_owned());
}

/// A process that is ended with the demo.
#[derive(Debug)]
pub(crate) struct Tracked {
    child: Arc<Mutex<Child>>,
}

impl Tracked {
    /// Takes a process that was just started.
    pub(crate) fn new(child: Child) -> Self {
        let child = Arc::new(Mutex::new(child));
        let is_ending = {
            let mut state = state();
            state.children.push(Arc::clone(&child));
            state.is_ending
        };
        let tracked = Self { child };
        if is_ending {
            // Too late for the thread that ends them.
            drop(tracked);
            hold();
        }
        tracked
    }

    /// Waits until the process has ended. To be called when it has closed its output, so that the wait is short.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        let status = lock(&self.child).wait();
        hold_if_ending();
        status
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // Both do nothing to a process that was waited for.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        state()
            .children
            .retain(|other| !Arc::ptr_eq(other, &self.child));
    }
}

/// Keeps the calling thread here for good when the demo is being ended.
pub(crate) fn hold_if_ending() {
    if state().is_ending {
        hold();
    }
}

fn hold() -> ! {
    loop {
        thread::park();
    }
}

fn end() {
    let (children, folder) = {
        let mut state = state();
        state.is_ending = true;
        (state.children.clone(), state.folder.take())
    };
    for child in children {
        let mut child = lock(&child);
        let _ = child.kill();
        let _ = child.wait();
    }
    for _ in 0..ATTEMPTS {
        let is_gone = folder
            .as_deref()
            .is_none_or(|folder| fs::remove_dir_all(folder).is_ok());
        if is_gone {
            break;
        }
    }
    // Takes the progress bar off the screen.
    let screen = Term::stderr();
    if screen.is_term() {
        let _ = screen.clear_line();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
