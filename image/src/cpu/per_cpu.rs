//! What each CPU keeps for itself, found through GS.
//!
//! In the kernel the base of GS is the address of this CPU's [`PerCpu`]; in user mode it is the program's own, and the entry
//! code exchanges the two. A reference from [`this`] is good for as long as the caller stays on the CPU: with interrupts
//! kept out, or in a handler. What a thread may be moved away from between any two instructions (the cache of PKRS) is read
//! and written by one instruction with GS in its address, in [`super::pkrs`].
//!
//! Fields are cells, because handlers on the same CPU use them too; other CPUs touch the atomics alone.

#![allow(
    unsafe_code,
    reason = "finds the CPU's data through GS; Sync for cells that stay on one CPU"
)]

use core::arch::asm;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::registers::{GS_BASE, KERNEL_GS_BASE, write_msr};
use super::tables::{Stacks, Tables};
use crate::sched::Thread;
use pkeys_kernel::pks::{Context, INVALID};

/// One CPU's own data. The first fields are addressed by assembly code: see the constants below.
#[repr(C)]
pub(crate) struct PerCpu {
    this: Cell<*const Self>,
    /// Where the stack begins on which entries from user mode leave their frame.
    entry_stack: Cell<u64>,
    /// The user's stack pointer, for the few instructions in which there is no other place for it.
    user_stack: Cell<u64>,
    /// Where the user's XSAVE state goes.
    pub(crate) user_state: Cell<*mut u8>,
    /// The components that XSAVE handles at entries from user mode; 0: FXSAVE is used.
    pub(crate) switched: Cell<u64>,
    /// The stack pointer of who has gone to user mode and waits for its end.
    run_stack: Cell<u64>,
    pks_current: Cell<*const Context>,
    pks_cached: Cell<u64>,
    pks_writes: Cell<u64>,

    /// Its number, from 0.
    pub(crate) id: u32,
    /// Its number at the interrupt controller.
    pub(crate) apic_id: Cell<u32>,
    /// How many have asked to keep interrupts out.
    pub(crate) irq_depth: Cell<u32>,
    /// Whether interrupts were let in when the first of them asked.
    pub(crate) irq_were_enabled: Cell<bool>,
    /// How many handlers of interrupts run here, nested.
    pub(crate) handler_depth: Cell<u32>,
    /// Another thread should run here soon.
    pub(crate) reschedule: Cell<bool>,
    /// Another CPU has asked that the program here comes into the kernel.
    pub(crate) kicked: Cell<bool>,
    /// The softirqs that wait, a bit each.
    pub(crate) softirqs: Cell<u32>,
    /// The thread that runs.
    pub(crate) thread: Cell<*const Thread>,
    /// Timer interrupts, NMIs and IPIs that have come.
    pub(crate) ticks: AtomicU64,
    pub(crate) nmis: AtomicU64,

    pub(super) tables: Tables,
    pub(super) stacks: Stacks,
}

/// Offsets that assembly code uses.
pub(crate) const ENTRY_STACK: usize = offset_of!(PerCpu, entry_stack);
pub(crate) const USER_STACK: usize = offset_of!(PerCpu, user_stack);
pub(crate) const USER_STATE: usize = offset_of!(PerCpu, user_state);
pub(crate) const SWITCHED: usize = offset_of!(PerCpu, switched);
pub(crate) const RUN_STACK: usize = offset_of!(PerCpu, run_stack);
pub(super) const PKS_CURRENT: usize = offset_of!(PerCpu, pks_current);
pub(super) const PKS_CACHED: usize = offset_of!(PerCpu, pks_cached);
pub(super) const PKS_WRITES: usize = offset_of!(PerCpu, pks_writes);
const THIS: usize = offset_of!(PerCpu, this);

// SAFETY: other CPUs touch `id`, which does not change, and the atomics; the cells are touched by code that runs on this
// CPU, one instruction after the other.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// The data of a CPU that has not begun.
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            this: Cell::new(ptr::null()),
            entry_stack: Cell::new(0),
            user_stack: Cell::new(0),
            user_state: Cell::new(ptr::null_mut()),
            switched: Cell::new(0),
            run_stack: Cell::new(0),
            pks_current: Cell::new(ptr::null()),
            pks_cached: Cell::new(INVALID),
            pks_writes: Cell::new(0),
            id,
            apic_id: Cell::new(0),
            irq_depth: Cell::new(0),
            irq_were_enabled: Cell::new(false),
            handler_depth: Cell::new(0),
            reschedule: Cell::new(false),
            kicked: Cell::new(false),
            softirqs: Cell::new(0),
            thread: Cell::new(ptr::null()),
            ticks: AtomicU64::new(0),
            nmis: AtomicU64::new(0),
            tables: Tables::new(),
            stacks: Stacks::new(),
        }
    }

    /// Makes this the data of the CPU that executes the caller, and loads its tables.
    pub(crate) fn install(&'static self) {
        self.this.set(self);
        // SAFETY: (1) every CPU with long mode has the registers, and any canonical address will do. (2) The kernel's GS
        // was not used before.
        unsafe { write_msr(GS_BASE, ptr::from_ref(self).addr() as u64) };
        // SAFETY: as above; user mode starts with the base 0.
        unsafe { write_msr(KERNEL_GS_BASE, 0) };
        self.tables.load(&self.stacks);
    }

    /// Sets the stack on which entries from user mode leave their frame.
    pub(crate) fn set_entry_stack(&self, top: u64) {
        self.entry_stack.set(top);
        self.tables.set_kernel_stack(top);
    }

    /// Where that stack begins.
    pub(crate) fn entry_stack(&self) -> u64 {
        self.entry_stack.get()
    }

    /// How often PKRS was written here.
    pub(crate) fn pks_writes(&self) -> u64 {
        self.pks_writes.get()
    }
}

/// The data of the CPU that executes the caller.
#[inline]
pub(crate) fn this() -> &'static PerCpu {
    let cpu: *const PerCpu;
    // SAFETY: reads the first field of what GS points to, which in the kernel is a `PerCpu`. Not `pure`: the thread may be
    // on another CPU the next time.
    unsafe {
        asm!("mov {}, gs:[{this}]", out(reg) cpu, this = const THIS, options(nostack, preserves_flags, readonly));
    }
    // SAFETY: `install` took it for `'static`, and it is Sync.
    unsafe { &*cpu }
}

/// The number of the CPU that executes the caller.
#[inline]
pub(crate) fn id() -> u32 {
    this().id
}

/// Adds one to a counter of this CPU.
pub(crate) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}
