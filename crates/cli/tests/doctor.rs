//! `pkeys doctor` against what the kernel says elsewhere, with and without keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Output, Stdio};
use std::thread;

use common::{assert_plain, cpu_has, has_keys, json, pkeys, run, status, stderr, stdout};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::Value;

#[test]
fn exit_status_table_and_json_agree_on_whether_there_are_keys() {
    let (table, object) = (run(&["doctor"]), run(&["doctor", "--json"]));
    let expected = if has_keys() { 0 } else { 3 };
    assert_eq!(status(&table), expected);
    assert_eq!(status(&object), expected);
    let object = json(&object);
    assert_eq!(object["is_usable"], has_keys());
    assert_eq!(object["missing"].is_null(), has_keys());
    assert_eq!(object["backend"], if has_keys() { "pkey" } else { "none" });
    let first = stdout(&table).lines().next().unwrap().to_owned();
    if has_keys() {
        assert!(first.contains("usable"), "{first}");
    } else {
        let layer = object["missing"]["layer"].as_str().unwrap();
        assert!(first.contains(&format!("({layer})")), "{first}");
    }
}

#[test]
fn the_table_is_plain_in_a_pipe_and_fits_80_columns() {
    let output = run(&["doctor"]);
    let text = stdout(&output);
    assert_plain(&text);
    // A model's name may be as long as it likes.
    let long: Vec<_> = text
        .lines()
        .filter(|line| line.len() > 80 && !line.contains("  model "))
        .collect();
    assert_eq!(long, Vec::<&str>::new());
    assert_eq!(stderr(&output), "");
    for topic in [
        "PKU",
        "XSAVE component 9",
        "init_pkru",
        "pkey_alloc(2)",
        "mseal(2)",
        "seccomp",
        "ptrace_scope",
    ] {
        assert!(text.contains(topic), "{topic}: {text}");
    }
}

#[test]
fn json_agrees_with_the_kernel() {
    let object = json(&run(&["doctor", "--json"]));
    assert_eq!(object["schema"], 1);
    assert_eq!(object["command"], "doctor");
    let cpu = &object["cpu"];
    let seen = |feature| !cfg!(feature = "no-pku") && cpu_has(feature);
    assert_eq!(cpu["pku"], seen("pku"));
    assert_eq!(cpu["ospke"], seen("ospke"));
    assert_eq!(cpu["xsave_pkru_offset"].is_u64(), has_keys(), "{cpu}");
    let read = |path: &str| fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(
        object["kernel"]["release"],
        read("/proc/sys/kernel/osrelease")
    );
    let max_map_count: u64 = read("/proc/sys/vm/max_map_count").parse().unwrap();
    assert_eq!(object["settings"]["max_map_count"], max_map_count);
    assert_eq!(object["kernel"]["traps"].as_array().unwrap().len(), 7);
    assert_eq!(object["calls"]["keys_in_all"], 15);
}

/// A fresh process has every key but key 0 to take, and PKRU as the kernel starts it.
#[test]
fn keys_and_register_of_a_fresh_process() {
    let object = json(&run(&["doctor", "--json"]));
    let pkey_alloc = &object["calls"]["pkey_alloc"];
    if cpu_has("ospke") {
        assert_eq!(pkey_alloc["answers"], true);
        assert_eq!(object["calls"]["keys_free"], 15);
    } else {
        assert_eq!(pkey_alloc["answers"], false);
        assert!(pkey_alloc["error"].is_string(), "{pkey_alloc}");
        assert_eq!(object["calls"]["keys_free"], 0);
    }
    let register = &object["init_pkru"];
    match register.as_str() {
        Some(value) => {
            assert!(has_keys());
            assert!(value.starts_with("0x") && value.len() == 10, "{value}");
        }
        None => assert!(!has_keys(), "{register}"),
    }
}

/// The profile of an old container runtime: the table and the JSON name the error, and the layer where it is the lowest one
/// that is missing.
#[test]
fn a_sandbox_is_named() {
    let table = run_without_pkey_alloc(&["doctor"]);
    let object = run_without_pkey_alloc(&["doctor", "--json"]);
    assert_eq!(status(&table), 3);
    assert_eq!(status(&object), 3);
    let text = stdout(&table);
    assert!(
        text.contains("EPERM") && text.contains("a sandbox refuses the call"),
        "{text}"
    );
    let object = json(&object);
    let call = &object["calls"]["pkey_alloc"];
    assert_eq!(
        (&call["answers"], &call["error"]),
        (&Value::from(false), &Value::from("EPERM"))
    );
    assert_eq!(object["process"]["seccomp"], "filter");
    assert_eq!(object["process"]["no_new_privs"], true);
    let layer = object["missing"]["layer"].as_str().unwrap();
    assert_eq!(
        layer,
        if has_keys() {
            "sandbox"
        } else {
            layer_without_keys()
        }
    );
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let mut child = pkeys()
        .arg("doctor")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    // Where all of it was written before the reader left, the status is the doctor's own.
    assert!([0, 3].contains(&status(&output)), "{output:?}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let full = fs::File::create("/dev/full").unwrap();
    let output = pkeys().arg("doctor").stdout(full).output().unwrap();
    assert_eq!(status(&output), 1);
    assert!(
        stderr(&output).starts_with("pkeys: cannot write the output"),
        "{output:?}"
    );
    assert_eq!(stderr(&output).lines().count(), 1);
}

fn layer_without_keys() -> &'static str {
    if cfg!(feature = "no-pku") || !cpu_has("pku") {
        "CPU"
    } else {
        "kernel"
    }
}

/// Runs the program under a filter that answers `pkey_alloc(2)` with EPERM. A filter belongs to a thread and to what it
/// starts: this one goes with its thread.
fn run_without_pkey_alloc(arguments: &[&str]) -> Output {
    let rules = BTreeMap::from([(libc::SYS_pkey_alloc, Vec::new())]);
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            run(arguments)
        });
        running.join().unwrap()
    })
}
