//! The whole kernel on the software machine: system calls, signals and their frames, threads, processes, tracing.
//!
//! A test plays the program: it makes accesses and system calls on a CPU of the machine, and where a handler would run it
//! looks at the frame instead, and returns. What these tests cannot show: that the rules are Linux's own (the catalogue
//! and the differential tests do), and anything that needs two CPUs at the very same moment.
//!
//! The checks stand in `checks/`; `kernel_mutants` runs them as well.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../common/as_tests.rs"]
mod as_tests;
mod checks;

checks::each_check!(as_tests);
