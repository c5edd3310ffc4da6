//! Data in named domains behind memory protection keys, touched only in an open window.
//!
//! A long-running program's memory gets corrupted by a stray write and nobody notices for hours. With this library the
//! data that matters lives in a [`Domain`]; the threads that may touch it say when, by opening a [`Window`], and
//! everyone else's access stops at the guilty instruction with a report that names domain, region, offset, thread, function, file
//! and line.
//!
//! ```no_run
//! use pkeys::{Domain, Rights};
//!
//! let ledger = Domain::builder("ledger").closed(Rights::ReadOnly).create()?;
//! let mut rows = ledger.map::<u64>(1_000_000)?;
//! rows.write()?[3] += 10; // a window for one region, shaped like a lock guard
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is not protected
//!
//! * **Not an attacker.** Any code in the process can execute WRPKRU or call `pkey_mprotect(2)`. Keys stop mistakes.
//! * **Not inside a window.** While a window is open its thread may write everything in the domain.
//! * **Not from the kernel on another's behalf.** `/proc/PID/mem`, `ptrace(2)`, `process_vm_writev(2)` and some of
//!   `io_uring` pass the key by; `munmap(2)`, `mmap(2)` with `MAP_FIXED` and `madvise(2)` with `MADV_DONTNEED` take the
//!   data away without touching it. `read(2)` into closed memory gives EFAULT, and no report.
//! * **Not from threads made inside a window.** Linux gives a new thread its creator's register: it starts with what was
//!   open, until it opens and closes a window on the domain itself.
//! * **Not where `SIGSEGV` is blocked or its handler replaced.** The access is still stopped; there is no report.
//!
//! # Where things are
//!
//! [`Domain`] and its builder, [`Window`], [`Region`], [`Keyed`] collections, [`Slot`] for single values, [`Heap`] for raw
//! memory, [`FileRegion`] for mapped files; [`report`] for where reports go; [`Key`] for a bare key.
#![deny(unsafe_code)]

mod domain;
pub mod embed;
mod env;
mod fault;
mod fork;
mod heap;
mod key;
pub mod keyed;
mod region;
mod registry;
mod support;
mod sys;
mod thread;
mod window;

pub use domain::{Backend, Counters, CreateError, Domain, DomainBuilder, MAX_DOMAINS, WithoutKeys};
pub use env::{EnvironmentError, MODE_VARIABLE, REPORT_VARIABLE};
pub use fault::report;
pub use fault::{History, InstallError, Stray, Verdict, VerdictFn};
pub use heap::{Heap, HeapError};
pub use key::{Key, KeyError};
pub use keyed::Keyed;
pub use pkeys_arch::Cpuid;
pub use pkeys_core::{Access, KeyRegister, Mode, Pardon, Pkey, Rights};
pub use region::{
    FileAccess, FileRegion, MapError, PlaceError, Reading, ReadingOne, Region, Slot, Writing,
    WritingOne,
};
pub use support::{Evidence, Layer, Unsupported, support};
pub use window::{OpenError, Window};

/// The code of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
