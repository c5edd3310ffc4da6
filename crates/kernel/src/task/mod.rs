//! Threads and processes: how they are made, run, wait and end.
//!
//! | file | what |
//! |---|---|
//! | `regs` | the registers of user mode |
//! | `thread`, `process` | one thread, one process |
//! | `table` | all of them: relatives, states, tracers |
//! | `processor` | a CPU and who runs there |
//! | `switch` | another thread on a CPU |
//! | `clone`, `clone3` | `clone(2)`, `fork(2)`, the first process |
//! | `exec` | `execve(2)` |
//! | `exit` | the end of threads and processes |
//! | `wait`, `reap` | waiting in a call; `wait4(2)` |
//! | `status` | how something ended, as a number |
//! | `robust` | the locks that a thread leaves behind |
//! | `bases` | where FS and GS point |
//! | `ids`, `limits` | who a process is, and how much it may have |
//!
//! What happens to PKRU at each of these moments stands in [`crate::keys::ThreadKeys`].

mod bases;
pub(crate) mod clone;
mod clone3;
mod exec;
mod exit;
mod ids;
pub(crate) mod limits;
pub mod process;
pub mod processor;
mod reap;
pub mod regs;
mod robust;
pub mod status;
mod switch;
pub(crate) mod table;
pub mod thread;
pub(crate) mod wait;

pub use process::Process;
pub use processor::Processor;
pub use regs::UserRegs;
pub use status::ExitStatus;
pub use switch::CannotSwitch;
pub use thread::Thread;
