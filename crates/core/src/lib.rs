#![no_std]
#![forbid(unsafe_code)]
//! Memory protection keys as pure values: what a key is, what the bits of its register mean, and what follows.
//!
//! A protection key is a number from 0 to 15 in every leaf entry of the page tables. A register with two bits a key
//! says what may be done with pages of that key: PKRU for user pages, PKRS for supervisor pages. This crate holds
//! everything about keys that can be said without executing an instruction or asking an operating system:
//!
//! | question | module |
//! |---|---|
//! | which numbers are keys, and sets of them | [`pkey`], [`key_set`] |
//! | what two bits of rights mean | [`rights`] |
//! | how the register is laid out | [`register`] |
//! | where a page-table entry carries its key | [`pte`] |
//! | what the processor allows | [`access`] |
//! | what a page fault and a SIGSEGV say | [`page_fault`], [`siginfo`] |
//! | which keys are allocated, by Linux's rules | [`alloc_map`] |
//! | how nested requests for rights add up | [`grants`] |
//! | what is done about a stray access | [`policy`] |
//! | where a saved state keeps PKRU | [`xsave`], [`signal_frame`] |
//! | numbers of registers and their bits | [`x86`] |
//!
//! The Linux library, the kernel library and the software machine build on it, so that a rule which two of them need
//! stands in one place. Every function is total: each input has an answer, none panics, none allocates. A kernel may
//! call any of them in an exception handler, a program in a signal handler.
//!
//! # What it does not do
//!
//! It executes no instruction of its own: it cannot read or write PKRU, PKRS or a page table, and protects nothing by
//! itself. It owns no state: there is no static variable, and the one type with an atomic in it,
//! [`AllocationMap`], is owned by its user. It knows the x86-64 form of protection keys only; other architectures
//! have more bits a key and other numbers of keys.

#[cfg(test)]
extern crate std;

pub mod access;
pub mod alloc_map;
mod excerpt;
pub mod grants;
pub mod key_set;
pub mod page_fault;
pub mod pkey;
pub mod policy;
pub mod pte;
pub mod register;
pub mod rights;
pub mod siginfo;
pub mod signal_frame;
pub mod x86;
pub mod xsave;

pub use access::{KeyCheck, Privilege};
pub use alloc_map::{AllocationMap, AllocationState, FreeError};
pub use excerpt::Excerpt;
pub use grants::{GrantCounts, effective};
pub use key_set::KeySet;
pub use page_fault::PageFaultErrorCode;
pub use pkey::{InvalidPkey, Pkey};
pub use policy::{Action, Knobs, Mode, Outcome, PageState, Pardon, UnknownName, decide};
pub use pte::{LeafSize, Level};
pub use register::KeyRegister;
pub use rights::{Access, AccessBits, Rights};
pub use siginfo::SegvCode;
pub use signal_frame::SignalFrame;
pub use xsave::{FrameError, XsaveLayout};
