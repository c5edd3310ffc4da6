#![deny(unsafe_code)]
//! The ABI of user protection keys, as cases that run on any kernel that claims to have it.
//!
//! A case is a rule in one sentence, the place it comes from, and a function over [`System`]: what a program can do and
//! see. On Linux these are real instructions and processes; on the kernel library they run on the software machine. So
//! the same function that says what Linux does says what the library has to do.
//!
//! | module | what |
//! |---|---|
//! | [`system`] | the seam: what a program can do, whichever kernel is under it |
//! | [`linux`] | it, on Linux |
//! | [`catalogue`] | the cases, by topic |
//! | [`case`](mod@case) | what a case is and what it answers |
//! | [`calls`], [`bytes`], [`fixture`], [`tasks`], [`check`] | what cases are written with |
//! | [`runner`] | one process a case, and the results for people (TAP) and programs (JSON) |
//!
//! # What it does not show
//!
//! A case tries a rule at the points that it names, one program at a time. Races are not in it, and neither is what only
//! silicon does: the transient execution that keys also stop, and the initial-state tracking of XSAVE, which QEMU's CPU
//! does not have.

pub mod bytes;
pub mod calls;
pub mod case;
pub mod catalogue;
pub mod check;
pub mod fixture;
pub mod linux;
pub mod machine;
pub mod runner;
pub mod system;
pub mod tasks;

pub use case::{Case, Mismatch, Need, Verdict};
pub use system::System;
