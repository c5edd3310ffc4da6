//! Coming up: from the launcher's variable to a program that is guarded, or to the line that says why it is not.
//!
//! The loader goes on without an audit library that it cannot load. So the launcher makes a **trial start** first: the same program with the
//! same environment, told to list its libraries and end (`LD_TRACE_LOADED_OBJECTS`, `ld.so(8)`), in which this library answers
//! on a descriptor that it was loaded and that there are keys, and ends the process. Only then the program is started for good; from
//! there on this library itself ends the process when anything is missing, and its caller sees status 3.
#![allow(
    unsafe_code,
    reason = "the environment before the program runs, descriptors by number"
)]

use core::time::Duration;

use crate::bind;
use crate::caller;
use crate::domain;
use crate::elf::Dynamic;
use crate::finish;
use crate::fork;
use crate::gate::{mprotect, shadow};
use crate::heap::note_single_threaded;
use crate::judge;
use crate::learn;
use crate::refuse;
use crate::settings::{AUDIT_VARIABLE, IS_UP, Settings, VARIABLE};
use crate::wrap;
use pkeys::{Mode, embed, report};

/// Reads the settings and prepares what thunks will point to.
pub(crate) fn begin() -> Result<Settings, String> {
    let text = std::env::var(VARIABLE)
        .map_err(|_| format!("{AUDIT_VARIABLE} names this library, and {VARIABLE} is not set: start it by `pkeys guard`"))?;
    let settings: Settings = serde_json::from_str(&text)
        .map_err(|error| format!("{VARIABLE} cannot be read: {error}"))?;
    if !settings.is_unprotected {
        pkeys::support().map_err(|error| error.to_string())?;
    }
    domain::prepare(&settings)?;
    if settings.trial >= 0 {
        answer(settings.trial);
        // Nothing more can be learnt from it, and the rest of its start would be waited for.
        refuse::exit(0);
    }
    let audit = std::env::var(AUDIT_VARIABLE).unwrap_or_default();
    wrap::exec::keep(&text, &audit, settings.inherit);
    if !settings.inherit {
        for name in [VARIABLE, AUDIT_VARIABLE] {
            // SAFETY: the process has one thread, and no code of the program has run.
            unsafe { std::env::remove_var(name) };
        }
    }
    if settings.by_mprotect {
        mprotect::start();
    }
    let mut bindings = bind::guard();
    bindings.counts = settings.stats;
    bindings.is_bare = settings.is_unprotected || settings.mode == Mode::Off.name();
    drop(bindings);
    if settings.learn {
        learn::start();
    }
    if settings.mmap {
        wrap::pages::start();
    }
    finish::prepare(&settings);
    Ok(settings)
}

/// Tells the launcher that this library was loaded and can do its work.
fn answer(descriptor: i32) {
    let text = [IS_UP];
    // SAFETY: the launcher's descriptor, one byte.
    unsafe { libc::write(descriptor, text.as_ptr().cast(), text.len()) };
}

/// Everything that needs the program's C library: keys, fault handlers, reports, threads, forks.
///
/// A program that names `environ` has the variable itself: the loader copies it there, and the C library uses that one.
pub(crate) fn finish(
    settings: &Settings,
    program: Option<&Dynamic>,
    libc: Option<&Dynamic>,
) -> Result<(), String> {
    let libc = libc.ok_or("the program has no glibc")?;
    let find = |name: &str| {
        libc.find(name)
            .ok_or_else(|| format!("the program's C library has no {name}"))
    };
    wrap::memory::ERRNO_LOCATION.note(find("__errno_location")?);
    wrap::memory::note_realloc(find("realloc")?);
    let copied = ["environ", "__environ", "_environ"]
        .iter()
        .find_map(|name| program?.find(name));
    let environ = copied.map_or_else(|| find("environ"), Ok)?;
    let single = "__libc_single_threaded";
    let copied = program.and_then(|program| program.find(single));
    if let Some(addr) = copied.or_else(|| libc.find(single)) {
        note_single_threaded(addr);
    }
    wrap::exec::prepare(find("execve")?, find("execvpe")?, environ);
    wrap::exits::prepare(find("_exit")?, find("__cxa_at_quick_exit")?);
    finish::FLUSH.note(find("fflush")?);
    if let Some(seconds) = settings.report_wait {
        report::wait_at_most(Duration::from_secs(seconds));
    }
    if !settings.report.is_empty() {
        report::append_to(&settings.report).map_err(|error| error.to_string())?;
    }
    caller::prepare();
    embed::set_context_fn(judge::lasts_until_gate);
    embed::speak_of_gates();
    embed::set_other_fn(shadow::die_if_behind);
    domain::protect(settings)?;
    shadow::watch_threads(find("pthread_key_create")?, find("pthread_setspecific")?);
    fork::install(find("__register_atfork")?);
    Ok(())
}
