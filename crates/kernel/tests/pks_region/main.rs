//! Regions of the kernel's memory behind keys, on the software machine: who reads and writes them when, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guards;
mod memory;
mod refused;
#[path = "../pks_kmap/rig/mod.rs"]
#[expect(dead_code, reason = "the tests of kmap use the rest")]
mod rig;
