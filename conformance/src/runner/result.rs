//! What came of a case, on whichever ground.

use core::cell::RefCell;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::recorder::Recorder;
use crate::case::{Case, Mismatch};
use crate::check::describe;
use crate::system::System;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// The rule holds.
    Passed,
    /// The rule does not hold; or the case ended without a verdict, which says so.
    Failed(Mismatch),
    /// The case does not apply, for this reason.
    Skipped(String),
}

/// A case's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) end: End,
    /// Every signal that the case's own thread got, in words.
    pub(super) signals: Vec<String>,
    /// How long it took, processes and all.
    #[serde(skip)]
    pub(super) time: Duration,
}

impl Outcome {
    /// A case that ended without a verdict.
    pub(super) fn without_verdict(found: String) -> Self {
        Self {
            end: End::Failed(Mismatch {
                what: "the case's process".into(),
                expected: "a verdict".into(),
                found,
            }),
            signals: Vec::new(),
            time: Duration::ZERO,
        }
    }
}

/// Runs a case, if it applies; what it did to the system stays done.
pub(super) fn run(case: &Case, sys: &mut dyn System) -> Outcome {
    let log = RefCell::default();
    let end = match case.skipped(sys) {
        Some(reason) => End::Skipped(reason),
        None => match (case.run)(&mut Recorder::new(sys, &log)) {
            Ok(()) => End::Passed,
            Err(mismatch) => End::Failed(mismatch),
        },
    };
    Outcome {
        end,
        signals: log.take().iter().map(describe).collect(),
        time: Duration::ZERO,
    }
}
