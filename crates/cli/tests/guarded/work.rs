//! Every subject does its work in strict mode as it does without a guard: the same output, the same status, and not a word more.

use libtest_mimic::Failed;

use crate::Test;
use crate::run::{ensure, run_well};
use crate::subject::{self, Place, Subject, WORK};

pub(crate) fn tests() -> Vec<Test> {
    let test = |subject: Subject| -> Test {
        let name = format!("{}_works", subject.name);
        (name, Box::new(move || works(&subject)))
    };
    let mut tests: Vec<Test> = subject::ALL.into_iter().map(test).collect();
    tests.push((
        "the_gates_are_passed".to_owned(),
        Box::new(gates_are_passed),
    ));
    tests
}

fn works(subject: &Subject) -> Result<(), Failed> {
    let plain = run_well(subject.plain(WORK, &Place::new()))?;
    ensure(!plain.out.is_empty(), "it says nothing", &plain)?;
    let guarded = run_well(subject.guarded(WORK, &Place::new(), &["--require"]))?;
    ensure(
        guarded.out == plain.out,
        &format!("without a guard it printed\n{}", plain.out),
        &guarded,
    )?;
    ensure(
        guarded.err == plain.err,
        "it said more than without a guard",
        &guarded,
    )?;
    ensure(guarded.signals.is_empty(), "something faulted", &guarded)
}

/// The test above would pass with a guard that does nothing.
fn gates_are_passed() -> Result<(), Failed> {
    for subject in subject::ALL {
        let record = run_well(subject.guarded(WORK, &Place::new(), &["--stats"]))?;
        let line = record
            .err
            .lines()
            .find(|line| line.contains(" calls through "));
        let calls = line.and_then(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
        let is_so = calls.is_some_and(|calls| calls > 100);
        ensure(
            is_so,
            &format!("{}: few calls pass gates", subject.name),
            &record,
        )?;
    }
    Ok(())
}
