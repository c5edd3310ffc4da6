//! The command `conform` as a program: its output and its status.

use std::process::{Command, Output};

fn conform(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conform"))
        .args(args)
        .output()
        .expect("conform starts")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

/// The kernel's own view of the CPU.
fn has_keys() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").expect("cpuinfo");
    cpuinfo.split_whitespace().any(|flag| flag == "ospke")
}

#[test]
fn the_list_names_every_case_with_rule_and_source() {
    let output = conform(&["--list"]);
    assert!(output.status.success());
    let list = text(&output.stdout);
    assert!(list.lines().count() >= 120);
    assert!(
        list.lines()
            .all(|line| line.ends_with(']') && line.contains("  "))
    );
    let line = list
        .lines()
        .find(|line| line.starts_with("alloc.first_key_is_one "));
    assert!(line.unwrap().contains("[arch/x86/"));
}

#[test]
fn a_list_can_be_of_some_cases() {
    let output = conform(&["--list", "free.twice", "seal."]);
    let names: Vec<_> = text(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names[0], "free.twice");
    assert!(names.len() > 2 && names[1..].iter().all(|name| name.starts_with("seal.")));
}

#[test]
fn an_unknown_case_is_named_and_is_a_mistake_of_the_command_line() {
    for args in [&["free.thrice"][..], &["--list", "free.thrice"]] {
        let output = conform(args);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains("\"free.thrice\""), "{told}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(conform(&["--on", "mars"]).status.code(), Some(2));
}

#[test]
fn without_keys_the_first_line_names_the_layer() {
    let output = conform(&["alloc.first_key_is_one"]);
    if has_keys() {
        assert!(output.status.success(), "{output:?}");
        let expected = "1..1\n";
        assert!(text(&output.stdout).contains(expected));
        assert!(text(&output.stdout).contains("\nok 1 - alloc.first_key_is_one\n"));
    } else {
        assert_eq!(output.status.code(), Some(3));
        let first = text(&output.stderr).lines().next().unwrap();
        let layers = ["the CPU has no", "the kernel has not", "CPU state has no"];
        assert!(layers.iter().any(|layer| first.contains(layer)), "{first}");
        assert!(output.stdout.is_empty());
    }
}
