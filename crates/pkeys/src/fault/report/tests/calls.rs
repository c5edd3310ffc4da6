//! What a report says of the calls, and that its texts agree.

use core::hint::black_box;
use std::backtrace::Backtrace;
use std::thread;

use super::{Bench, LONG_NS, aim, names, raise, stray};

#[inline(never)]
fn outermost(body: &mut dyn FnMut()) {
    innermost(body);
    black_box(());
}

#[inline(never)]
fn innermost(body: &mut dyn FnMut()) {
    body();
    black_box(());
}

/// The function names of the standard library's backtrace, from the first that contains `from`.
fn std_names(backtrace: &Backtrace, from: &str) -> Vec<String> {
    let text = backtrace.to_string();
    let numbered = text.lines().filter_map(|line| {
        let (number, name) = line.trim_start().split_once(": ")?;
        number.parse::<u32>().ok()?;
        Some(name.to_owned())
    });
    numbered.skip_while(|name| !name.contains(from)).collect()
}

/// Cuts names behind the point where the program's own code begins.
fn until_start(names: Vec<String>) -> Vec<String> {
    let start = names
        .iter()
        .position(|name| name.contains("__rust_begin_short_backtrace"));
    let start = start.expect("a thread of the standard library");
    names.into_iter().take(start + 1).collect()
}

#[test]
fn the_calls_are_those_that_std_sees() {
    let bench = Bench::served(LONG_NS);
    let mut backtrace = None;
    let mut line = 0;
    let mut body = || {
        backtrace = Some(Backtrace::force_capture());
        aim(&bench);
        line = line!() + 1;
        raise(libc::SIGUSR1);
    };
    thread::scope(|scope| _ = scope.spawn(|| outermost(&mut body)));
    let [report] = &bench.lines("report")[..] else {
        panic!("one report")
    };
    assert_eq!(report["unwound"], "complete");
    assert_eq!(report["in_signal_handler"], false);
    let here = "the_calls_are_those_that_std_sees";
    let seen = until_start(names(report, "innermost"));
    let expected = until_start(std_names(&backtrace.unwrap(), "innermost"));
    assert!(seen.len() >= 3, "{seen:?}");
    assert_eq!(seen.len(), expected.len(), "{seen:?} {expected:?}");
    for (seen, expected) in seen.iter().zip(&expected) {
        // Where std knows the last part of a name alone, or a closure's number, the symbol tells the rest.
        let is_short = !expected.contains("::");
        let has_symbol = seen.ends_with(expected) || expected.starts_with('{');
        assert!(
            seen == expected || is_short && has_symbol,
            "{seen} {expected}"
        );
    }
    let frames = report["frames"].as_array().unwrap();
    let caller = frames.iter().find(|frame| {
        frame["function"]
            .as_str()
            .is_some_and(|name| name.contains(here))
    });
    let caller = caller.unwrap();
    assert_eq!(caller["line"], line);
    assert!(
        caller["file"].as_str().unwrap().ends_with(file!()),
        "{caller}"
    );
    assert_eq!(bench.channel.outlets.lost(), 0);
}

#[test]
fn the_calls_go_on_below_a_signal_handler() {
    let bench = Bench::served(LONG_NS);
    thread::scope(|scope| {
        scope.spawn(|| {
            aim(&bench);
            outermost(&mut || raise(libc::SIGUSR2));
        });
    });
    let [report] = &bench.lines("report")[..] else {
        panic!("one report")
    };
    assert_eq!(report["unwound"], "complete");
    assert_eq!(report["in_signal_handler"], true);
    let names = names(report, "stray_in_handler");
    let at = |wanted: &str| {
        names
            .iter()
            .position(|name| name.contains(wanted))
            .expect(wanted)
    };
    assert!(
        at("on_other") < at("innermost") && at("innermost") < at("outermost"),
        "{names:?}"
    );
    assert!(
        bench
            .terminal()
            .contains("called by a signal, which interrupted")
    );
}

#[test]
fn both_texts_tell_of_the_same_access() {
    let bench = Bench::served(LONG_NS);
    stray(&bench);
    stray(&bench);
    let (raw, reports) = (bench.lines("raw"), bench.lines("report"));
    assert_eq!((raw.len(), reports.len()), (2, 2));
    for (raw, report) in raw.iter().zip(&reports) {
        for field in [
            "schema", "seq", "time_ns", "pid", "tid", "thread", "domain", "offset", "addr", "mode",
        ] {
            assert_eq!(raw[field], report[field], "{field}");
        }
        assert_eq!(report["frames"][0]["pc"], raw["pc"]);
    }
    assert_eq!((&raw[0]["seq"], &raw[1]["seq"]), (&1.into(), &2.into()));
    assert_eq!(reports[0]["thread_older_than_domain"], true);
    let terminal = bench.terminal();
    assert_eq!(
        terminal.matches("stray write to domain \"ledger\"").count(),
        4,
        "{terminal}"
    );
}
