//! Key faults: who strayed, what becomes of it, and who is told.
//!
//! A stray access raises SIGSEGV on the thread that made it. The handler finds the region by the address, decides by what
//! the thread may do, and then one of four things happens:
//!
//! * **repair**: the domain's closed rights allow the access, the thread's register did not show it (a thread older than
//!   the domain, a signal handler). The register in the signal frame is set right, nobody hears of it.
//! * **pardon**: the mode is relaxed or silent. The key is opened in the signal frame, for one instruction or until the
//!   thread's outermost window closes.
//! * **stop**: the mode is strict. A report is written, then the handler that was there before runs, or the process
//!   dies where it strayed.
//! * **not ours**: the handler that was there before gets the signal as it came.
//!
//! What a handler may do: read atomics, edit the signal frame, make the system calls that `signal-safety(7)` lists
//! and, for the `mprotect(2)` fallback, that one. No allocation, no lock, no panic, no formatting, small frames: Rust's
//! alternate signal stack is 8 KiB, of which the kernel's frame takes 3.6 KiB on a CPU with AVX-512.
//!
//! * [`install`]: the three handlers, and those that were there before.
//! * [`install_embed`]: the latter, for code that stands between a program and `sigaction(2)`.
//! * [`handler`]: entry, classification, decision.
//! * [`frame`]: the signal frame as a value.
//! * [`pardon`]: single steps and what ends them.
//! * [`sites`]: which places in the code have been reported.
//! * [`state`]: what is kept for each thread between two signals.
//! * [`stray`]: what is known of a stray access.
//! * [`report`]: records, symbols, the terminal and the file.

mod frame;
mod handler;
mod install;
pub(crate) mod install_embed;
mod pardon;
pub mod report;
mod sites;
mod state;
mod stray;

pub use install::InstallError;
pub(crate) use install::install;
pub(crate) use report::clock_ticks;
pub(crate) use state::ThreadFaults;
pub use stray::{History, Stray, Verdict, VerdictFn};
