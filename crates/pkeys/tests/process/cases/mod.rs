//! The catalogue, by topic.

mod access;
mod chain;
mod codegen;
mod errors;
mod lifetime;
mod modes;
mod pardon;
mod register;
mod report;
mod signals;
mod steps;
mod threads;
mod windows;

use crate::case::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    [
        access::CASES,
        chain::CASES,
        codegen::CASES,
        errors::CASES,
        lifetime::CASES,
        modes::CASES,
        pardon::CASES,
        register::CASES,
        report::CASES,
        signals::CASES,
        steps::CASES,
        threads::CASES,
        windows::CASES,
    ]
    .concat()
}
