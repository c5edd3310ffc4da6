//! The handler of every signal that a test program may get.
//!
//! It notes what it was told in the thread's state, steps over the instruction that faulted, and returns. A fault in any
//! other instruction is a defect of the test: the default action is put back, and the fault, taken again, ends the
//! process truthfully.
//!
//! Flags: `SA_SIGINFO`; `SA_ONSTACK`, with an alternate stack for each thread from the start, so that a test may make
//! its stack unusable; `SA_NODEFER`, as the selftests of the kernel and plain programs that nest faults have it: a fault
//! inside a handler is a signal like any other, and not the death that a blocked SIGSEGV means.
//!
//! What [`System::with_handler`](crate::System::with_handler) puts in place runs here, inside the real handler, with the
//! PKRU that the kernel gave it. While it runs, the thread is back to stepping over: a fault that it takes itself is
//! noted like any other.
//!
//! Nothing here allocates, locks or formats, as long as the test's own handler does not. (It may: the interrupted code is
//! a stub, and holds no lock.)
#![allow(unsafe_code, reason = "a signal handler")]

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use std::io;

use pkeys_core::KeyRegister;

use super::LinuxSystem;
use super::asm;
use super::frame::LinuxFrame;
use super::state::State;
use crate::system::Frame as _;

/// The signals that have the handler.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGUSR1, libc::SIGUSR2];

/// Installs the handler for the whole process.
///
/// # Errors
///
/// What `sigaction(2)` said.
pub(super) fn install() -> io::Result<()> {
    let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    SIGNALS
        .into_iter()
        .try_for_each(|signo| set_action(signo, asm::handler(), flags))
}

fn set_action(signo: c_int, action: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: a structure of integers and a nullable function; all zeros is one.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = action;
    new.sa_flags = flags;
    // SAFETY: the action is the default one, or the handler below with the flags that it is written for.
    match unsafe { libc::sigaction(signo, &raw const new, core::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where the handler's entry in [`super::asm`] goes on: all keys are open, and have to be when this returns.
pub(super) extern "C" fn on_signal(
    signo: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    pkru: u32,
) {
    if !handle(info, context.cast(), pkru) {
        // Taken again when this returns.
        let _ = set_action(signo, libc::SIG_DFL, 0);
    }
}

/// Whether the signal was one for the test program.
fn handle(info: *mut libc::siginfo_t, context: *mut libc::ucontext_t, pkru: u32) -> bool {
    let Some(state) = State::current() else {
        return false;
    };
    // SAFETY: the arguments of the handler that this is a part of (1); its entry opened all keys (2).
    let Some(mut frame) = (unsafe { LinuxFrame::new(info, context, state.layout, pkru) }) else {
        return false;
    };
    let signal = frame.signal();
    if let Some(mut custom) = state.custom.take() {
        let mut system = LinuxSystem::new(state.clone());
        // SAFETY: what the kernel gave to this handler. Key 0 is open in it; the stack is the test's own care.
        unsafe { state.pku.write(KeyRegister::from_bits(pkru)) };
        // SAFETY: `with_handler` has not returned, and nobody else has the closure as long as it is out of the cell.
        unsafe { custom.as_mut()(&mut system, &mut frame) };
        // SAFETY: takes nothing away from anybody.
        unsafe { state.pku.write(KeyRegister::ALL_OPEN) };
        state.custom.set(Some(custom));
    } else {
        frame.skip();
    }
    state.note.set(signal);
    state.is_noted.set(true);
    true
}
