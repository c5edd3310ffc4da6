//! Exceptions and interrupts: what is done about each.
//!
//! `entry.s` puts the interrupted registers on the stack as a [`Frame`] and calls [`exception_main`]. The handler runs in a
//! context of its own as far as supervisor keys are concerned, which is entered before anything else is done and left when
//! all is done: whatever the interrupted code has open is closed to the handler, nested handlers and NMIs included. If a
//! handler switches threads, the context of the handler goes with the thread.
//!
//! What interrupts a program is no handler: [`crate::user`] asked for it and gets it as the answer of a call. Only an NMI
//! comes here from user mode, too.
//!
//! | vector | what | file |
//! |---|---|---|
//! | 1 | the trap behind an instruction that was let through | [`step`] |
//! | 2 | NMI | [`nmi`] |
//! | 14 | page fault | [`page_fault`] |
//! | 0 to 31 | other exceptions: fatal | [`report`] |
//! | from 32 | interrupts | [`interrupt`] |
//! | [`SYSCALL`] | not a vector: in the frame of a system call | [`crate::user`] |

#![allow(unsafe_code, reason = "includes the entry code")]

pub(crate) mod fixup;
pub(crate) mod frame;
pub(crate) mod interrupt;
pub(crate) mod nmi;
pub(crate) mod page_fault;
pub(crate) mod report;
pub(crate) mod softirq;

use core::arch::global_asm;
use core::mem::offset_of;

use pkeys_image::descriptors::{USER_CODE, USER_DATA};

use crate::cpu::pkrs::ThisCpu;
use crate::cpu::tables::STUB_LEN;
use crate::cpu::{per_cpu, registers, xstate};
use crate::keys::step;
use frame::Frame;
use pkeys_kernel::pks::{self, Context, PksCpu};

/// In a frame's vector: the frame of a system call.
pub(crate) const SYSCALL: u64 = 256;
/// The vector of debug exceptions.
pub(crate) const DEBUG: u64 = 1;
/// The vector of NMIs.
const NMI: u64 = 2;
/// The vector of general protection faults.
pub(crate) const GENERAL_PROTECTION: u64 = 13;
/// The vector of page faults.
pub(crate) const PAGE_FAULT: u64 = 14;
/// The first vector that is an interrupt and not an exception.
pub(crate) const FIRST_INTERRUPT: u64 = 32;

global_asm!(
    include_str!("entry.s"),
    STUB_LEN = const STUB_LEN,
    ENTRY_STACK = const per_cpu::ENTRY_STACK,
    RUN_STACK = const per_cpu::RUN_STACK,
    USER_STACK = const per_cpu::USER_STACK,
    USER_STATE = const per_cpu::USER_STATE,
    SWITCHED = const per_cpu::SWITCHED,
    MXCSR = const xstate::MXCSR_INITIAL,
    USER_DATA = const USER_DATA,
    USER_CODE = const USER_CODE,
    SYSCALL = const SYSCALL,
    NMI = const NMI,
    GS_BASE = const registers::GS_BASE,
    FRAME_LEN = const size_of::<Frame>(),
    VECTOR = const offset_of!(Frame, vector),
    CS = const offset_of!(Frame, cs),
    RIP = const offset_of!(Frame, rip),
    RSP = const offset_of!(Frame, rsp),
    exception_main = sym exception_main,
);

/// Called by the entry code, interrupts kept out, for everything that interrupts the kernel; and for interrupts of programs,
/// by who runs them.
pub(crate) extern "sysv64" fn exception_main(frame: &mut Frame) {
    let cpu = ThisCpu;
    let interrupted = cpu.current();
    let own = Context::new();
    pks::enter(&cpu, &own);
    match frame.vector {
        NMI => nmi::handle(frame),
        DEBUG => step::handle(frame, interrupted),
        PAGE_FAULT => page_fault::handle(frame, interrupted),
        0..FIRST_INTERRUPT => {
            pks::call_off(interrupted, frame);
            report::exception(frame, interrupted);
        }
        _ => interrupt::handle(frame),
    }
    pks::leave(&cpu, interrupted);
}
