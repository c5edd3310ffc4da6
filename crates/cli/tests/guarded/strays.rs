//! Every subject dies of a stray write: by SIGSEGV with `SEGV_PKUERR` and the library's key, at the address and the instruction that
//! the program announced, and with a report that names the place, the block and who wrote.

use libtest_mimic::Failed;

use crate::Test;
use crate::run::{ensure, run};
use crate::subject::{self, PLACES, Place, Subject};
use crate::tracer::{End, Record};

/// `SEGV_PKUERR` (`siginfo.h`).
const PKUERR: i32 = 4;

pub(crate) fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for subject in subject::ALL {
        for place in PLACES {
            let name = format!("{}_dies_of_a_stray_write_from_{place}", subject.name);
            tests.push((name, Box::new(move || dies(&subject, place))));
        }
    }
    tests.push((
        "a_stray_write_without_a_guard_is_survived_or_not_noticed_there".to_owned(),
        Box::new(is_not_noticed_without),
    ));
    tests
}

fn dies(subject: &Subject, place: &str) -> Result<(), Failed> {
    let record = run(subject.guarded(place, &Place::new(), &[]))?;
    ensure(
        record.end == End::Signal(libc::SIGSEGV),
        "it did not die of it",
        &record,
    )?;
    let (addr, pc) = announced(&record).ok_or("it announced nothing")?;
    let last = record.signals.last().ok_or("no signal was seen")?;
    let is_so = last.si_code == PKUERR && last.addr == addr && record.pc == Some(pc);
    ensure(
        is_so,
        &format!("it announced {addr:#x} by {pc:#x}"),
        &record,
    )?;
    let key = last.pkey.unwrap_or(0);
    ensure(key > 0 && key < 16, "a key of nobody's", &record)?;
    ensure(
        !record.out.contains("survived"),
        "the program went on",
        &record,
    )?;
    let (what, advice) = match subject.allocated_in {
        Some(function) => (format!("allocated in {function}\n"), "run with --share "),
        None => ("region \"mmap\"".to_owned(), ""),
    };
    for part in [
        &format!("stray write to domain {:?}", subject.library),
        &what,
        "by stray_instruction",
        "stray.h:",
        &format!("with key {key},"),
        advice,
    ] {
        ensure(
            record.err.contains(part),
            &format!("the report has no {part:?}"),
            &record,
        )?;
    }
    Ok(())
}

/// What the program says it is about to do: the address, and the instruction.
fn announced(record: &Record) -> Option<(usize, usize)> {
    let line = record
        .out
        .lines()
        .find_map(|line| line.strip_prefix("STRAY "))?;
    let (addr, pc) = line.split_once(' ')?;
    let number = |text: &str| usize::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some((number(addr)?, number(pc)?))
}

/// The same write without a guard goes through: what the tests above see is the guard's doing.
fn is_not_noticed_without() -> Result<(), Failed> {
    for subject in subject::ALL {
        let record = run(subject.plain("main", &Place::new()))?;
        ensure(record.out.contains("survived"), subject.name, &record)?;
    }
    Ok(())
}
