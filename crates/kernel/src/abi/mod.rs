//! The numbers of Linux's x86-64 interface that this library speaks: errors, system calls, protections, signals.
//!
//! What is about keys themselves (the register, `siginfo_t`, the XSAVE area) stands in `pkeys_core`; here is what a
//! kernel needs beside it. Source: Linux `include/uapi/asm-generic/`, `arch/x86/entry/syscalls/syscall_64.tbl`.

mod errno;
pub mod nr;
mod prot;
pub mod signal;
pub mod task;

pub use errno::Errno;
pub use prot::{Madvice, MapFlags, MremapFlags, Prot};
