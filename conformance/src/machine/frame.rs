//! The signal frame of a test program, in the memory of the machine.
//!
//! It is read and edited at its place, at the offsets of the ABI: a `struct rt_sigframe` at the stack pointer. The
//! edits are made when the test's handler is done with it.
//!
//! Source: Linux `arch/x86/include/asm/sigframe.h`, `include/uapi/asm-generic/ucontext.h`,
//! `arch/x86/include/uapi/asm/sigcontext.h`.

use pkeys_core::signal_frame::SW_RESERVED_END;
use pkeys_core::x86::XFEATURE_PKRU;
use pkeys_core::xsave::XSTATE_BV_OFFSET;
use pkeys_core::{KeyRegister, SignalFrame, XsaveLayout, siginfo};

use super::thread::Thread;
use crate::system::{Frame, Handler, Signal};

/// What runs in place of the handler that steps over.
pub(super) type Custom<'a> = Option<Handler<'a>>;

/// What a stub has in RAX when the handler stepped over its instruction, as on Linux.
pub(super) const FAULTED: u64 = u64::MAX;

/// The number of SIGSEGV and of SIGBUS, the two that the kernel itself sends here.
const SIGSEGV: i32 = 11;
const SIGBUS: i32 = 7;

/// Offsets in `ucontext_t`: the alternate stack, and the saved registers by their order in `struct sigcontext`.
const UC_STACK: u64 = 16;
const REGISTERS: u64 = 40;
const RDI: u64 = REGISTERS + 8 * 8;
const RAX: u64 = REGISTERS + 8 * 13;
const RSP: u64 = REGISTERS + 8 * 15;
const RIP: u64 = REGISTERS + 8 * 16;
const ERR: u64 = REGISTERS + 8 * 19;
const TRAPNO: u64 = REGISTERS + 8 * 20;
const CR2: u64 = REGISTERS + 8 * 22;
const FPSTATE: u64 = REGISTERS + 8 * 23;

/// `SS_DISABLE`.
const SS_DISABLE: u64 = 2;

/// The frame of a signal that is being handled.
pub(super) struct MachineFrame {
    /// Where `ucontext_t` lies.
    context: u64,
    signal: Signal,
    /// The XSAVE area, and where it lies.
    state: (u64, Vec<u8>),
    layout: XsaveLayout,
    is_edited: bool,
    is_skipped: bool,
}

impl MachineFrame {
    /// Reads what the kernel wrote: the handler's arguments are `siginfo` and `context`.
    pub(super) fn read(thread: &Thread<'_, '_>, siginfo: u64, context: u64) -> Self {
        let pkru_in_handler = thread.live_pkru();
        let word = |at: u64| thread.peek_u64(context + at);
        let info = thread.peek(siginfo, 0x24);
        let int = |at: usize| {
            let bytes = info.get(at..).and_then(<[u8]>::first_chunk);
            i32::from_le_bytes(*bytes.expect("within siginfo_t"))
        };
        let (signo, code) = (int(0), int(8));
        let is_fault = code > 0 && [SIGSEGV, SIGBUS].contains(&signo);
        let is_key_fault = is_fault && signo == SIGSEGV && code == siginfo::SEGV_PKUERR;
        let state = word(FPSTATE);
        let legacy = thread.peek(state, SW_RESERVED_END);
        let legacy = legacy.first_chunk().expect("as long as was asked for");
        let len = SignalFrame::len_bytes(legacy).expect("a frame that the kernel wrote");
        let area = thread.peek(state, len);
        let layout = thread.layout();
        let pkru_in_frame = SignalFrame::read_pkru(&area, layout).expect("a good frame");
        let stack = context.wrapping_sub(word(UC_STACK));
        let is_enabled = word(UC_STACK + 8) & SS_DISABLE == 0;
        Self {
            context,
            signal: Signal {
                signo,
                code,
                addr: if is_fault {
                    thread.peek_u64(siginfo + siginfo::SI_ADDR_OFFSET as u64)
                } else {
                    0
                },
                pkey: if is_key_fault {
                    int(siginfo::SI_PKEY_OFFSET).cast_unsigned()
                } else {
                    0
                },
                err: word(ERR),
                trapno: word(TRAPNO),
                cr2: word(CR2),
                pkru_in_handler,
                pkru_in_frame: pkru_in_frame.bits(),
                is_on_altstack: is_enabled && stack < word(UC_STACK + 16),
            },
            state: (state, area),
            layout,
            is_edited: false,
            is_skipped: false,
        }
    }

    /// Whether the signal is one of a fault.
    fn is_fault(&self) -> bool {
        self.signal.code > 0 && [SIGSEGV, SIGBUS].contains(&self.signal.signo)
    }

    /// Writes the edits into the frame.
    pub(super) fn apply(&self, thread: &Thread<'_, '_>) {
        if self.is_edited {
            thread.poke(self.state.0, &self.state.1);
        }
        if self.is_skipped && self.is_fault() {
            let word = |at: u64| thread.peek_u64(self.context + at);
            let set = |at: u64, value: u64| thread.poke(self.context + at, &value.to_le_bytes());
            let rip = word(RIP);
            // A fetch that failed has its target in RIP, and the return address on the stack.
            let pushed = if rip == word(RDI) { 8 } else { 0 };
            set(RIP, thread.behind(rip));
            set(RAX, FAULTED);
            set(RSP, word(RSP).wrapping_add(pushed));
        }
    }
}

impl Frame for MachineFrame {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn set_pkru(&mut self, pkru: u32) {
        let pkru = KeyRegister::from_bits(pkru);
        // The frame was good when it was read, and is the same.
        let _ = SignalFrame::write_pkru(&mut self.state.1, self.layout, pkru);
        self.is_edited = true;
    }

    fn clear_pkru_in_xstate_bv(&mut self) {
        let field = self.state.1.get_mut(XSTATE_BV_OFFSET..);
        if let Some(field) = field.and_then(<[u8]>::first_chunk_mut) {
            *field = (u64::from_le_bytes(*field) & !XFEATURE_PKRU).to_le_bytes();
            self.is_edited = true;
        }
    }

    fn skip(&mut self) {
        self.is_skipped = true;
    }
}
