//! The end of the program: what `--stats` and `--learn` print, and whether anything was guarded at all.
//!
//! It runs as a destructor of the audit library, after those of the program and its libraries, or when the program calls `_exit(2)` or
//! `quick_exit(3)`. A program that ends by a signal or by `execve(2)` prints nothing; neither does a child of `fork(2)`.
#![allow(
    unsafe_code,
    reason = "a function of the program's C library by address, and the destructor's section"
)]

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

use crate::bind;
use crate::domain;
use crate::judge::PAST_GATES;
use crate::learn;
use crate::real::Slot;
use crate::refuse::{self, say};
use crate::settings::{NOTHING_GUARDED, Settings};

/// The process that this is about.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// `fflush` of the program's C library.
pub(crate) static FLUSH: Slot = Slot::new();

static SETTINGS: std::sync::OnceLock<Settings> = std::sync::OnceLock::new();

/// How many functions are listed.
const MAX_LISTED: usize = 10;

/// Notes what will be asked for.
pub(crate) fn prepare(settings: &Settings) {
    let _ = SETTINGS.set(settings.clone());
    PROCESS.store(process(), Relaxed);
}

/// Whether this is the process that was started, and not a child of it.
pub(crate) fn is_guarded_process() -> bool {
    PROCESS.load(Relaxed) == process()
}

fn process() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::getpid() }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: extern "C" fn() = finish;

extern "C" fn finish() {
    if is_short() {
        flush();
        refuse::exit(NOTHING_GUARDED);
    }
}

/// The status of a program that ends by `_exit(2)` with that one.
pub(crate) fn status(status: c_int) -> c_int {
    if is_short() { NOTHING_GUARDED } else { status }
}

/// Says what is to be said at the end, and whether the program is to end otherwise than it wants, because something was
/// required and not guarded. Of several ends of the process the first counts.
fn is_short() -> bool {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let Some(settings) = SETTINGS.get() else {
        return false;
    };
    if !is_guarded_process() || IS_DONE.swap(true, Relaxed) {
        return false;
    }
    if settings.stats {
        stats();
    }
    if settings.learn {
        list_learnt();
    }
    let missing: Vec<&str> = domain::all()
        .iter()
        .filter(|guarded| !guarded.is_loaded.load(Relaxed))
        .map(|guarded| guarded.settings.name())
        .collect();
    if missing.is_empty() {
        return false;
    }
    let what = if missing.len() == domain::all().len() {
        "nothing was guarded"
    } else {
        "not everything was guarded"
    };
    let missing = missing.join(", ");
    say(&format!("{what}: the program did not load {missing}"));
    settings.require
}

/// Writes out what the program has printed: its own C library would do so after this.
fn flush() {
    type Flush = unsafe extern "C" fn(*mut c_void) -> c_int;
    if FLUSH.get() == 0 {
        return;
    }
    // SAFETY: the address of `fflush` in the main C library.
    let flush = unsafe { core::mem::transmute::<usize, Flush>(FLUSH.get()) };
    // SAFETY: null is every stream.
    unsafe { flush(core::ptr::null_mut()) };
}

fn stats() {
    let bindings = bind::guard();
    let mut counts: Vec<(u64, &str)> = bindings
        .counters
        .iter()
        .map(|(name, counter)| (counter.count.load(Relaxed), name.shown.as_str()))
        .collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let calls: u64 = counts.iter().map(|(count, _)| count).sum();
    say(&format!(
        "{calls} calls through {} gates, {} relocations changed, {} entries past every gate",
        bindings.gates,
        bindings.rewritten,
        PAST_GATES.load(Relaxed)
    ));
    for guarded in domain::all() {
        let Some(counters) = guarded.domain.get().map(pkeys::Domain::counters) else {
            continue;
        };
        say(&format!(
            "{}: {} stray writes, {} pardoned, {} reported; {} reads repaired",
            guarded.settings.name(),
            counters.stray_writes,
            counters.pardons,
            counters.reports,
            counters.repairs
        ));
    }
    for (count, name) in counts
        .iter()
        .take(MAX_LISTED)
        .filter(|(count, _)| *count > 0)
    {
        say(&format!("{count:>12} {name}"));
    }
}

fn list_learnt() {
    let learnt = learn::learnt();
    if learnt.is_empty() {
        say("the program wrote to nothing that a function gave it: no --share is needed");
    }
    let unnamed = learn::unnamed();
    if unnamed > 0 {
        say(&format!(
            "{unnamed} stray writes went to memory that no exported function gave; --share does not help, the reports say where"
        ));
    }
    for (library, functions) in learnt {
        let functions: Vec<&str> = functions.into_iter().collect();
        say(&format!("{library}: --share {}", functions.join(",")));
    }
}
