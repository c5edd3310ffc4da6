//! Address spaces on the software machine, against models and tables.
//!
//! The checks themselves stand in `checks/`, and are run from two places: here, each as a test, and in `memory_mutants`,
//! where each broken rule of the memory part has to fail one of them. What they cannot show: that the tables are those of a real processor, and that
//! the rules are Linux's own (the differential tests do).
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test, with numbers that it chose itself"
)]

#[macro_use]
#[path = "../common/as_tests.rs"]
mod as_tests;
mod checks;

checks::each_check!(as_tests);
