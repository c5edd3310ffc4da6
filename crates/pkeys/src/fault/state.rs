//! What the fault handlers keep of a thread from one signal to the next.
//!
//! All relaxed atomics, written by the thread's own handlers only: a handler may interrupt another.

use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};

use pkeys_core::{AccessBits, KeyRegister, KeySet, Pkey};

/// How many regions behind `mprotect(2)` one instruction may touch: source and destination.
pub(super) const MAX_SOFT: usize = 2;

/// A thread's fault state.
#[derive(Debug)]
pub(crate) struct ThreadFaults {
    /// How many of this library's handlers are on the thread's stack.
    pub(super) depth: AtomicU8,
    pub(super) step: Step,
    pub(super) repeats: Repeats,
    /// By key: the raw bits that a pardon until the outermost window's end has to bring back.
    closed: [AtomicU8; Pkey::COUNT],
}

/// A pardoned instruction that has not retired yet.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) is_active: AtomicBool,
    /// The instruction.
    pub(super) pc: AtomicUsize,
    /// Where the thread runs a copy of it, and where it goes on afterwards; 0 when it is stepped in place.
    pub(super) copy_start: AtomicUsize,
    pub(super) copy_done: AtomicUsize,
    pub(super) next_pc: AtomicUsize,
    /// The keys that were opened for it.
    keys: AtomicU16,
    /// The register before the first of them was opened.
    register: AtomicU32,
    /// The thread's signal mask before.
    pub(super) mask: AtomicU64,
    /// Whether the thread was being stepped by itself or a debugger already.
    pub(super) had_trap_flag: AtomicBool,
    /// First addresses of the regions that were opened by `mprotect(2)`; 0 for none.
    pub(super) soft: [AtomicUsize; MAX_SOFT],
}

/// The same fault again and again: what does not progress must end.
#[derive(Debug)]
pub(super) struct Repeats {
    pc: AtomicUsize,
    addr: AtomicUsize,
    count: AtomicU32,
    /// The last fault that the previous handler returned from.
    returned_pc: AtomicUsize,
    returned_addr: AtomicUsize,
}

impl ThreadFaults {
    pub(crate) const fn new() -> Self {
        Self {
            depth: AtomicU8::new(0),
            step: Step {
                is_active: AtomicBool::new(false),
                pc: AtomicUsize::new(0),
                copy_start: AtomicUsize::new(0),
                copy_done: AtomicUsize::new(0),
                next_pc: AtomicUsize::new(0),
                keys: AtomicU16::new(0),
                register: AtomicU32::new(0),
                mask: AtomicU64::new(0),
                had_trap_flag: AtomicBool::new(false),
                soft: [const { AtomicUsize::new(0) }; MAX_SOFT],
            },
            repeats: Repeats {
                pc: AtomicUsize::new(0),
                addr: AtomicUsize::new(0),
                count: AtomicU32::new(0),
                returned_pc: AtomicUsize::new(0),
                returned_addr: AtomicUsize::new(0),
            },
            closed: [const { AtomicU8::new(0) }; Pkey::COUNT],
        }
    }

    /// The raw bits that a key gets back when the pardon on it ends.
    pub(crate) fn closed_bits(&self, pkey: Pkey) -> AccessBits {
        AccessBits::truncate(u32::from(self.closed[pkey.index()].load(Relaxed)))
    }

    pub(super) fn set_closed_bits(&self, pkey: Pkey, bits: AccessBits) {
        #[expect(clippy::cast_possible_truncation, reason = "two bits")]
        self.closed[pkey.index()].store(bits.bits() as u8, Relaxed);
    }
}

impl Step {
    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Relaxed)
    }

    pub(super) fn keys(&self) -> KeySet {
        KeySet::from_bits(self.keys.load(Relaxed))
    }

    pub(super) fn set_keys(&self, keys: KeySet) {
        self.keys.store(keys.bits(), Relaxed);
    }

    pub(super) fn register(&self) -> KeyRegister {
        KeyRegister::from_bits(self.register.load(Relaxed))
    }

    pub(super) fn set_register(&self, register: KeyRegister) {
        self.register.store(register.bits(), Relaxed);
    }
}

impl Repeats {
    /// Counts this fault; gives how often the same one has come in a row, this one included.
    pub(super) fn count(&self, pc: usize, addr: usize) -> u32 {
        let is_same = self.pc.load(Relaxed) == pc && self.addr.load(Relaxed) == addr;
        let count = if is_same {
            self.count.load(Relaxed).saturating_add(1)
        } else {
            1
        };
        self.pc.store(pc, Relaxed);
        self.addr.store(addr, Relaxed);
        self.count.store(count, Relaxed);
        count
    }

    /// How often the fault that was counted last has come in a row.
    pub(super) fn last(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Whether this fault was handed to the previous handler before, which returned and changed nothing.
    pub(super) fn came_back(&self, pc: usize, addr: usize) -> bool {
        self.returned_pc.load(Relaxed) == pc && self.returned_addr.load(Relaxed) == addr
    }

    /// Notes that the previous handler returned from the fault that was counted last.
    pub(super) fn note_returned(&self) {
        self.returned_pc.store(self.pc.load(Relaxed), Relaxed);
        self.returned_addr.store(self.addr.load(Relaxed), Relaxed);
    }
}
