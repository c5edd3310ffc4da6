//! SQLite's shell, an unmodified program that owns some of what the library gives it: what `--learn` finds out, and that strict mode
//! runs clean with it. And what becomes of reports.

use std::process::Command;

use libtest_mimic::Failed;

use crate::Test;
use crate::programs;
use crate::run::{ensure, run};
use crate::subject::{self, Place};
use crate::tracer::{End, Record};

const LIBRARY: &str = "libsqlite3.so.0";

pub(crate) fn tests() -> Vec<Test> {
    let test =
        |name: &str, run: fn() -> Result<(), Failed>| -> Test { (name.to_owned(), Box::new(run)) };
    vec![
        test("what_the_shell_needs_is_learnt", learn),
        test("the_profile_is_enough_for_the_shell", profile),
        test("reports_are_json_lines_in_a_file", report),
        test("relaxed_mode_goes_on_and_counts", relaxed),
        test("silent_mode_says_nothing", silent),
        test("mode_off_protects_nothing", off),
    ]
}

/// The shell at work, under a guard with these options.
fn shell(options: &[&str]) -> Result<Record, Failed> {
    let place = Place::new();
    let work = programs::folder().unwrap().join("work.sql");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkeys"));
    command
        .args(["guard", "--lib", LIBRARY])
        .args(options)
        .args(["--", "sqlite3", "-batch", "-init"])
        .args([&work, place.path()])
        .arg(".exit");
    run(command)
}

fn learn() -> Result<(), Failed> {
    let strict = shell(&[])?;
    ensure(
        strict.end == End::Signal(libc::SIGSEGV),
        "the shell needs no list",
        &strict,
    )?;
    let learnt = shell(&["--learn"])?;
    ensure(learnt.end == End::Exit(0), "it ended badly", &learnt)?;
    let list = learnt
        .err
        .lines()
        .find_map(|line| line.strip_prefix("pkeys guard: libsqlite3.so.0: --share "));
    let Some(list) = list else {
        return ensure(false, "nothing was learnt", &learnt);
    };
    let strict = shell(&["--share", list])?;
    ensure(
        strict.out == learnt.out,
        "it prints something else",
        &strict,
    )?;
    is_quiet(&strict)
}

fn profile() -> Result<(), Failed> {
    is_quiet(&shell(&["--profile", "sqlite"])?)
}

/// Not a word, but for what the shell says itself.
fn is_quiet(record: &Record) -> Result<(), Failed> {
    ensure(record.end == End::Exit(0), "it ended badly", record)?;
    ensure(
        !record.err.contains("pkeys"),
        "the guard said something",
        record,
    )
}

/// The vandal's write in Python, in another mode than strict.
fn vandalised(options: &[&str]) -> Result<Record, Failed> {
    run(subject::ALL[0].guarded("main", &Place::new(), options))
}

fn report() -> Result<(), Failed> {
    let place = Place::new();
    let file = place.path().to_str().unwrap();
    let record = vandalised(&["--report", file])?;
    ensure(
        record.end == End::Signal(libc::SIGSEGV),
        "it did not die of it",
        &record,
    )?;
    let text = std::fs::read_to_string(file)?;
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error} in {text}"))?;
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    ensure(kinds.first() == Some(&"guard"), &text, &record)?;
    let found = lines.iter().find(|line| line["kind"] == "report");
    let found = found.ok_or_else(|| format!("no report in {text}"))?;
    let is_so = found["domain"] == LIBRARY && found["block"]["origin"] == "sqlite3_open_v2";
    ensure(is_so, &text, &record)
}

fn relaxed() -> Result<(), Failed> {
    let record = vandalised(&["--mode", "relaxed", "--stats"])?;
    ensure(record.out.contains("survived"), "it did not go on", &record)?;
    let counted = record
        .err
        .contains("libsqlite3.so.0: 1 stray writes, 1 pardoned, 1 reported");
    ensure(counted, "the counters", &record)
}

fn silent() -> Result<(), Failed> {
    let record = vandalised(&["--mode", "silent", "--stats"])?;
    ensure(record.out.contains("survived"), "it did not go on", &record)?;
    let counted = record
        .err
        .contains("libsqlite3.so.0: 1 stray writes, 1 pardoned, 0 reported");
    ensure(counted, "the counters", &record)?;
    ensure(
        !record.err.contains("stray write to"),
        "it reported",
        &record,
    )
}

fn off() -> Result<(), Failed> {
    let record = vandalised(&["--mode", "off"])?;
    ensure(record.out.contains("survived"), "it did not go on", &record)?;
    ensure(
        record.signals.iter().all(|signal| signal.si_code != 4),
        "a key was closed",
        &record,
    )
}
