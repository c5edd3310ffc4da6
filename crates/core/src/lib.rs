#![no_std]
#![forbid(unsafe_code)]
//! Memory protection keys as pure values.
