//! Programs in ring 3: their way into the kernel, and keys of their pages.

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;

use pkeys_core::{AccessBits, KeyRegister, Pkey};

use super::{Case, Outcome, case, check_eq};
use crate::memory::layout::{DIRECT, LOWEST};
use crate::sched;
use crate::trap::frame::Frame;
use crate::user::program::{DATA_AT, Event, Program, take_log};
use crate::user::space::Space;

pub(super) const CASES: &[Case] = &[
    case("user-keys", user_keys),
    case("the-kernel-heeds-user-keys", kernel_heeds_user_keys),
    case("user-state-is-switched", user_state_is_switched),
    case("user-cannot-reach-the-kernel", user_cannot_reach_the_kernel),
    case("user-cannot-start-nowhere", user_cannot_start_nowhere),
];

const NO_MEMORY: &str = "no memory for a program";

fn space() -> Result<Arc<Space>, &'static str> {
    Space::new().map(Arc::new).map_err(|_| NO_MEMORY)
}

/// Error codes and values, in order, without addresses.
fn summary(events: &[Event]) -> Vec<(&'static str, u64)> {
    let line = |event: &Event| match event {
        Event::Value(value) => ("value", *value),
        Event::Fault(fault) => ("fault", u64::from(fault.code.bits())),
        Event::Exception(vector) => ("exception", *vector),
    };
    events.iter().map(line).collect()
}

fn user_keys() -> Outcome {
    {
        let space = space()?;
        let pkey = Pkey::truncate(7);
        let pkru = KeyRegister::ALL_OPEN.with(pkey, AccessBits::DISABLE_WRITE);
        let thread = Program::Keys.start(&space, DATA_AT, pkru, (pkey, 0x71));
        thread.map_err(|_| NO_MEMORY)?.join();
        let expected = [
            ("value", 0x71),
            ("value", u64::from(pkru.bits())),
            ("fault", 0x27),
            ("value", 0x77),
            ("fault", 0x25),
            ("value", 0x77),
        ];
        let events = take_log();
        check_eq!(summary(&events), expected, "events");
        let faults = events.iter().filter_map(|event| match event {
            Event::Fault(fault) => Some(fault.addr),
            _ => None,
        });
        check_eq!(
            faults.collect::<Vec<_>>(),
            [DATA_AT; 2],
            "addresses of faults"
        );
    }
    Ok(())
}

fn kernel_heeds_user_keys() -> Outcome {
    let pkey = Pkey::truncate(3);
    let pkru = KeyRegister::ALL_OPEN.with(pkey, AccessBits::DISABLE_WRITE);
    let thread = Program::Calls.start(&space()?, DATA_AT, pkru, (pkey, 0x40));
    thread.map_err(|_| NO_MEMORY)?.join();
    let efault = 14_u64.wrapping_neg();
    let expected = [
        ("fault", 0x23),
        ("value", efault),
        ("value", 0),
        ("value", 0x41),
        ("value", efault),
    ];
    check_eq!(summary(&take_log()), expected, "events");
    Ok(())
}

fn user_state_is_switched() -> Outcome {
    let mut programs = Vec::new();
    for number in 1..=6_u64 {
        let space = space()?;
        let thread =
            Program::State.start(&space, number, KeyRegister::ALL_OPEN, (Pkey::DEFAULT, 0));
        programs.push(thread.map_err(|_| NO_MEMORY)?);
    }
    for thread in &programs {
        thread.join();
    }
    check_eq!(
        summary(&take_log()),
        [("value", 0); 6],
        "what the programs found"
    );
    Ok(())
}

fn user_cannot_reach_the_kernel() -> Outcome {
    let space = space()?;
    let thread = Program::Stray.start(
        &space,
        DIRECT + LOWEST,
        KeyRegister::ALL_OPEN,
        (Pkey::DEFAULT, 0),
    );
    thread.map_err(|_| NO_MEMORY)?.join();
    check_eq!(summary(&take_log()), [("fault", 5)], "events");
    Ok(())
}

/// A program whose first address is none: the return to user mode faults, which ends the program and not the kernel.
fn user_cannot_start_nowhere() -> Outcome {
    let user = Program::user_part(&space()?);
    let frame = Frame::user(1 << 60, 0);
    let thread = sched::spawn_user("nowhere", user, KeyRegister::ALL_OPEN, frame);
    thread.map_err(|_| NO_MEMORY)?.join();
    check_eq!(summary(&take_log()), [("exception", 13)], "events");
    Ok(())
}
