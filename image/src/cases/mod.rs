//! What the kernel shows: a list of cases, each a function that says what went wrong.
//!
//! They run one after the other in a thread. The machine ends with the status of success only if every case that was asked
//! for has run and passed. A case in which an access must be stopped fails when the access goes through.

extern crate alloc;

mod boot;
mod deaths;
mod handlers;
mod hardware;
mod keyed;
mod kmap;
mod modes;
mod protocol;
mod regions;
mod ring_3;
mod threads;

use alloc::string::{String, ToString};

use pkeys_image::options::{Options, nearest};

use pkeys_core::Mode;

use crate::exit::{Status, exit, refuse};
use crate::keys::PKS;
use crate::user::files::File;
use crate::{say, sched, smp};

/// The programs that cases run.
pub(crate) fn programs() -> impl Iterator<Item = File> {
    ring_3::programs()
}

/// `Err` says what went wrong.
type Outcome = Result<(), String>;

/// A case.
struct Case {
    name: &'static str,
    run: fn() -> Outcome,
}

const fn case(name: &'static str, run: fn() -> Outcome) -> Case {
    Case { name, run }
}

/// Those that run when none is named.
const ALL: [&[Case]; 11] = [
    boot::CASES,
    threads::CASES,
    hardware::CASES,
    hardware::OF_PROTECTION,
    protocol::CASES,
    handlers::CASES,
    modes::CASES,
    modes::OF_PROTECTION,
    kmap::CASES,
    regions::CASES,
    ring_3::CASES,
];

/// Those of which nothing can be seen while a mode is off, as nothing is protected then.
const OF_PROTECTION: [&[Case]; 6] = [
    hardware::OF_PROTECTION,
    modes::OF_PROTECTION,
    protocol::CASES,
    handlers::CASES,
    kmap::CASES,
    regions::CASES,
];

/// Fails the case unless something holds.
macro_rules! check {
    ($holds:expr, $($argument:tt)*) => {
        if !$holds {
            return Err(alloc::format!($($argument)*));
        }
    };
}
use check;

/// Fails the case unless two values are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr, $($argument:tt)*) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    return Err(alloc::format!("{}: {left:x?}, expected {right:x?}", format_args!($($argument)*)));
                }
            }
        }
    };
}
use check_eq;

/// Runs the named case, or all, in a thread of its own; or only says what there is.
pub(crate) fn start(options: &Options<'_>) {
    if options.list {
        list();
    }
    let named = options.test.map(find);
    let started = sched::spawn("cases", sched::ANYWHERE, move || run(named));
    if started.is_err() {
        refuse(format_args!("too little memory for the first thread"));
    }
}

fn every_case() -> impl Iterator<Item = &'static Case> {
    ALL.into_iter().flatten()
}

/// The case of that name; a name that there is not is refused with the nearest that there is.
fn find(name: &str) -> &'static Case {
    let all = || every_case().chain(deaths::CASES);
    all().find(|case| case.name == name).unwrap_or_else(|| {
        let nearest = nearest(name, all().map(|case| case.name));
        refuse(format_args!("no case {name:?} (did you mean {nearest}?)"))
    })
}

/// Says the names of all cases, and ends.
fn list() -> ! {
    for case in every_case() {
        say!("case {}", case.name);
    }
    for case in deaths::CASES {
        say!("case {} (ends the kernel, runs by name only)", case.name);
    }
    exit(Status::Pass)
}

fn run(named: Option<&'static Case>) {
    let is_asked_for = |case: &&Case| named.is_none_or(|named| named.name == case.name);
    let shows_something = |case: &&Case| !is_any_off() || !is_of_protection(case);
    let asked_for = || {
        let by_name = deaths::CASES.iter().filter(|_| named.is_some());
        every_case().chain(by_name).filter(is_asked_for)
    };
    let all = || asked_for().filter(shows_something);
    let nr_cases = all().count();
    let nr_left_out = asked_for().count() - nr_cases;
    say!("pkeys: {} CPUs, {nr_cases} cases", smp::count());
    if nr_left_out > 0 {
        say!("pkeys: {nr_left_out} more are left out: a mode is off, and nothing is protected");
    }
    let (mut passed, mut failed) = (0, 0);
    for case in all() {
        match (case.run)() {
            Ok(()) => {
                passed += 1;
                say!("ok {}", case.name);
            }
            Err(why) => {
                failed += 1;
                say!("FAILED {}: {why}", case.name);
            }
        }
    }
    say!("pkeys: {passed} passed, {failed} failed");
    exit(if failed == 0 && passed > 0 {
        Status::Pass
    } else {
        Status::Fail
    })
}

fn is_any_off() -> bool {
    let knobs = PKS.knobs();
    knobs.stray == Mode::Off || knobs.shared == Mode::Off
}

fn is_of_protection(case: &Case) -> bool {
    let mut groups = OF_PROTECTION.into_iter().flatten();
    groups.any(|other| other.name == case.name)
}

/// Runs something on a CPU, in a thread of its own, and waits for it.
fn on_cpu(cpu: u32, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let result = alloc::sync::Arc::new(crate::sync::Spin::new(Ok(())));
    let inner = alloc::sync::Arc::clone(&result);
    let thread = sched::spawn("on one CPU", 1 << cpu, move || {
        let outcome = work();
        *inner.lock() = outcome;
    });
    thread
        .map_err(|_| "no memory for a thread".to_string())?
        .join();
    result.lock().clone()
}
