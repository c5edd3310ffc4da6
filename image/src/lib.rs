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
//! | how descriptors of segments and gates are put together | [`descriptors`] |

pub mod descriptors;
pub mod frames;
pub mod options;
pub mod start_info;
