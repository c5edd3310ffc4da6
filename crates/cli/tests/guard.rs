//! `pkeys guard` from outside: what keeps it from starting a program, and the status it ends with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn guard(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkeys"));
    command.arg("guard").args(arguments).env_remove("LD_AUDIT");
    command
}

/// One line on standard error with that in it, nothing printed, that status.
fn refused(output: &Output, status: i32, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(part), "no {part:?} in {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
}

const LIBRARY: [&str; 3] = ["--without-keys", "--lib", "libnowhere.so.1"];

fn with(more: &[&str]) -> Vec<String> {
    let all = LIBRARY.iter().chain(more);
    all.map(|argument| (*argument).to_owned()).collect()
}

fn run(more: &[&str]) -> Output {
    let arguments = with(more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    guard(&arguments)
}

fn script(folder: &Path, name: &str, text: &[u8], mode: u32) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_programs_own_status_and_output_come_through() {
    let output = run(&["--", "sh", "-c", "echo out; exit 42"]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(output.stdout, b"out\n");
}

#[test]
fn nothing_guarded_is_said_and_may_be_required() {
    let output = run(&["--", "sh", "-c", "exit 0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(
        said,
        "pkeys guard: nothing was guarded: the program did not load libnowhere.so.1\n"
    );
    let output = run(&["--require", "--", "sh", "-c", "exit 0"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn programs_that_are_not_there_or_not_executable_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = script(folder.path(), "plain", b"#!/bin/sh\n", 0o644);
    let garbage = script(folder.path(), "garbage", b"no program", 0o755);
    refused(&run(&["--", "/nowhere/at/all"]), 127, "/nowhere/at/all");
    refused(
        &run(&["--", "no-such-program-here"]),
        127,
        "nowhere along PATH",
    );
    refused(&run(&["--", &plain]), 126, "is not executable");
    refused(&run(&["--", &garbage]), 126, "no ELF program and no script");
    refused(&run(&["--", "/"]), 126, "is a folder");
}

#[test]
fn programs_that_cannot_be_guarded_are_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let own = fs::read("/bin/sh").unwrap();
    let set_id = script(folder.path(), "set-id", &own, 0o4755);
    refused(&run(&["--", &set_id]), 3, "set-user-ID");
    // The loader's name in the program, changed in place: a program of another C library.
    let name = b"/lib64/ld-linux-x86-64.so.2";
    let at = own
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let mut other = own.clone();
    other[at..at + name.len()].copy_from_slice(b"/lib/ld-musl-x86_64.so.1\0\0\0");
    let other = script(folder.path(), "other", &other, 0o755);
    refused(&run(&["--", &other]), 3, "not glibc's loader");
}

#[test]
fn another_audit_library_is_in_the_way() {
    let arguments = with(&["--", "true"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = command(&arguments)
        .env("LD_AUDIT", "/x.so")
        .output()
        .unwrap();
    // The loader of this command has its own word on it, too.
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("pkeys guard: LD_AUDIT is set"), "{said}");
}

#[test]
fn an_audit_library_that_the_loader_does_not_take_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let broken = script(folder.path(), "broken.so", b"no library", 0o644);
    let arguments = with(&["--", "true"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = command(&arguments)
        .env("PKEYS_GUARD_LIBRARY", broken)
        .output()
        .unwrap();
    refused(&output, 3, "the loader does not take the audit library");
}

#[test]
fn mistakes_in_the_arguments_are_usage() {
    let guarded =
        |arguments: &[&str]| guard(&[&["--without-keys"], arguments, &["--", "true"]].concat());
    refused(&guarded(&[]), 2, "give --lib or --profile");
    refused(
        &guarded(&["--profile", "sqlit"]),
        2,
        "no profile sqlit; the nearest are sqlite",
    );
    refused(
        &guarded(&["--profile", "/nowhere.toml"]),
        2,
        "/nowhere.toml",
    );
    refused(&guarded(&["--lib", "libc.so.6"]), 2, "cannot be guarded");
    refused(&guarded(&["--lib", "/lib/x.so"]), 2, "no name of a library");
    refused(
        &guarded(&["--lib", "a.so", "--lib", "a.so"]),
        2,
        "named twice",
    );
    let many: Vec<String> = (0..15).map(|n| format!("--lib=lib{n}.so")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&guarded(&many), 2, "15 libraries with a key each");
    refused(
        &guarded(&["--lib", "a.so", "--callbacks", "f"]),
        2,
        "FN:ARG+ARG",
    );
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_start() {
    refused(
        &run(&["--report", "/dev/full", "--", "echo", "x"]),
        1,
        "/dev/full",
    );
    refused(
        &run(&["--report", "/nowhere/report", "--", "echo", "x"]),
        1,
        "/nowhere/report",
    );
}

#[test]
fn scripts_and_what_they_execute_stay_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let inner = script(
        folder.path(),
        "inner",
        b"#!/usr/bin/env sh\necho \"$1\"\nexit 5\n",
        0o755,
    );
    let outer = format!("#!/bin/sh\nexec {inner} \"$@\"\n");
    let outer = script(folder.path(), "outer", outer.as_bytes(), 0o755);
    let output = run(&["--", &outer, "word"]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"word\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("nothing was guarded"),
        "the script's program was left alone: {said}"
    );
}

#[test]
fn children_have_no_descriptor_more_than_without() {
    let list = "echo $(ls /proc/self/fd)";
    let plain = Command::new("sh").args(["-c", list]).output().unwrap();
    let guarded = run(&["--", "sh", "-c", list]);
    assert_eq!(guarded.status.code(), Some(0));
    assert_eq!(guarded.stdout, plain.stdout);
}
