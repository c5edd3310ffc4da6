//! What the demo found, as facts: what `--json` prints and what the screen tells.

use std::os::unix::process::ExitStatusExt;

use serde::Serialize;
use serde_json::Value;

use super::database::Audit;
use super::message::Counters;
use super::play::Played;
use super::timing::Timing;
use crate::failure::Failure;
use crate::missing::MissingKeys;

/// The number of the JSON object's form. It changes when a field changes its meaning or goes; new fields may come.
pub(crate) const SCHEMA: u32 = 1;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) version: &'static str,
    /// Orders in the database.
    pub(crate) rows: u32,
    /// What protected SQLite's memory: `pkey` or `mprotect`.
    pub(crate) backend: &'static str,
    /// The layer that has no keys; `null` where there are keys.
    pub(crate) missing: Option<MissingKeys>,
    pub(crate) unprotected: Scene,
    pub(crate) strict: Scene,
    pub(crate) relaxed: Scene,
    pub(crate) timing: Timing,
}

/// What became of a day at the desk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Scene {
    /// `unprotected`, `strict` or `relaxed`.
    pub(crate) name: &'static str,
    /// The process's exit status; `null` when a signal ended it.
    pub(crate) exit_status: Option<i32>,
    /// The signal that ended the process.
    pub(crate) signal: Option<i32>,
    /// Pointers that were stale when the process came to write through them.
    pub(crate) stale_pointers: u32,
    /// Statements before that.
    pub(crate) statements_before: u32,
    /// Statements afterwards, each of which SQLite reported as done; `null` when the process did not live so long.
    pub(crate) statements_after: Option<u32>,
    /// The order whose row was pointed to.
    pub(crate) row: u32,
    /// The order whose index entry was pointed to.
    pub(crate) entry: u32,
    /// What SQLite said to the day's last question, the total.
    pub(crate) total_error: Option<String>,
    /// What the library counted; `null` when the process did not live to tell.
    pub(crate) counters: Option<Counters>,
    /// The library's report, for people.
    pub(crate) report: String,
    /// The library's reports, as JSON.
    pub(crate) records: Vec<Value>,
    /// What the file holds afterwards.
    pub(crate) file: Audit,
}

impl Scene {
    /// Puts together what the process said, how it ended, and what is in the file.
    pub(crate) fn new(name: &'static str, played: Played, file: Audit) -> Result<Self, Failure> {
        let Played {
            status,
            aimed,
            ended,
            report,
            records,
        } = played;
        let Some(aimed) = aimed else {
            return Err(Failure::Failed(format!(
                "the {name} scene ended before its time: {status}"
            )));
        };
        Ok(Self {
            name,
            exit_status: status.code(),
            signal: status.signal(),
            stale_pointers: aimed.stray_writes,
            statements_before: aimed.statements,
            statements_after: ended
                .as_ref()
                .map(|ended| ended.statements - aimed.statements),
            row: aimed.row,
            entry: aimed.entry,
            counters: ended.as_ref().map(|ended| ended.counters),
            total_error: ended.and_then(|ended| ended.total_error),
            report,
            records,
            file,
        })
    }
}

impl Outcome {
    /// Whether everything happened that the screen tells; the first thing that did not.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Self {
            unprotected,
            strict,
            relaxed,
            ..
        } = self;
        let counted = relaxed.counters.is_some_and(|counters| {
            let expected = u64::from(relaxed.stale_pointers);
            counters.stray_writes == expected
                && counters.pardons == expected
                && counters.reports == 1
        });
        let facts = [
            (
                unprotected.exit_status == Some(0),
                "the unprotected process ends by itself",
            ),
            (
                !unprotected.file.is_intact() && !unprotected.file.is_right(),
                "the unprotected file is damaged",
            ),
            (
                unprotected.total_error.is_some(),
                "the unprotected process comes to see its schema's damage",
            ),
            (
                strict.signal == Some(libc::SIGSEGV),
                "the strict process dies of SIGSEGV",
            ),
            (!strict.report.is_empty(), "the strict process reports"),
            (
                strict.file.is_intact() && strict.file.is_right(),
                "the strict file is sound",
            ),
            (
                relaxed.file == unprotected.file,
                "the relaxed process does the same damage",
            ),
            (
                relaxed.exit_status == Some(0),
                "the relaxed process ends by itself",
            ),
            (
                counted,
                "the relaxed process counts every stray write and reports once",
            ),
        ];
        match facts.iter().find(|(is_so, _)| !is_so) {
            None => Ok(()),
            Some((_, fact)) => Err(Failure::Failed(format!(
                "the demo did not go as it should: not so that {fact}"
            ))),
        }
    }
}
