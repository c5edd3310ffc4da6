//! What leaves a gate otherwise than by returning: exceptions and long jumps. Both give up frames of the shadow stack, and bring the
//! rights back that the oldest of them holds.
#![allow(unsafe_code, reason = "called by the unwinder, reads a jmp_buf")]

use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::gate::shadow::Frame;
use crate::gate::{ThreadVariables, registers, shadow};

/// `_UA_CLEANUP_PHASE` (Itanium C++ ABI, exception handling, 1.6.2).
const CLEANUP_PHASE: c_int = 2;

/// `_URC_CONTINUE_UNWIND`.
const CONTINUE: c_int = 8;

/// The index of the stack pointer in glibc's `jmp_buf` (`sysdeps/x86_64/jmpbuf-offsets.h`).
const JB_RSP: usize = 6;

unsafe extern "C" {
    /// The unwinder's: reads a field of the context.
    #[link_name = "_Unwind_GetCFA"]
    fn canonical_frame_address(context: *mut c_void) -> usize;
}

/// The personality routine of a gate's frame. In the first phase it has nothing to say, in the second it gives the frame up, and
/// what younger ones a jump past the unwinder may have left (`pthread_cleanup_push(3)` in C does so).
pub(crate) extern "C" fn personality(
    _version: c_int,
    actions: c_int,
    _class: u64,
    _exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    if actions & CLEANUP_PHASE != 0 {
        // SAFETY: the context that the unwinder hands to a personality routine.
        let callee = unsafe { canonical_frame_address(context) };
        // What the gate has called had its stack pointer there when it was called.
        let own = shadow::frames().find(|(_, frame)| frame.stack_pointer == callee);
        if let Some((addr, frame)) = own.or_else(|| shadow::frames().next()) {
            give_up(addr, frame.register);
        }
    }
    CONTINUE
}

/// Gives up what a jump leaves behind: every gate that was entered below the stack frame it goes to.
///
/// A gate's stack pointer is the address behind the return address of its caller, which is below or at the target's if the
/// target function is an outer one. That holds on one stack: a handler on an alternate stack (`sigaltstack(2)`) has its gates there,
/// wherever that is, and leaves them all behind when it jumps to the interrupted code.
pub(crate) extern "C" fn before_longjmp(buffer: *const usize) {
    if shadow::frames().next().is_none() {
        return;
    }
    let saved = buffer.wrapping_add(JB_RSP);
    // SAFETY: the buffer that the program hands to longjmp.
    let mangled = unsafe { saved.read() };
    let target = demangle(mangled);
    let alternate = alternate_stack();
    // A stack pointer may be just behind its stack.
    let is_alternate = |addr: usize| alternate.contains(&(addr - 1));
    let is_left = |frame: &Frame| {
        let (from, to) = (is_alternate(frame.stack_pointer), is_alternate(target));
        from && !to || from == to && frame.stack_pointer <= target
    };
    let left = shadow::frames().take_while(|(_, frame)| is_left(frame));
    if let Some((addr, frame)) = left.last() {
        give_up(addr, frame.register);
    }
}

/// Where the thread's alternate signal stack is; empty without one.
fn alternate_stack() -> Range<usize> {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: asks, and changes nothing; the answer is a local variable.
    unsafe { libc::sigaltstack(core::ptr::null(), stack.as_mut_ptr()) };
    // SAFETY: zeroed memory is an answer too.
    let stack = unsafe { stack.assume_init() };
    if stack.ss_flags & libc::SS_DISABLE != 0 {
        return 0..0;
    }
    let start = stack.ss_sp.addr();
    start..start + stack.ss_size
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
