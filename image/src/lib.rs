#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
//! The part of the kernel that needs no hardware: formats, tables of numbers and the choice of frames.
//!
//! The kernel itself is the binary of this package and can be tried only by booting it. What can be said about bytes
//! stands here, where the host's test runner reaches it:
//!
//! | question | module |
//! |---|---|
//! | what the boot loader handed over | [`start_info`] |
//! | what the command line asks for | [`options`] |
//! | which frames of memory are free | [`frames`] |
//! | what a program's file says, and what it finds on its stack | [`elf`] |
//! | what a missing system call is called | [`calls`] |
//! | what day it is | [`calendar`] |
//! | how a store survives on memory behind a key | [`dax`] |
//! | how secrets are kept from the rest of the kernel | [`secret`] |
//! | how descriptors of segments and gates are put together | [`descriptors`] |

extern crate alloc;

pub mod calendar;
pub mod calls;
pub mod dax;
pub mod descriptors;
pub mod elf;
pub mod frames;
pub mod options;
pub mod secret;
pub mod start_info;
#[cfg(test)]
mod test_machine;
