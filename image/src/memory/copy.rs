//! `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp` and `strlen`: what compiled code expects of a C library, in assembly.

#![allow(unsafe_code, reason = "functions that the compiler calls by name")]

use core::arch::global_asm;

global_asm!(include_str!("copy.s"));
