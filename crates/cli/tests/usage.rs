//! What the program says of itself, and to arguments that it does not know.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{assert_plain, run, status, stderr, stdout};

#[test]
fn help_of_each_command_shows_an_example() {
    for (arguments, example) in [
        (vec!["--help"], "pkeys demo"),
        (vec!["doctor", "--help"], "pkeys doctor --json"),
        (vec!["demo", "--help"], "pkeys demo --rows 10000"),
        (vec!["boot", "--help"], "pkeys boot --test die-stray-write"),
    ] {
        let output = run(&arguments);
        assert_eq!(status(&output), 0, "{arguments:?}");
        let text = stdout(&output);
        assert!(text.contains("Example") && text.contains(example), "{text}");
        assert_plain(&text);
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }
}

#[test]
fn the_exit_statuses_are_in_the_help_and_the_inner_command_is_not() {
    let text = stdout(&run(&["--help"]));
    assert!(
        text.contains("0 done, 1 failed, 2 usage, 3 no usable protection keys"),
        "{text}"
    );
    assert!(!text.contains("demo-part"), "{text}");
}

#[test]
fn arguments_that_are_not_understood_are_usage_errors() {
    for arguments in [
        vec![],
        vec!["nonsense"],
        vec!["--nonsense"],
        vec!["doctor", "--nonsense"],
        vec!["doctor", "extra"],
        vec!["demo", "--nonsense"],
        vec!["demo", "--rows"],
        vec!["demo", "--rows", "0"],
        vec!["demo", "--rows", "999"],
        vec!["demo", "--rows", "-5"],
        vec!["demo", "--rows", "many"],
        vec!["demo", "--rows", "5000001"],
        vec!["demo", "--rows", "99999999999999999999"],
        vec!["demo", "--keep"],
        vec!["boot", "--nonsense"],
        vec!["boot", "extra"],
        vec!["boot", "--mode", "loud"],
        vec!["boot", "--stray", "Strict"],
        vec!["boot", "--shared"],
        vec!["boot", "--init-pkru", "0x1"],
        vec!["boot", "--init-pkru", "155555554"],
        vec!["boot", "--smp", "0"],
        vec!["boot", "--smp", "65"],
        vec!["boot", "--test", ""],
        vec!["boot", "--test", "storm pks=off"],
        vec!["boot", "--list", "--test", "storm"],
        vec!["boot", "--list", "--exec", "p"],
        vec!["boot", "--test", "storm", "--exec", "p"],
        vec!["boot", "--json", "--exec", "p"],
        vec!["boot", "--env", "A=1"],
        vec!["boot", "--exec", "p", "--env", "A"],
        vec!["boot", "--", "argument"],
        vec!["boot", "--guest-cpu", ""],
        vec!["boot", "--time-limit", "0"],
    ] {
        let output = run(&arguments);
        assert_eq!(status(&output), 2, "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert_plain(&stderr(&output));
        assert_ne!(stderr(&output), "", "{arguments:?}");
    }
}

/// What was probably meant is said.
#[test]
fn a_slip_is_answered_with_the_nearest() {
    for (arguments, meant) in [
        (["boot", "--smpp", "2"], "--smp"),
        (["boot", "--mode", "strct"], "strict"),
    ] {
        let text = stderr(&run(&arguments));
        assert!(text.contains("similar") && text.contains(meant), "{text}");
    }
}

/// The error names the option and what it may be, in its first line.
#[test]
fn a_number_of_rows_that_cannot_be_is_named_with_its_bounds() {
    let text = stderr(&run(&["demo", "--rows", "0"]));
    let first = text.lines().next().unwrap();
    for part in ["--rows", "'0'", "1000", "5000000"] {
        assert!(first.contains(part), "{part}: {first}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = run(&["--version"]);
    assert_eq!(status(&output), 0);
    assert_eq!(
        stdout(&output),
        format!("pkeys {}\n", env!("CARGO_PKG_VERSION"))
    );
}
