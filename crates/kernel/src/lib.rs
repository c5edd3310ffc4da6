#![no_std]
#![deny(unsafe_code)]
//! User protection keys for kernels written in Rust, with Linux's exact semantics.
//!
//! Kernels want protection keys and get them wrong in ways that no program notices until it matters: a plain `mprotect`
//! that drops the key, AD and WD taken for each other, a signal handler that keeps the interrupted thread's rights, a
//! fault on a page that is not present without `SEGV_PKUERR`, PKRU written at the wrong place of a signal frame. This
//! library is the whole of Linux's user side as a `no_std` crate, and the same programs run on both to show that it is.
//!
//! It can be taken whole or in parts:
//!
//! | what | module | needs of the surrounding kernel |
//! |---|---|---|
//! | the key parts: allocation, execute-only, rights of threads, what a fault means, `pkey_get`, `pkey_set`, the watchdog | [`keys`] | its register: two functions |
//! | address spaces: mappings, page tables, faults, flushes | [`memory`] | physical memory, a CPU, a lock |
//! | threads, processes, signals, system calls by number | [`task`], [`signal`], [`syscall`] | the above, and a scheduler |
//!
//! `examples/own_page_tables.rs` shows a kernel that keeps its own page tables and takes the key parts only.
//!
//! # What it is exact about
//!
//! Linux 6.12 on x86-64, anonymous memory and files in memory: each call's checks in Linux's order, what has been done when a call fails half
//! way, `si_code` and `si_pkey`, error code, trap number and CR2 in the frame, the register at each event. Where Linux is
//! unwise (key 0 can be freed; a key is freed while pages carry it), so is this. What Linux dropped is here beside it, under
//! numbers of its own: see [`keys::get_set`] and [`keys::watchdog`]. `docs/KERNEL-ABI.md` is the reference.
//!
//! # What it does not do
//!
//! It knows no hardware: no instruction is executed here, see [`hardware`]. It has no file system (what it maps are the
//! files of `memfd_create(2)`), swaps nothing out, moves no pages and has no stack growth; there is no 32-bit interface and
//! no 5-level paging. It has no clock and no random numbers, but asks the surrounding kernel for them ([`Platform`]). Of the
//! calls that are about neither keys, memory, signals nor threads it has those that a static program needs to start, to
//! wait and to print. Keys stop mistakes; they are no barrier against code that executes WRPKRU itself.
//!
//! # For tests
//!
//! The feature `mutants` lets a test break one rule at a time: [`mutant`].

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod abi;
mod files;
pub mod hardware;
pub mod kernel;
pub mod keys;
pub mod memory;
pub mod mutant;
pub mod pks;
pub mod platform;
mod ptrace;
pub mod signal;
pub mod syscall;
pub mod task;
mod time;

pub use kernel::{Config, Kernel, Outcome};
pub use platform::Platform;
pub use task::{ExitStatus, Processor, UserRegs};
