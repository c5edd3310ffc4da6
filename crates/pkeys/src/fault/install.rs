//! Installing the three handlers, and going on to those that were there before.
//!
//! SIGSEGV is the fault, SIGTRAP ends a single step, SIGBUS undoes one that ran into the end of a file. The handlers
//! stay for the life of the process. What was there before is kept and called for every signal that is none of
//! ours, under the signal mask that it would have had: Rust's own handler, which tells a stack overflow from other
//! faults, goes on working.
#![allow(unsafe_code, reason = "sigaction(2) and calls through its pointers")]

use core::ffi::{c_int, c_void};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::fault::frame::{Frame, KernelSigset};
use crate::fault::{handler, pardon, report};
use crate::fork;

/// A handler as `SA_SIGINFO` wants it.
pub(super) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The signals that are handled, and what handled them before (null until it is known, then a leaked `sigaction`).
pub(super) static PREVIOUS: [(c_int, AtomicPtr<libc::sigaction>); 3] = [
    (libc::SIGSEGV, AtomicPtr::new(ptr::null_mut())),
    (libc::SIGBUS, AtomicPtr::new(ptr::null_mut())),
    (libc::SIGTRAP, AtomicPtr::new(ptr::null_mut())),
];

/// The fault handlers, or the reports, could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// `sigaction(2)` failed.
    Signal {
        /// The signal's number.
        signal: i32,
        /// What the kernel answered.
        source: io::Error,
    },
    /// `pthread_atfork(3)` failed.
    Fork {
        /// What it answered.
        source: io::Error,
    },
    /// Reports cannot be written.
    Report(report::StartError),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal { signal, source } => {
                write!(f, "sigaction(2) for signal {signal} failed: {source}")
            }
            Self::Fork { source } => write!(f, "pthread_atfork(3) failed: {source}"),
            Self::Report(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Signal { source, .. } | Self::Fork { source } => Some(source),
            Self::Report(error) => error.source(),
        }
    }
}

/// Makes sure that the handlers are installed and reports can be written.
pub(crate) fn install() -> Result<(), InstallError> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut is_installed = IS_INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    report::start().map_err(InstallError::Report)?;
    if !*is_installed {
        fork::install().map_err(|source| InstallError::Fork { source })?;
        install_one(0, handler::on_segv)?;
        install_one(1, handler::on_bus)?;
        install_one(2, handler::on_trap)?;
        *is_installed = true;
    }
    report::refresh_modules();
    Ok(())
}

fn install_one(index: usize, handler: Handler) -> Result<(), InstallError> {
    let (signal, previous) = &PREVIOUS[index];
    let signal = *signal;
    let failed = |_| InstallError::Signal {
        signal,
        source: io::Error::last_os_error(),
    };
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the old one fits the buffer.
    check(unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) }).map_err(failed)?;
    // SAFETY: sigaction has filled it, and a zeroed one is a value too.
    let before = unsafe { before.assume_init() };
    // Kept for ever, and known before the first signal comes: a handler may read it at any time.
    previous.store(Box::into_raw(Box::new(before)), Release);
    let mut action: libc::sigaction = before;
    action.sa_sigaction = handler as usize;
    // SA_NODEFER: a fault inside a handler is then a signal that can be reported, not a silent death.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    let unmasked = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGTRAP,
        libc::SIGFPE,
        libc::SIGILL,
    ];
    // SAFETY: the set is a field of this function's own.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    for unmasked in unmasked {
        // SAFETY: as above.
        unsafe { libc::sigdelset(&raw mut action.sa_mask, unmasked) };
    }
    // SAFETY: the handler does what a signal handler may (`fault`'s essay), and stays for ever.
    check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }).map_err(failed)
}

fn check(result: c_int) -> Result<(), ()> {
    if result == 0 { Ok(()) } else { Err(()) }
}

/// Hands a signal that is none of ours, or whose access is to be stopped, to what was there before. Returns when that
/// returned; the faulting instruction then runs again.
pub(super) fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.iter().find(|(number, _)| *number == signal);
    let previous = previous.map_or(ptr::null_mut(), |(_, previous)| previous.load(Acquire));
    // SAFETY: null or a leaked action.
    let Some(previous) = (unsafe { previous.as_ref() }) else {
        return die(signal, info);
    };
    match previous.sa_sigaction {
        libc::SIG_DFL => die(signal, info),
        libc::SIG_IGN if is_asynchronous(info) => {}
        // The kernel does not let a fault be ignored (`force_sig_fault`): it kills.
        libc::SIG_IGN => die(signal, info),
        address => call(previous, address, signal, info, context),
    }
}

fn call(
    previous: &libc::sigaction,
    address: usize,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: `context` came from the kernel with this signal; the caller's frame is not used while this one is.
    let interrupted = unsafe { Frame::new(context) }.mask();
    let before = set_mask(interrupted | handler_mask(previous, signal));
    if previous.sa_flags & libc::SA_RESETHAND != 0 {
        set_default(signal);
    }
    if previous.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the address was given to sigaction with SA_SIGINFO: a function of this type.
        let handler = unsafe { core::mem::transmute::<usize, Handler>(address) };
        handler(signal, info, context);
    } else {
        // SAFETY: the address was given to sigaction without SA_SIGINFO: a function of this type.
        let handler = unsafe { core::mem::transmute::<usize, extern "C" fn(c_int)>(address) };
        handler(signal);
    }
    set_mask(before);
}

/// The signals that the previous handler asked to have blocked while it runs.
fn handler_mask(previous: &libc::sigaction, signal: c_int) -> KernelSigset {
    // SAFETY: a sigset_t is larger than the eight bytes that the kernel uses, which are its first.
    let mask = unsafe { (&raw const previous.sa_mask).cast::<KernelSigset>().read() };
    if previous.sa_flags & libc::SA_NODEFER != 0 {
        mask
    } else {
        mask | pardon::bit(signal)
    }
}

fn set_mask(mask: KernelSigset) -> KernelSigset {
    let mut before: KernelSigset = 0;
    // SAFETY: both sets are eight bytes, as the length says. The raw call, as libc's would take its own set type.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<KernelSigset>(),
        )
    };
    before
}

/// Whether somebody sent the signal, rather than an instruction having raised it.
fn is_asynchronous(info: *mut libc::siginfo_t) -> bool {
    // SAFETY: the kernel's siginfo is there while its handler runs. SI_USER is 0, SI_QUEUE, SI_TKILL and others are
    // negative; what the kernel raises for an instruction is positive (`sigaction(2)`).
    unsafe { (*info).si_code <= 0 }
}

/// Death by the signal's default action, with the thread where it was: a fault is taken again when the handler returns, so
/// that a core dump shows the guilty frame. What would not come again by itself is sent.
pub(super) fn die(signal: c_int, info: *mut libc::siginfo_t) {
    set_default(signal);
    if is_asynchronous(info) || signal == libc::SIGTRAP {
        // SAFETY: takes integers only.
        unsafe { libc::raise(signal) };
    }
}

/// Whether the signal's action is now the default one: what was there before may have given up (Rust's own handler does,
/// to have the fault taken again).
pub(super) fn is_default(signal: c_int) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the answer fits the buffer. Async-signal-safe.
    unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) };
    // SAFETY: sigaction has filled it, and a zeroed one is a value too.
    unsafe { now.assume_init() }.sa_sigaction == libc::SIG_DFL
}

fn set_default(signal: c_int) {
    // SAFETY: a zeroed sigaction is the default action, no flags, an empty mask.
    let action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    // SAFETY: the default action for a signal; async-signal-safe.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}
