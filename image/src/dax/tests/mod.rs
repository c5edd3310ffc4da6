//! The store against a naive model: what it keeps, what it refuses, and what is left of it after the power has gone.
#![expect(
    clippy::cast_possible_truncation,
    reason = "tests, with numbers that they chose themselves"
)]

mod behind_key;
mod crash;
mod damage;
mod model;
mod refused;
mod workload;
