//! The functions that SQLite's profile calls without a gate: each is called, and none of them writes. One that did would be an entry past
//! every gate, which `--stats` counts.

use std::process::Command;

use libtest_mimic::Failed;

use crate::Test;
use crate::programs;
use crate::run::{ensure, run_well};
use crate::subject::Place;

/// The profile, as it comes along.
const PROFILE: &str = include_str!("../../../guard/profiles/sqlite.toml");

pub(crate) fn tests() -> Vec<Test> {
    let name = "functions_without_a_gate_write_nothing".to_owned();
    vec![(name, Box::new(write_nothing))]
}

fn write_nothing() -> Result<(), Failed> {
    let place = Place::new();
    let script = programs::folder().unwrap().join("ungated.py");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkeys"));
    command
        .args(["guard", "--profile", "sqlite", "--stats", "--"])
        .args([
            "python3".as_ref(),
            script.as_os_str(),
            place.path().as_os_str(),
        ]);
    let record = run_well(command)?;
    let called: Vec<&str> = record.out.lines().collect();
    ensure(called == listed(), "it called other functions", &record)?;
    ensure(
        record.err.contains(" 0 entries past every gate"),
        "one of them wrote",
        &record,
    )
}

/// The profile's list, in its order.
fn listed() -> Vec<&'static str> {
    let (_, list) = PROFILE.split_once("ungated = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.lines()
        .map(|line| line.trim().trim_end_matches(',').trim_matches('"'))
        .filter(|name| !name.is_empty())
        .collect()
}
