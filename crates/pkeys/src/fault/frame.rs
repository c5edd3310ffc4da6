//! The signal frame: what the kernel saved of the interrupted thread, and will load again when the handler returns.
//!
//! `ucontext_t` holds the general registers and a pointer to an XSAVE area with PKRU in it. Editing PKRU there is how a
//! handler changes the interrupted code's rights: its own register is its own.
#![allow(unsafe_code, reason = "the kernel's structures behind raw pointers")]

use core::ffi::{c_int, c_void};
use core::mem::offset_of;

use pkeys_core::{KeyRegister, PageFaultErrorCode, SignalFrame, XsaveLayout, signal_frame};

use crate::fault::stray::Registers;

/// RFLAGS.TF: trap after one instruction (SDM Vol. 1, 3.4.3.3).
const TRAP_FLAG: i64 = 1 << 8;

/// `rt_sigprocmask(2)`'s idea of a signal set: one bit a signal, bit 0 is signal 1.
pub(super) type KernelSigset = u64;

/// Where the frame keeps the signal mask.
const MASK: usize = offset_of!(libc::ucontext_t, uc_sigmask);

/// The frame of the signal that is being handled.
#[derive(Debug)]
pub(super) struct Frame {
    context: *mut libc::ucontext_t,
}

impl Frame {
    /// # Safety
    ///
    /// 1. `context` is the third argument of a handler that was installed with `SA_SIGINFO` and has not returned.
    /// 2. It is the only `Frame` of that handler that is used.
    pub(super) unsafe fn new(context: *mut c_void) -> Self {
        Self {
            context: context.cast(),
        }
    }

    /// The address of a field of the context.
    fn field<T>(&self, offset: usize) -> *mut T {
        self.context.cast::<u8>().wrapping_add(offset).cast()
    }

    /// The address of a saved general register.
    fn place(&self, index: c_int) -> *mut i64 {
        const START: usize = offset_of!(libc::ucontext_t, uc_mcontext.gregs);
        self.field(START + index.unsigned_abs() as usize * size_of::<i64>())
    }

    fn register(&self, index: c_int) -> i64 {
        // SAFETY: the kernel's structure is there until the handler returns (1); REG_* lie in its array.
        unsafe { self.place(index).read() }
    }

    fn set_register(&mut self, index: c_int, value: i64) {
        // SAFETY: as for reading, and nobody else edits the frame (2).
        unsafe { self.place(index).write(value) };
    }

    /// The address of the instruction that the thread goes on with.
    pub(super) fn pc(&self) -> usize {
        usize::try_from(self.register(libc::REG_RIP).cast_unsigned()).unwrap_or(0)
    }

    pub(super) fn set_pc(&mut self, pc: usize) {
        self.set_register(libc::REG_RIP, (pc as u64).cast_signed());
    }

    /// The page-fault error code, for a SIGSEGV that came of one.
    pub(super) fn error_code(&self) -> PageFaultErrorCode {
        let code = self.register(libc::REG_ERR).cast_unsigned();
        #[expect(clippy::cast_possible_truncation, reason = "the code has 32 bits")]
        PageFaultErrorCode::from_bits(code as u32)
    }

    /// Sets RFLAGS.TF; gives what it was.
    pub(super) fn set_trap_flag(&mut self, is_set: bool) -> bool {
        let flags = self.register(libc::REG_EFL);
        let wanted = if is_set {
            flags | TRAP_FLAG
        } else {
            flags & !TRAP_FLAG
        };
        self.set_register(libc::REG_EFL, wanted);
        flags & TRAP_FLAG != 0
    }

    pub(super) fn has_trap_flag(&self) -> bool {
        self.register(libc::REG_EFL) & TRAP_FLAG != 0
    }

    /// The signal mask that the thread goes on with.
    pub(super) fn mask(&self) -> KernelSigset {
        // SAFETY: the kernel's structure is there (1). It writes and reads eight bytes of the field.
        unsafe { self.field::<KernelSigset>(MASK).read() }
    }

    pub(super) fn set_mask(&mut self, mask: KernelSigset) {
        // SAFETY: as for reading, and nobody else edits the frame (2).
        unsafe { self.field::<KernelSigset>(MASK).write(mask) };
    }

    /// The registers that an unwinder starts from.
    pub(super) fn registers(&self) -> Registers {
        let get = |index| self.register(index).cast_unsigned();
        Registers {
            rip: get(libc::REG_RIP),
            rsp: get(libc::REG_RSP),
            rbp: get(libc::REG_RBP),
            rbx: get(libc::REG_RBX),
            r12: get(libc::REG_R12),
            r13: get(libc::REG_R13),
            r14: get(libc::REG_R14),
            r15: get(libc::REG_R15),
        }
    }

    /// PKRU as the thread had it; `None` where the frame holds no extended state.
    pub(super) fn pkru(&self, layout: XsaveLayout) -> Option<KeyRegister> {
        let (start, len_bytes) = self.extended_state()?;
        // SAFETY: the kernel vouches for the length; nobody writes there while this borrow lasts (2).
        let state = unsafe { core::slice::from_raw_parts(start, len_bytes) };
        SignalFrame::read_pkru(state, layout).ok()
    }

    /// Sets what PKRU becomes when the handler returns. Gives whether the frame has a place for it.
    #[must_use]
    pub(super) fn set_pkru(&mut self, layout: XsaveLayout, register: KeyRegister) -> bool {
        let Some((start, len_bytes)) = self.extended_state() else {
            return false;
        };
        // SAFETY: the kernel vouches for the length; nobody else reads or writes there (2).
        let state = unsafe { core::slice::from_raw_parts_mut(start, len_bytes) };
        SignalFrame::write_pkru(state, layout, register).is_ok()
    }

    /// The XSAVE area, as far as its own header says that it reaches: the kernel wrote the magic number that vouches for
    /// the extended size (`sigframe.h`).
    fn extended_state(&self) -> Option<(*mut u8, usize)> {
        let place = self.field::<*mut u8>(offset_of!(libc::ucontext_t, uc_mcontext.fpregs));
        // SAFETY: the kernel's structure is there (1).
        let start = unsafe { place.read() };
        if start.is_null() {
            return None;
        }
        // SAFETY: a floating-point state of the legacy size, 512 bytes, is there whenever the pointer is not null.
        let legacy = unsafe { core::slice::from_raw_parts(start, signal_frame::SW_RESERVED_END) };
        let len_bytes = SignalFrame::len_bytes(legacy.first_chunk()?).ok()?;
        Some((start, len_bytes))
    }
}
