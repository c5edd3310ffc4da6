//! The key parts against models that are written another way: registers as lists of pairs, maps as sets of numbers,
//! Linux's functions as they stand in its text.
//!
//! The checks themselves stand in `checks/`, and are run from two places: here, each as a test, and in `key_mutants`, where
//! each broken rule has to fail one of them. What they cannot show: that a CPU does with the register what is said there
//! (the guest tier does), and how threads interleave (`loom` does).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../common/as_tests.rs"]
mod as_tests;
mod checks;

checks::each_check!(as_tests);
