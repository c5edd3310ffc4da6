//! Supervisor keys against naive models, and through every interleaving.
//!
//! The checks themselves stand in `checks/`, and are run from two places: here, each as a test, and in `pks_mutants`, where
//! each broken rule has to fail one of them. What they cannot show: that entry code calls the protocol where it should, and
//! that a processor does with the register what is said there. The image's cases do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
#[path = "../common/as_tests.rs"]
mod as_tests;
mod checks;

checks::each_check!(as_tests);
