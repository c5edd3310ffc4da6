//! Starting the demo's other processes, and listening to them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use pkeys::{MODE_VARIABLE, Mode, REPORT_VARIABLE};
use serde_json::Value;

use super::interrupt::{Tracked, hold_if_ending};
use super::message::{Aimed, Ended, FromScene};
use super::orders::Orders;
use crate::failure::{Doing, Failure};

/// A scene that was played to its end, whichever that was.
#[derive(Debug)]
pub(crate) struct Played {
    /// How the process ended.
    pub(crate) status: ExitStatus,
    /// Where the stale pointers pointed to.
    pub(crate) aimed: Option<Aimed>,
    /// How the day ended; `None` when the process did not live to see it.
    pub(crate) ended: Option<Ended>,
    /// What it wrote on standard error: the library's reports.
    pub(crate) report: String,
    /// The library's reports as JSON.
    pub(crate) records: Vec<Value>,
}

/// What the scene with that mode is called.
pub(crate) fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "unprotected",
        _ => mode.name(),
    }
}

/// A command that starts this program again, away from what the environment says about modes and reports.
pub(crate) fn this_program(part: &str) -> Command {
    // By its name, which is the thread's name in a report; should the file have been replaced, by what still runs.
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(path.unwrap_or_else(|| "/proc/self/exe".into()));
    command.args(["demo-part", part]);
    command
        .env_remove(MODE_VARIABLE)
        .env_remove(REPORT_VARIABLE);
    command
}

/// Plays a scene on a database; the library writes its JSON reports to the file `records`.
pub(crate) fn play(
    mode: Mode,
    database: &Path,
    orders: Orders,
    steps: u32,
    records: &Path,
) -> Result<Played, Failure> {
    const DOING: &str = "cannot play a scene";
    let name = name(mode);
    let mut command = this_program("scene");
    command
        .args(["--mode", mode.name()])
        .arg("--database")
        .arg(database);
    command.args([
        "--rows",
        &orders.rows().to_string(),
        "--steps",
        &steps.to_string(),
    ]);
    command.env(REPORT_VARIABLE, records);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().doing(DOING)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let child = Tracked::new(child);
    // Both are read at the same time, so that neither pipe fills up.
    let report = thread::spawn(move || {
        let mut bytes = Vec::new();
        err.map(|mut err| err.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (mut aimed, mut ended) = (None, None);
    for line in out.map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        match serde_json::from_str(&line.doing(DOING)?).doing(DOING)? {
            FromScene::Aimed(message) => aimed = Some(message),
            FromScene::Ended(message) => ended = Some(message),
        }
    }
    let report = report.join().unwrap_or_default();
    let status = child.wait().doing(DOING)?;
    hold_if_ending();
    if status.code().is_some_and(|code| code != 0) {
        return Err(Failure::Failed(format!(
            "the {name} scene failed: {}",
            last_words(&report, status)
        )));
    }
    Ok(Played {
        status,
        aimed,
        ended,
        report,
        records: read_records(records),
    })
}

/// Why a process ended that should not have: what it said itself, or its status.
pub(crate) fn last_words(said: &str, status: ExitStatus) -> String {
    let said = said.trim().trim_start_matches("pkeys: ");
    if said.is_empty() {
        status.to_string()
    } else {
        said.to_owned()
    }
}

/// The lines of a file of JSON reports; none where there is no file.
fn read_records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
