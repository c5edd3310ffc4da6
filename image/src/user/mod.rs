//! Ring 3: programs, run by `pkeys-kernel` on this machine.
//!
//! The library has processes, threads, address spaces, signals and system calls, and knows no hardware and no scheduler;
//! here is what it asks for ([`platform`]), and the loop that lets programs run ([`runner`]).
//!
//! | question | file |
//! |---|---|
//! | how a program is let run, and how it comes back | [`enter`] |
//! | which program runs on this CPU now, and what is done when it comes back | [`runner`] |
//! | which threads of programs wait for a CPU | [`ready`] |
//! | frames, page tables, TLBs and registers, as the library sees them | [`memory`], [`tables`], [`cpu`] |
//! | copies from and to a program's memory | [`access`] |
//! | where programs come from | [`files`], [`load`] |
//! | how the kernel starts one and learns of its end | [`process`] |
//!
//! # One thread a CPU
//!
//! A thread of a program has no stack in the kernel: a system call runs to its end on the CPU that made it, and one that has
//! to wait is made once more later. So each CPU has one thread of the kernel that runs programs, which never moves to
//! another CPU and takes one program's thread after the other ([`runner`]). To it, user mode is a function that returns what
//! the program came back with ([`enter::enter`]). It is a thread like any other: it is preempted, in the midst of a system
//! call too, for as long as no spin lock is held; others then find the address space, PKRU and the state of the program as
//! they are, and leave them so. Only the runner of a CPU calls the library with that CPU's
//! [`Processor`](pkeys_kernel::Processor).

#![allow(unsafe_code, reason = "sets the registers that SYSCALL goes by")]

pub(crate) mod access;
mod cpu;
mod enter;
pub(crate) mod files;
mod load;
pub(crate) mod memory;
mod platform;
pub(crate) mod process;
pub(crate) mod ready;
mod runner;
pub(crate) mod tables;

use pkeys_image::descriptors;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::InitPkru;
use pkeys_kernel::memory::{Pool, PoolSettings};
use pkeys_kernel::{Config, Kernel};

use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::{
    EFER, EFER_SCE, LSTAR, RFLAGS_AC, RFLAGS_DF, RFLAGS_IF, RFLAGS_NT, RFLAGS_TF, SFMASK, STAR,
    read_msr, write_msr,
};
use crate::cpu::xstate;
use crate::memory::frames;
use crate::memory::layout::{LARGE_PAGE, PAGE, to_usize};
use crate::memory::stack::Stack;
use crate::slot::Once;
use crate::{sched, smp};
use memory::DirectMap;
use platform::Machine;

/// The flags that SYSCALL clears: those that would change how the kernel works.
const CLEARED: u64 = RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC;

/// Of the memory that is free at the start, one part in so many is set aside for huge pages.
const HUGE_SHARE: usize = 8;
/// The most huge pages that are set aside.
const MAX_HUGE: usize = 16;

/// The library's kernel.
static KERNEL: Once<Kernel<Machine>> = Once::new();

unsafe extern "C" {
    static syscall_entry: u8;
}

/// Prepares this CPU for programs: gives it the stack on which they enter the kernel, and has SYSCALL go there.
pub(crate) fn start_cpu(cpu: &PerCpu) {
    let Ok(stack) = Stack::new() else {
        panic!("no memory for the stack of entries from user mode");
    };
    cpu.set_entry_stack(stack.top());
    // The CPU's own, for ever.
    core::mem::forget(stack);
    let entry = (&raw const syscall_entry).addr() as u64;
    for (msr, value) in [(STAR, descriptors::STAR), (LSTAR, entry), (SFMASK, CLEARED)] {
        // SAFETY: (1) every CPU with long mode has them. (2) They matter to SYSCALL alone, which is off yet.
        unsafe { write_msr(msr, value) };
    }
    // SAFETY: every CPU with long mode has it.
    let efer = unsafe { read_msr(EFER) };
    // SAFETY: (1) every CPU with long mode has the bit. (2) Nothing is switched off.
    unsafe { write_msr(EFER, efer | EFER_SCE) };
}

/// Makes the library's kernel, and a runner for each CPU.
///
/// # Errors
///
/// [`Errno::NoMemory`].
pub(crate) fn start(init_pkru: InitPkru) -> Result<(), Errno> {
    let nr_free = frames::nr_free();
    let per_huge = to_usize(LARGE_PAGE / PAGE);
    let settings = PoolSettings {
        nr_2m: (nr_free / HUGE_SHARE / per_huge).min(MAX_HUGE),
        nr_1g: 0,
        commit_limit_bytes: nr_free as u64 * PAGE,
    };
    memory::reserve();
    let pool = Pool::new(DirectMap, settings)?;
    let config = Config {
        init_pkru,
        xstate: xstate::config(),
        ..Config::default()
    };
    KERNEL.set(Kernel::new(Machine, pool, config)?);
    for cpu in 0..smp::count() {
        let runner = sched::spawn("programs", 1 << cpu, || runner::run());
        ready::add_runner(runner.map_err(|_| Errno::NoMemory)?);
    }
    Ok(())
}

/// The library's kernel.
fn kernel() -> &'static Kernel<Machine> {
    KERNEL
        .get()
        .unwrap_or_else(|| unreachable!("programs run when there is a kernel for them"))
}

/// What PKRU starts with.
pub(crate) fn init_pkru() -> u32 {
    kernel().config().init_pkru.register().bits()
}
