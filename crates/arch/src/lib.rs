#![no_std]
//! The x86-64 instructions of memory protection keys.
