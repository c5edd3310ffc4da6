//! A case on the kernel library, on a software machine of its own.
//!
//! Nothing of a case on the software machine leaves this process, so that it needs none of its own.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use super::result::{self, Outcome};
use crate::case::Case;
use crate::machine::{Settings, run};

/// Runs one case on a machine of its own.
pub(super) fn run_case(case: &Case) -> Outcome {
    let settings = Settings::default();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run(&settings, |sys| result::run(case, sys))
    }));
    match ran {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(ended)) => Outcome::without_verdict(ended.to_string()),
        Err(thrown) => {
            let words = thrown
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| thrown.downcast_ref::<&str>().copied());
            Outcome::without_verdict(words.unwrap_or("a panic").into())
        }
    }
}
