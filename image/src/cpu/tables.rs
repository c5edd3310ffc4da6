//! Segments, the task state segment and the interrupt table.
//!
//! Exceptions are delivered on the stack of the interrupted code, or on the thread's kernel stack where they come from user
//! mode. Three have a stack of their own, by an entry of the TSS: an NMI, which may come where the stack pointer is still
//! the user's; a double fault, since the stack may be the reason; a machine check.
//!
//! Source: SDM Vol. 3A, 6.14 (64-bit exceptions), 7.7 (the TSS in 64-bit mode).

#![allow(unsafe_code, reason = "LGDT, LTR, LIDT")]

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::{offset_of, size_of};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_image::descriptors::{self, KERNEL_CODE, KERNEL_DATA, TSS};

use super::registers::halves;

/// How many vectors there are.
const VECTORS: usize = 256;
/// The bytes between the first instructions of two entries in `trap/entry.s`.
pub(crate) const STUB_LEN: usize = 16;
/// The bytes of each of a CPU's own stacks.
const STACK_LEN: usize = 8192;

/// The bytes of the task state segment.
const TASK_LEN: u16 = 104;
/// The last byte of the segments and of the interrupt table.
const SEGMENTS_LIMIT: u16 = 8 * 9 - 1;
const INTERRUPTS_LIMIT: u16 = 16 * 256 - 1;

/// The vectors with stacks of their own; the first has entry 1 of the TSS.
pub(crate) const OWN_STACK: [usize; 3] = [2, 8, 18];
/// The vector of INT3, which user mode may use.
const BREAKPOINT: usize = 3;

/// The task state segment: in 64-bit mode, a list of stacks. In words, since the addresses in it are not aligned.
#[repr(C)]
struct TaskState {
    reserved: Cell<u32>,
    privileged: [Cell<[u32; 2]>; 3],
    reserved_2: Cell<[u32; 2]>,
    own: [Cell<[u32; 2]>; 7],
    reserved_3: Cell<[u32; 2]>,
    /// The upper half is the offset of the map of ports: behind the end, so that user mode has none.
    ports: Cell<u32>,
}

/// The tables of one CPU.
pub(super) struct Tables {
    segments: Cell<[u64; descriptors::LEN]>,
    task: TaskState,
}

/// The stacks of the vectors in [`OWN_STACK`].
pub(super) struct Stacks([UnsafeCell<Stack>; OWN_STACK.len()]);

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

/// The interrupt table, which all CPUs share.
static INTERRUPTS: [[AtomicU64; 2]; VECTORS] =
    [const { [AtomicU64::new(0), AtomicU64::new(0)] }; VECTORS];

unsafe extern "C" {
    static exception_stubs: u8;
}

/// Fills the interrupt table, once, before any CPU loads it.
pub(crate) fn fill_interrupt_table() {
    let stubs = (&raw const exception_stubs).addr();
    for (vector, gate) in INTERRUPTS.iter().enumerate() {
        let own = (1..).zip(OWN_STACK).find(|(_, own)| *own == vector);
        let ist = own.map_or(0, |(index, _)| index);
        let privilege = if vector == BREAKPOINT { 3 } else { 0 };
        let handler = (stubs + vector * STUB_LEN) as u64;
        let halves = descriptors::gate(handler, ist, privilege);
        for (word, half) in gate.iter().zip(halves) {
            word.store(half, Relaxed);
        }
    }
}

/// What LGDT and LIDT take.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Tables {
    pub(super) const fn new() -> Self {
        Self {
            segments: Cell::new([0; descriptors::LEN]),
            task: TaskState {
                reserved: Cell::new(0),
                privileged: [const { Cell::new([0; 2]) }; 3],
                reserved_2: Cell::new([0; 2]),
                own: [const { Cell::new([0; 2]) }; 7],
                reserved_3: Cell::new([0; 2]),
                ports: Cell::new((TASK_LEN as u32) << 16),
            },
        }
    }

    /// The stack on which an exception from user mode begins.
    pub(super) fn set_kernel_stack(&self, top: u64) {
        self.task.privileged[0].set(halves(top));
    }

    /// Loads all three tables on this CPU.
    pub(super) fn load(&'static self, stacks: &'static Stacks) {
        for (entry, stack) in self.task.own.iter().zip(&stacks.0) {
            entry.set(halves((stack.get().addr() + STACK_LEN) as u64));
        }
        let task = ptr::from_ref(&self.task).addr() as u64;
        self.segments
            .set(descriptors::table(task, u64::from(TASK_LEN)));
        let segments = Pointer {
            limit: SEGMENTS_LIMIT,
            base: self.segments.as_ptr().addr() as u64,
        };
        let interrupts = Pointer {
            limit: INTERRUPTS_LIMIT,
            base: INTERRUPTS.as_ptr().addr() as u64,
        };
        // SAFETY: the tables are static. The new code and stack segments mean what the old ones did, so that going over to
        // them by a far return to the next instruction changes nothing. The stack is used, and left as it was.
        unsafe {
            asm!(
                "lgdt [{segments}]",
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ss, {data:e}",
                "ltr {task:x}",
                "lidt [{interrupts}]",
                segments = in(reg) &raw const segments,
                interrupts = in(reg) &raw const interrupts,
                code = const KERNEL_CODE,
                data = in(reg) u32::from(KERNEL_DATA),
                task = in(reg) TSS,
                scratch = out(reg) _,
                options(preserves_flags),
            );
        }
    }
}

impl Stacks {
    pub(super) const fn new() -> Self {
        Self([const { UnsafeCell::new(Stack([0; STACK_LEN])) }; OWN_STACK.len()])
    }
}

const _: () = {
    assert!(SEGMENTS_LIMIT as usize + 1 == size_of::<[u64; descriptors::LEN]>());
    assert!(INTERRUPTS_LIMIT as usize + 1 == size_of::<[[AtomicU64; 2]; VECTORS]>());
    assert!(size_of::<TaskState>() == TASK_LEN as usize);
    assert!(offset_of!(TaskState, privileged) == 4);
    assert!(offset_of!(TaskState, own) == 36);
};
