//! Test programs on Linux: real instructions, real system calls, real processes.
//!
//! [`LinuxSystem`] is a thread's view. What a program can rely on beyond what [`System`] says:
//!
//! * Each thread has an alternate signal stack from the start (key 0, half a MiB), on which its handlers run:
//!   `is_on_altstack` is true until [`System::set_altstack`] says otherwise. A forked child keeps it.
//! * Handlers are for SIGSEGV, SIGBUS, SIGUSR1 and SIGUSR2; the flags and their reasons stand in `handler.rs`. Any other
//!   signal does what it does by default. [`System::raise`] answers `Err(0)` when the call went well and no handler ran,
//!   because the signal is blocked, ignored, or none (0).
//! * Under [`System::with_handler`], the handler runs with the PKRU that the kernel gives handlers, on the stack that the
//!   kernel put it. A stack whose key that PKRU denies serves the handler that steps over, and no other.
//! * An access that a custom handler skipped answers `Err` with what that handler was told.
//! * A forked child steps over faults, whatever its parent had in place. It ends by SIGKILL when the thread that started
//!   it ends or is dropped.
//!
//! A program calls [`begin`] first of all, then [`LinuxSystem::enter`].
//!
//! | file | what |
//! |---|---|
//! | `system.rs` | [`LinuxSystem`] |
//! | `asm.rs` | the instructions, and their addresses |
//! | `handler.rs`, `frame.rs` | what happens on a signal |
//! | `state.rs`, `slot.rs` | what a thread has |
//! | `peers.rs`, `thread.rs`, `process.rs` | threads and processes, in lock step |
//! | `begin.rs` | how a program starts: as itself, without rseq, or as somebody's peer |
//! | `proc_fs.rs` | `/proc/self/mem`, `/proc/self/smaps` |
//!
//! [`System`]: crate::System
//! [`System::set_altstack`]: crate::System::set_altstack
//! [`System::raise`]: crate::System::raise
//! [`System::with_handler`]: crate::System::with_handler

mod asm;
mod begin;
mod frame;
mod handler;
mod peers;
mod proc_fs;
mod process;
mod slot;
mod state;
mod system;
mod thread;

pub use begin::{Unusable, begin, check, release};
pub use system::LinuxSystem;
