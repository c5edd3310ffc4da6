#![no_std]
//! The x86-64 instructions of memory protection keys, and the question whether they may be used.
//!
//! One idea: an instruction that faults where the CPU or the operating system lacks protection keys is reached only
//! through a value that proves they are there. [`Pku::probe`] asks CPUID and gives such a value; [`Pku::read`] and
//! [`Pku::write`] are RDPKRU and WRPKRU, one instruction each. What the bits mean is [`pkeys_core`]'s business, when
//! to write them is the caller's. [`rep_string`] holds copies of the repeated string instructions, which a fault handler
//! lets run to their end in one piece.
//!
//! This crate does not allocate keys, tag pages or handle faults, and it keeps no state.

mod pku;
mod probe;
pub mod rep_string;

pub use pku::Pku;
pub use probe::{Cpuid, Missing};
