//! Ring 3: how programs get into the kernel, and what they find there.

#![allow(unsafe_code, reason = "sets the registers that SYSCALL goes by")]

pub(crate) mod access;
pub(crate) mod program;
pub(crate) mod space;

use pkeys_core::AccessBits;
use pkeys_image::descriptors;

use crate::cpu::registers::{
    EFER, EFER_SCE, LSTAR, RFLAGS_AC, RFLAGS_DF, RFLAGS_IF, RFLAGS_NT, RFLAGS_TF, SFMASK, STAR,
    read_msr, write_msr,
};
use crate::cpu::{interrupts, pkru};
use crate::sched;
use crate::trap::fixup::Fault;
use crate::trap::frame::Frame;
use program::{Event, LOG};

/// The flags that SYSCALL clears: those that would change how the kernel works.
const CLEARED: u64 = RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC;

unsafe extern "C" {
    static syscall_entry: u8;
}

/// Has SYSCALL go to the kernel's entry, on this CPU.
pub(crate) fn start_cpu() {
    let entry = (&raw const syscall_entry).addr() as u64;
    for (msr, value) in [(STAR, descriptors::STAR), (LSTAR, entry), (SFMASK, CLEARED)] {
        // SAFETY: (1) every CPU with long mode has them. (2) They matter to SYSCALL alone, which is off yet.
        unsafe { write_msr(msr, value) };
    }
    // SAFETY: every CPU with long mode has it.
    let efer = unsafe { read_msr(EFER) };
    // SAFETY: (1) every CPU with long mode has the bit. (2) Nothing is switched off.
    unsafe { write_msr(EFER, efer | EFER_SCE) };
}

/// Linux's numbers of errors.
const EFAULT: u64 = 14;
const ENOSYS: u64 = 38;

/// The calls of the case programs.
const LOG_VALUE: u64 = 1;
/// The kernel adds one to the word at RDI, or answers EFAULT.
const INCREMENT: u64 = 2;
const YIELD: u64 = 24;
const EXIT: u64 = 60;

/// A system call. Interrupts are kept out at entry and at return, and let in between.
pub(crate) fn syscall(frame: &mut Frame) {
    interrupts::enable();
    match frame.rax {
        LOG_VALUE => {
            LOG.lock().push(Event::Value(frame.rdi));
            frame.rax = 0;
        }
        INCREMENT => frame.rax = increment(frame.rdi),
        YIELD => {
            sched::yield_now();
            frame.rax = 0;
        }
        EXIT => sched::exit(),
        _ => frame.rax = ENOSYS.wrapping_neg(),
    }
    interrupts::disable();
}

/// Adds one to a word of the program's memory, as the program could itself.
fn increment(addr: u64) -> u64 {
    let mut word = [0; 8];
    let result = access::read(addr, &mut word);
    let next = u64::from_le_bytes(word).wrapping_add(1);
    match result.and_then(|()| access::write(addr, &next.to_le_bytes())) {
        Ok(()) => 0,
        Err(stopped) => {
            if let access::Stopped::Fault { fault, .. } = stopped {
                LOG.lock().push(Event::Fault(fault));
            }
            EFAULT.wrapping_neg()
        }
    }
}

/// A page fault of a program: it is written down, and the key opened for the program, if a key it was. Otherwise it is the
/// program's end: the handler's context is left for good with the thread.
pub(crate) fn page_fault(fault: Fault) {
    interrupts::enable();
    LOG.lock().push(Event::Fault(fault));
    let root = sched::current().and_then(|me| me.user.as_ref().map(|user| user.space.root()));
    let pkey = root.and_then(|root| space::pkey(root, fault.addr));
    match pkey {
        Some(pkey) if fault.code.has_pkey_bit() => {
            pkru::load(pkru::read().with(pkey, AccessBits::UNRESTRICTED));
        }
        _ => sched::exit(),
    }
    interrupts::disable();
}

/// Another exception of a program: its end.
pub(crate) fn exception(frame: &Frame) {
    interrupts::enable();
    LOG.lock().push(Event::Exception(frame.vector));
    sched::exit()
}
