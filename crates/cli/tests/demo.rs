//! `pkeys demo` as a caller sees it: what is told, what is true of it, and what is left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Output, Stdio};

use common::{assert_plain, entries, has_keys, json, pkeys, status, stderr, stdout};
use serde_json::Value;

/// Small enough for a slow guest.
const ROWS: &str = "1000";

/// Runs the demo with its files in a folder of this test's own.
fn demo(temporary: &Path, arguments: &[&str]) -> Output {
    let mut command = pkeys();
    command
        .env("TMPDIR", temporary)
        .args(["demo", "--rows", ROWS])
        .args(arguments);
    command.output().unwrap()
}

#[test]
fn the_story_is_told_in_plain_text_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &[]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert_plain(&text);
    assert_eq!(stderr(&output), "", "no progress in a pipe");
    let first = text.lines().next().unwrap();
    assert_eq!(
        first.contains("no protection keys ("),
        !has_keys(),
        "{first}"
    );
    for part in [
        "1 unprotected",
        "2 strict",
        "3 relaxed",
        "4 cost",
        "signal 11 (SIGSEGV)",
        "never",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        text.contains("not measured: no keys"),
        !has_keys(),
        "{text}"
    );
    assert_eq!(entries(folder.path()), Vec::<String>::new());
}

#[test]
fn json_holds_the_facts() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--json"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let object = json(&output);
    assert_eq!(
        (&object["schema"], &object["command"]),
        (&Value::from(1), &Value::from("demo"))
    );
    assert_eq!(object["rows"], 1000);
    assert_eq!(
        object["backend"],
        if has_keys() { "pkey" } else { "mprotect" }
    );
    assert_eq!(object["missing"].is_null(), has_keys());

    let unprotected = &object["unprotected"];
    assert_eq!(
        (&unprotected["exit_status"], &unprotected["signal"]),
        (&Value::from(0), &Value::Null)
    );
    let file = &unprotected["file"];
    assert_ne!(file["integrity_check"], Value::from(vec!["ok"]));
    assert_eq!(file["wrong_amounts"].as_array().unwrap().len(), 1);
    assert_eq!(file["wrong_status"], "sh*pped");
    let after = unprotected["statements_after"].as_u64().unwrap();
    // One statement in four ships an order, with a word that is no longer what it was.
    assert_eq!(file["wrong_statuses"], after / 4);
    // The order with the wrong amount is the first of them.
    assert_eq!(file["wrong_rows"], after / 4);
    assert_eq!(unprotected["total_error"], "no such column: amount");
    assert_eq!(unprotected["counters"]["stray_writes"], 0);

    let strict = &object["strict"];
    assert_eq!(strict["signal"], libc::SIGSEGV);
    assert!(
        strict["exit_status"].is_null() && strict["statements_after"].is_null(),
        "{strict}"
    );
    assert_sound(&strict["file"]);
    let report = strict["report"].as_str().unwrap();
    assert!(
        report.contains("sqlite") && report.contains("write"),
        "{report}"
    );

    let relaxed = &object["relaxed"];
    assert_eq!(relaxed["exit_status"], 0);
    let counters = &relaxed["counters"];
    assert_eq!(
        (&counters["stray_writes"], &counters["pardons"]),
        (&Value::from(4), &Value::from(4))
    );
    assert_eq!(counters["reports"], 1);
    assert_eq!(
        relaxed["file"], unprotected["file"],
        "let through means done"
    );

    let timing = &object["timing"];
    assert_eq!(timing["keys"].is_null(), !has_keys());
    let mprotect = &timing["mprotect"];
    let [lower, median, upper] =
        ["lower_quartile", "median", "upper_quartile"].map(|name| mprotect[name].as_f64().unwrap());
    assert!(
        0.0 < lower && lower <= median && median <= upper,
        "{mprotect}"
    );
    assert_eq!(entries(folder.path()), Vec::<String>::new());
}

fn assert_sound(file: &Value) {
    assert_eq!(file["integrity_check"], Value::from(vec!["ok"]));
    assert_eq!(file["wrong_amounts"], Value::Array(Vec::new()));
    assert_eq!(
        (&file["wrong_statuses"], &file["wrong_rows"]),
        (&Value::from(0), &Value::from(0))
    );
}

/// The same story every time: what is hit does not depend on where the kernel put things.
#[test]
fn the_outcome_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let facts = |_| {
        let object = json(&demo(folder.path(), &["--json"]));
        [
            object["unprotected"]["file"].clone(),
            object["strict"]["file"].clone(),
        ]
    };
    let [first, second] = [0, 1].map(facts);
    assert_eq!(first, second);
}

/// Whoever chose a mode or a report for their own programs has not chosen them for the demo's.
#[test]
fn the_environment_does_not_change_the_story() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pkeys();
    command
        .env("TMPDIR", folder.path())
        .args(["demo", "--rows", ROWS, "--json"]);
    let output = command
        .env("PKEYS_MODE", "off")
        .env("PKEYS_REPORT", "/dev/null/x")
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(json(&output)["strict"]["signal"], libc::SIGSEGV);
}

#[test]
fn kept_files_stay_and_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("new/folder");
    let arguments = ["--keep", keep.to_str().unwrap()];
    let output = demo(folder.path(), &arguments);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains(keep.to_str().unwrap()));
    let kept = entries(&keep);
    let expected = [
        "orders.db",
        "relaxed.db",
        "relaxed.jsonl",
        "strict.db",
        "strict.jsonl",
        "unprotected.db",
        "unprotected.jsonl",
    ];
    assert_eq!(kept, expected);
    assert!(
        fs::read(keep.join("strict.db"))
            .unwrap()
            .starts_with(b"SQLite format 3")
    );
    let before = fs::read(keep.join("unprotected.db")).unwrap();
    let again = demo(folder.path(), &arguments);
    assert_one_line(&again, "orders.db");
    assert_eq!(fs::read(keep.join("unprotected.db")).unwrap(), before);
    assert_eq!(entries(&keep), expected);
}

/// One file of that name is enough to touch none.
#[test]
fn a_name_that_is_taken_leaves_the_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("relaxed.db"), "mine").unwrap();
    let output = demo(folder.path(), &["--keep", folder.path().to_str().unwrap()]);
    assert_one_line(&output, "relaxed.db");
    assert_eq!(entries(folder.path()), ["relaxed.db"]);
    assert_eq!(fs::read(folder.path().join("relaxed.db")).unwrap(), b"mine");
}

#[test]
fn folders_that_cannot_be_written_to_are_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    for keep in [file.join("below"), file.clone()] {
        let output = demo(folder.path(), &["--keep", keep.to_str().unwrap()]);
        assert_one_line(&output, keep.to_str().unwrap());
    }
    let missing = folder.path().join("missing");
    assert_one_line(&demo(&missing, &[]), missing.to_str().unwrap());
    assert_eq!(entries(folder.path()), ["file"]);
}

/// A limit on the size of files is what a full disk looks like to one process.
#[test]
fn a_full_disk_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pkeys();
    command
        .env("TMPDIR", folder.path())
        .args(["demo", "--rows", "100000"]);
    let limit = || {
        let bytes = libc::rlimit {
            rlim_cur: 512_000,
            rlim_max: 512_000,
        };
        // SAFETY: a disposition of this new process's own.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: reads the one structure.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const bytes) };
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(limit) };
    let output = command.output().unwrap();
    assert_eq!(status(&output), 1);
    let text = stderr(&output);
    assert!(
        text.starts_with("pkeys: cannot write ") && text.contains("orders.db"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(entries(folder.path()), Vec::<String>::new());
}

fn assert_one_line(output: &Output, named: &str) {
    assert_eq!(status(output), 1);
    assert_eq!(stdout(output), "");
    let text = stderr(output);
    assert!(
        text.starts_with("pkeys: cannot ") && text.contains(named),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// The signal's own status, and nothing left: no folder, no process.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = pkeys();
        command
            .env("TMPDIR", folder.path())
            .args(["demo", "--rows", "100000"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It has begun when it has said something, and its files are there.
        let mut first = [0; 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        assert_ne!(entries(folder.path()), Vec::<String>::new());
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        // SAFETY: the process is this test's own child and was not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert_eq!(stderr(&output), "");
        assert_eq!(entries(folder.path()), Vec::<String>::new());
        assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    }
}

/// A measuring process that is killed from outside ends the demo with one line.
#[test]
fn a_part_that_dies_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pkeys();
    command
        .env("TMPDIR", folder.path())
        .args(["demo", "--rows", "100000"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let worker = loop {
        let workers = processes_of(folder.path());
        if let Some(pid) = workers.iter().find_map(|line| line.strip_suffix(" worker")) {
            break pid.parse().unwrap();
        }
        std::thread::yield_now();
    };
    // SAFETY: a process of the demo that this test has started.
    assert_eq!(unsafe { libc::kill(worker, libc::SIGKILL) }, 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 1);
    let text = stderr(&output);
    assert!(
        text.starts_with("pkeys: ") && text.contains("signal: 9"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(entries(folder.path()), Vec::<String>::new());
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}

/// Processes with an argument in this folder: the number and which part they are.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(arguments) = fs::read_to_string(entry.path().join("cmdline")) else {
            continue;
        };
        let arguments: Vec<_> = arguments.split('\0').collect();
        if arguments
            .iter()
            .any(|argument| argument.starts_with(folder))
        {
            let part = arguments.get(2).copied().unwrap_or("");
            found.push(format!(
                "{} {part}",
                entry.file_name().into_string().unwrap()
            ));
        }
    }
    found
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pkeys();
    command
        .env("TMPDIR", folder.path())
        .args(["demo", "--rows", ROWS]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 0, "{output:?}");
    assert_eq!(stderr(&output), "");
    assert_eq!(entries(folder.path()), Vec::<String>::new());
}
