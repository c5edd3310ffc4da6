//! What leaves a gate otherwise than by returning: exceptions and long jumps. Both give up frames of the shadow stack, and bring the
//! rights back that the oldest of them holds.
#![allow(unsafe_code, reason = "called by the unwinder, reads a jmp_buf")]

use core::arch::asm;
use core::ffi::{c_int, c_void};

use crate::gate::{ThreadVariables, registers, shadow};

/// `_UA_CLEANUP_PHASE` (Itanium C++ ABI, exception handling, 1.6.2).
const CLEANUP_PHASE: c_int = 2;

/// `_URC_CONTINUE_UNWIND`.
const CONTINUE: c_int = 8;

/// The index of the stack pointer in glibc's `jmp_buf` (`sysdeps/x86_64/jmpbuf-offsets.h`).
const JB_RSP: usize = 6;

/// The personality routine of a gate's frame. In the first phase it has nothing to say, in the second it gives the frame up.
pub(crate) extern "C" fn personality(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    _context: *mut c_void,
) -> c_int {
    if actions & CLEANUP_PHASE != 0
        && let Some((addr, frame)) = shadow::frames().next()
    {
        give_up(addr, frame.register);
    }
    CONTINUE
}

/// Gives up what a jump leaves behind: every gate that was entered below the stack frame it goes to.
pub(crate) extern "C" fn before_longjmp(buffer: *const usize) {
    let saved = buffer.wrapping_add(JB_RSP);
    // SAFETY: the buffer that the program hands to longjmp.
    let mangled = unsafe { saved.read() };
    let target = demangle(mangled);
    // A gate's stack pointer is the address behind the return address of its caller, which is below or at the target's if
    // the target function is an outer one.
    let left = shadow::frames().take_while(|(_, frame)| frame.stack_pointer <= target);
    if let Some((addr, frame)) = left.last() {
        give_up(addr, frame.register);
    }
}

/// The oldest frame that is given up, and what the register was before it.
fn give_up(addr: usize, register: u32) {
    ThreadVariables::current().set_next_frame(addr);
    registers::set(register);
}

/// A pointer as glibc keeps it in a `jmp_buf` (`PTR_DEMANGLE`, `sysdeps/unix/sysv/linux/x86_64/pointer_guard.h`). The guard
/// belongs to the thread and is the same for every C library in the process.
fn demangle(mangled: usize) -> usize {
    let pointer_guard: usize;
    // SAFETY: reads the word at 0x30 of the thread's control block, which glibc puts there.
    unsafe {
        asm!(
            "mov {}, qword ptr fs:[0x30]",
            out(reg) pointer_guard,
            options(nostack, readonly, preserves_flags),
        );
    }
    mangled.rotate_right(0x11) ^ pointer_guard
}
