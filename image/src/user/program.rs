//! The case programs: a page of code, a stack, a page of data.

#![allow(
    unsafe_code,
    reason = "programs as bytes between two symbols; copies them into frames"
)]

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::mem;
use core::sync::atomic::AtomicU64;

use pkeys_core::{KeyRegister, Pkey};

use super::space::{CODE, DATA, Space};
use crate::cpu::xstate::Area;
use crate::memory::kernel_tables::OutOfMemory;
use crate::memory::layout::{PAGE, direct, to_usize};
use crate::sched::{self, Thread, UserPart};
use crate::sync::Spin;
use crate::trap::fixup::Fault;
use crate::trap::frame::Frame;

global_asm!(include_str!("program.s"));

unsafe extern "C" {
    static user_keys: u8;
    static user_keys_end: u8;
    static user_state: u8;
    static user_state_end: u8;
    static user_calls: u8;
    static user_calls_end: u8;
    static user_stray: u8;
    static user_stray_end: u8;
}

/// Where the pages are.
const CODE_AT: u64 = 0x40_0000;
const STACK_AT: u64 = 0x7FFF_0000;
/// The page of data.
pub(crate) const DATA_AT: u64 = 0x10_0000_0000;

/// What programs did that the kernel has seen, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A program gave this value.
    Value(u64),
    /// A program faulted.
    Fault(Fault),
    /// A program ended by an exception of this vector.
    Exception(u64),
}

/// The events since the last [`take_log`].
pub(super) static LOG: Spin<Vec<Event>> = Spin::new(Vec::new());

/// Takes the events.
pub(crate) fn take_log() -> Vec<Event> {
    mem::take(&mut *LOG.lock())
}

/// Which program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// Reads and writes the page of data.
    Keys,
    /// Looks after its registers.
    State,
    /// Has the kernel access its memory.
    Calls,
    /// Touches an address of the kernel.
    Stray,
}

impl Program {
    /// Its first byte, and the length.
    fn bytes(self) -> (*const u8, usize) {
        let (start, end) = match self {
            Self::Keys => (&raw const user_keys, &raw const user_keys_end),
            Self::State => (&raw const user_state, &raw const user_state_end),
            Self::Calls => (&raw const user_calls, &raw const user_calls_end),
            Self::Stray => (&raw const user_stray, &raw const user_stray_end),
        };
        (start, end.addr() - start.addr())
    }

    /// Starts it with an argument and a value of PKRU; `data` is the key of the page of data and its first word.
    pub(crate) fn start(
        self,
        space: &Arc<Space>,
        argument: u64,
        pkru: KeyRegister,
        data: (Pkey, u64),
    ) -> Result<Arc<Thread>, OutOfMemory> {
        let code = space.map(CODE_AT, CODE, Pkey::DEFAULT)?;
        space.map(STACK_AT, DATA, Pkey::DEFAULT)?;
        let word = space.map(DATA_AT, DATA, data.0)?;
        let (bytes, len) = self.bytes();
        // SAFETY: a new frame, in the direct map, and programs are shorter than a page.
        unsafe { direct::<u8>(code).copy_from_nonoverlapping(bytes, len.min(to_usize(PAGE))) };
        // SAFETY: as above.
        unsafe { direct::<u64>(word).write(data.1) };
        let mut frame = Frame::user(CODE_AT, STACK_AT + PAGE);
        frame.rdi = argument;
        sched::spawn_user("program", Self::user_part(space), pkru, frame)
    }

    /// A program's registers at its start, in an address space.
    pub(crate) fn user_part(space: &Arc<Space>) -> UserPart {
        UserPart {
            state: Area::new(),
            space: Arc::clone(space),
            fs_base: AtomicU64::new(0),
        }
    }
}
