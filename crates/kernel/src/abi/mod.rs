//! The numbers of Linux's x86-64 interface that this library speaks: errors, system calls, protections, signals.
//!
//! What is about keys themselves (the register, `siginfo_t`, the XSAVE area) stands in `pkeys_core`; here is what a
//! kernel needs beside it. Source: Linux `include/uapi/asm-generic/`, `arch/x86/entry/syscalls/syscall_64.tbl`.

/// Constants of one type, with their documentation.
macro_rules! constants {
    ($kind:ty: $($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $kind = $value;)*
    };
}

mod errno;
pub mod files;
pub mod nr;
mod prot;
pub mod signal;
pub mod task;
pub mod time;
pub(crate) mod words;

pub use errno::Errno;
pub use prot::{Madvice, MapFlags, MremapFlags, Prot};
