//! What the demo's processes tell each other, a JSON line each.

use serde::{Deserialize, Serialize};

/// A line from a scene's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromScene {
    /// The stale pointers are about to be written through.
    Aimed(Aimed),
    /// The day is over.
    Ended(Ended),
}

/// Where the stale pointers point to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aimed {
    /// Statements that were executed before.
    pub(crate) statements: u32,
    /// How many pointers there are.
    pub(crate) stray_writes: u32,
    /// The order whose row is pointed to.
    pub(crate) row: u32,
    /// The order whose index entry is pointed to.
    pub(crate) entry: u32,
}

/// How the day ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Statements that were executed, all without an error.
    pub(crate) statements: u32,
    /// What SQLite said when it was asked for the day's total; `None` when it gave one.
    pub(crate) total_error: Option<String>,
    /// What the library's fault handlers counted.
    pub(crate) counters: Counters,
}

/// What the library's fault handlers counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) stray_writes: u64,
    pub(crate) pardons: u64,
    pub(crate) reports: u64,
}

/// What a measuring process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// The first step.
    pub(crate) first: u32,
    /// How many steps.
    pub(crate) steps: u32,
}

/// What a round took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Took {
    /// CPU time in nanoseconds.
    pub(crate) cpu_ns: u64,
}
