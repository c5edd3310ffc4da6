//! The signal frame of a test program: what the kernel saved of it, and will load again.
#![allow(unsafe_code, reason = "the kernel's structures behind raw pointers")]

use core::ffi::c_int;
use core::mem::offset_of;

use pkeys_core::x86::XFEATURE_PKRU;
use pkeys_core::xsave::XSTATE_BV_OFFSET;
use pkeys_core::{KeyRegister, SignalFrame, XsaveLayout, siginfo, signal_frame};

use super::asm::{FAULTED, Point};
use crate::system::{Frame, Signal};

/// The frame of the signal that is being handled.
#[derive(Debug)]
pub(super) struct LinuxFrame {
    context: *mut libc::ucontext_t,
    layout: XsaveLayout,
    signal: Signal,
    /// The instruction that faulted; `None` for a signal that was sent.
    point: Option<Point>,
}

impl LinuxFrame {
    /// Reads what the kernel told. `None` for a fault in an instruction that is none of the stubs', and for a frame that
    /// has no PKRU.
    ///
    /// # Safety
    ///
    /// 1. `info` and `context` are the arguments of a handler that has not returned, and this is its only frame.
    /// 2. All keys are open.
    pub(super) unsafe fn new(
        info: *const libc::siginfo_t,
        context: *mut libc::ucontext_t,
        layout: XsaveLayout,
        pkru_in_handler: u32,
    ) -> Option<Self> {
        // SAFETY: the kernel's structure (1), readable (2).
        let info = unsafe { info.read() };
        let (signo, code) = (info.si_signo, info.si_code);
        let mut frame = Self {
            context,
            layout,
            signal: Signal {
                signo,
                code,
                addr: 0,
                pkey: 0,
                err: 0,
                trapno: 0,
                cr2: 0,
                pkru_in_handler,
                pkru_in_frame: 0,
                is_on_altstack: false,
            },
            point: None,
        };
        // Signals of the kernel's have a positive code, those that somebody sent have not.
        if code > 0 && [libc::SIGSEGV, libc::SIGBUS].contains(&signo) {
            let [rip, rdi, r15] = [libc::REG_RIP, libc::REG_RDI, libc::REG_R15];
            let registers = [rip, rdi, r15].map(|index| frame.register(index));
            frame.point = Some(Point::at(registers[0], registers[1], registers[2])?);
            // SAFETY: the part of the union that a fault fills.
            frame.signal.addr = unsafe { info.si_addr() }.addr() as u64;
            if signo == libc::SIGSEGV && code == siginfo::SEGV_PKUERR {
                let start = (&raw const info).cast::<u8>();
                let place = start.wrapping_add(siginfo::SI_PKEY_OFFSET);
                // SAFETY: four aligned bytes inside of the structure.
                frame.signal.pkey = unsafe { place.cast::<u32>().read() };
            }
        }
        frame.signal.err = frame.register(libc::REG_ERR);
        frame.signal.trapno = frame.register(libc::REG_TRAPNO);
        frame.signal.cr2 = frame.register(libc::REG_CR2);
        frame.signal.is_on_altstack = frame.is_on_altstack();
        let (layout, state) = (frame.layout, frame.extended_state()?);
        frame.signal.pkru_in_frame = SignalFrame::read_pkru(state, layout).ok()?.bits();
        Some(frame)
    }

    /// The address of a field of the context.
    fn field<T>(&self, offset: usize) -> *mut T {
        self.context.cast::<u8>().wrapping_add(offset).cast()
    }

    /// The address of a saved general register.
    fn place(&self, index: c_int) -> *mut u64 {
        const START: usize = offset_of!(libc::ucontext_t, uc_mcontext.gregs);
        self.field(START + index.unsigned_abs() as usize * size_of::<u64>())
    }

    fn register(&self, index: c_int) -> u64 {
        // SAFETY: the kernel's structure is there until the handler returns (1); REG_* lie in its array.
        unsafe { self.place(index).read() }
    }

    fn set_register(&mut self, index: c_int, value: u64) {
        // SAFETY: as for reading, and nobody else edits the frame (1).
        unsafe { self.place(index).write(value) };
    }

    /// Whether the frame lies on the thread's alternate stack, which is where the kernel put it.
    fn is_on_altstack(&self) -> bool {
        let place = self.field::<libc::stack_t>(offset_of!(libc::ucontext_t, uc_stack));
        // SAFETY: the kernel's structure (1).
        let stack = unsafe { place.read() };
        let offset = self.context.addr().wrapping_sub(stack.ss_sp.addr());
        stack.ss_flags & libc::SS_DISABLE == 0 && offset < stack.ss_size
    }

    /// The XSAVE area, as far as its own header says that it reaches: the kernel wrote the magic number that vouches for
    /// the extended size (Linux `arch/x86/kernel/fpu/signal.c`).
    fn extended_state(&mut self) -> Option<&mut [u8]> {
        let place = self.field::<*mut u8>(offset_of!(libc::ucontext_t, uc_mcontext.fpregs));
        // SAFETY: the kernel's structure is there (1).
        let start = unsafe { place.read() };
        if start.is_null() {
            return None;
        }
        // SAFETY: a floating-point state of the legacy size, 512 bytes, is there whenever the pointer is not null.
        let legacy = unsafe { core::slice::from_raw_parts(start, signal_frame::SW_RESERVED_END) };
        let len_bytes = SignalFrame::len_bytes(legacy.first_chunk()?).ok()?;
        // SAFETY: the kernel vouches for the length; nobody else reads or writes there (1).
        Some(unsafe { core::slice::from_raw_parts_mut(start, len_bytes) })
    }
}

impl Frame for LinuxFrame {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn set_pkru(&mut self, pkru: u32) {
        let layout = self.layout;
        if let Some(state) = self.extended_state() {
            // The frame was good when it was read, and is the same.
            let _ = SignalFrame::write_pkru(state, layout, KeyRegister::from_bits(pkru));
        }
    }

    fn clear_pkru_in_xstate_bv(&mut self) {
        let state = self.extended_state();
        if let Some(field) =
            state.and_then(|state| state.get_mut(XSTATE_BV_OFFSET..)?.first_chunk_mut())
        {
            *field = (u64::from_le_bytes(*field) & !XFEATURE_PKRU).to_le_bytes();
        }
    }

    fn skip(&mut self) {
        if let Some(point) = self.point.take() {
            self.set_register(libc::REG_RIP, point.end());
            self.set_register(libc::REG_RAX, FAULTED);
            let rsp = self.register(libc::REG_RSP);
            self.set_register(libc::REG_RSP, rsp.wrapping_add(point.pushed));
        }
    }
}
