//! The protocol of supervisor keys: who may do what right now, through switches, exceptions and interrupts.
//!
//! It knows no hardware but the trait [`PksCpu`]. The kernel library's module `pks` will replace it, word for word.

#![allow(unreachable_pub, dead_code, reason = "the files are a library's")]

mod context;
mod grant;
mod register;

pub use context::*;
pub use grant::*;
pub use register::*;
