//! Random programs on Linux and on the kernel library, which have to agree in everything a program can see.
//!
//! A program is a sequence of steps: map, unmap, protect, calls about keys with good and bad arguments, reads, writes,
//! jumps, changes of the register, signals and what their handlers do to the frame, threads, fork, exec. It is made from a
//! seed and run twice, on Linux and on the kernel library on the software machine, through the same trait
//! ([`pkeys_conformance::System`]) that the catalogue of rules uses. What each step gives is compared: results and error
//! numbers, every byte read, signal, `si_code`, `si_pkey`, address, error code, the register in the handler and in the
//! frame, how a process died.
//!
//! # From a seed to a verdict
//!
//! | stage | where |
//! |---|---|
//! | a seed becomes batches of sixteen programs | [`generate`], [`draw`], [`idiom`], [`defect`] |
//! | what a step is | [`op`] and its `arguments`, packed into a word by [`field`], about the pages of [`arena`] |
//! | a batch runs in a process of its own | [`side`], [`worker`]; what keeps a program alive, [`knowledge`] |
//! | a step is done, and tells what is seen | `act`, `calls`, `all_keys`, `handled`, `copies`; `tell` says so to a [`witness`] |
//! | Linux prints a hash a batch, the machine compares as they come | [`linux_side`], [`protocol`], [`reader`], [`compare`] |
//! | hashes that differ become steps, and these fewer | [`detail`], [`shrink`], [`kept`] |
//! | a test to paste, and both answers in words | [`report`] |
//!
//! # What keeps it honest
//!
//! * What cannot agree is one table ([`masks`]), and Linux is run against Linux to see that it is needed ([`twice`]).
//! * What is not generated is another ([`exclusions`]).
//! * Kernels broken on purpose have to be told from Linux, and it is said after how many steps ([`mutants`]).
//!
//! # Why lock step
//!
//! Threads and children take turns: one runs while all others wait. So a program has one outcome, and two kernels can be
//! compared at all. What depends on true simultaneity is not seen here; TLBs of several CPUs are, since the machine's
//! threads are on different ones.

mod act;
mod all_keys;
pub mod arena;
mod arguments;
mod calls;
pub mod compare;
mod copies;
pub mod defect;
pub mod detail;
pub mod draw;
pub mod exclusions;
#[cfg(test)]
mod fake;
pub mod field;
pub mod generate;
mod handled;
pub mod idiom;
pub mod kept;
pub mod knowledge;
pub mod linux_side;
pub mod masks;
pub mod mutants;
pub mod op;
pub mod protocol;
pub mod reader;
pub mod report;
pub mod shrink;
pub mod side;
mod tell;
pub mod twice;
pub mod witness;
pub mod worker;
