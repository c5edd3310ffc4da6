#![deny(unsafe_code)]
//! Starts the kernel image under QEMU and says what came of it, for the command `pkeys boot` and for the tests.
//!
//! The image is a kernel that QEMU starts without a boot loader. It tells on its serial line what it does, and ends with a
//! status. Between the two stands an emulator that may be missing, die, hang or be killed, and whose status 0 means that the
//! machine was reset. Whoever boots wants one answer: did every case pass, and if not, why. That answer is made here:
//!
//! * [`qemu`]: where the emulator is, or which package has it;
//! * [`machine`]: its command line;
//! * [`kernel`]: the kernel as a file, also one that is in memory only;
//! * [`process`]: a child that is ended at its time limit, and that does not outlive its parent;
//! * [`lines`]: bytes into lines, of bounded length;
//! * [`end`]: what the emulator's status means;
//! * [`said`]: what the image says in a line;
//! * [`symbols`]: the functions at the addresses that it says;
//! * [`verdict`]: whether lines and end together are a pass.
//!
//! ```no_run
//! use core::{ops::ControlFlow, time::Duration};
//! use pkeys_launch::{Kernel, Machine, Qemu, Said, Verdict, boot};
//!
//! let qemu = Qemu::find(None)?;
//! let machine = Machine { nr_cpus: 2, append: "cpus=2".into(), ..Machine::default() };
//! let command = machine.command(&qemu, &Kernel::File("pkeys-image".into()))?;
//! let mut verdict = Verdict::default();
//! let end = boot(command, Duration::from_secs(60), &mut |_, line| {
//!     verdict.take(&Said::parse(line));
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(verdict.trouble(&end), None);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

pub mod end;
pub mod kernel;
pub mod lines;
pub mod machine;
pub mod process;
pub mod qemu;
pub mod said;
pub mod symbols;
pub mod verdict;

pub use end::{End, boot};
pub use kernel::Kernel;
pub use machine::Machine;
pub use process::{Ended, Stream};
pub use qemu::{NoQemu, Qemu};
pub use said::{Outcome, Said};
pub use symbols::Symbols;
pub use verdict::{Trouble, Verdict};
