//! Running the built program as a caller would, and what is known of the machine from elsewhere.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program, away from what the environment says about colours, modes and folders.
pub(crate) fn pkeys() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkeys"));
    for name in [
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "CLICOLOR",
        "PKEYS_MODE",
        "PKEYS_REPORT",
        "PKEYS_QEMU",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Output {
    pkeys().args(arguments).output().unwrap()
}

/// The exit status; a signal is a failure.
pub(crate) fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Standard output as one JSON object.
pub(crate) fn json(output: &Output) -> Value {
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stdout(output)));
    assert!(value.is_object(), "{value}");
    value
}

/// Whether the kernel says that the CPU has this feature.
pub(crate) fn cpu_has(feature: &str) -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap();
    flags.split_whitespace().any(|flag| flag == feature)
}

/// Whether the program can use protection keys: the CPU has them, the kernel has turned them on, and the program was not
/// built to overlook them.
pub(crate) fn has_keys() -> bool {
    !cfg!(feature = "no-pku") && cpu_has("ospke")
}

/// That an output for people is plain: no escape codes, no carriage returns, nothing but ASCII.
pub(crate) fn assert_plain(text: &str) {
    let odd = text
        .chars()
        .find(|&c| c != '\n' && !(' '..='~').contains(&c));
    assert_eq!(odd, None, "{text}");
}

/// The entries of a folder, by name.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
