//! A tick of the watchdog in the midst of a change by the kernel: before and after each access to the register.
//!
//! Between the accesses there are only stores to fields of the thread, which a tick cannot be put between from outside. That
//! it does nothing there follows from what the essay of `keys/thread.rs` says, of which this holds the visible part.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;

use pkeys_core::{AccessBits, KeyRegister, Pkey};
use pkeys_kernel::abi::Prot;
use pkeys_kernel::keys::watchdog::{self, Findings, Repair};
use pkeys_kernel::keys::{InitPkru, PkruRegister, SpaceKeys, ThreadKeys};

use super::model::{self, Register};

const INIT: InitPkru = InitPkru::DEFAULT;

/// A CPU that is interrupted by a tick at one of its accesses to the register.
struct Interrupted<'a> {
    register: &'a Register,
    space: &'a SpaceKeys,
    thread: &'a ThreadKeys,
    findings: &'a Findings,
    /// How many moments from now.
    at: Cell<Option<usize>>,
}

impl Interrupted<'_> {
    /// A moment in which a tick can come.
    fn moment(&self) {
        match self.at.get() {
            Some(0) => {
                self.at.set(None);
                self.tick();
            }
            Some(at) => self.at.set(Some(at - 1)),
            None => (),
        }
    }

    fn tick(&self) -> Repair {
        let map = self.space.map();
        watchdog::tick(map, self.thread, self.register, INIT, self.findings)
    }
}

impl PkruRegister for Interrupted<'_> {
    fn read(&self) -> KeyRegister {
        self.moment();
        let pkru = self.register.read();
        self.moment();
        pkru
    }

    fn write(&self, pkru: KeyRegister) {
        self.moment();
        self.register.write(pkru);
        self.moment();
    }
}

/// What the kernel changes, and the register that comes of it when nobody strayed.
type Change = (&'static str, fn(&ThreadKeys, &SpaceKeys, &Interrupted<'_>));

const CHANGES: [Change; 7] = [
    ("set", |thread, _, cpu| {
        thread.set(model::key(1), AccessBits::ALL, cpu);
    }),
    ("set to what it is", |thread, _, cpu| {
        thread.set(model::key(1), AccessBits::UNRESTRICTED, cpu);
    }),
    ("alloc", |thread, space, cpu| {
        space.alloc(0, 2, thread, Some(cpu)).unwrap();
    }),
    ("exec", |thread, _, cpu| thread.exec(cpu, INIT)),
    ("handler", |thread, _, cpu| {
        let frame = thread.enter_handler(cpu, INIT);
        thread.load(frame.with(model::key(1), AccessBits::DISABLE_WRITE), cpu);
    }),
    ("execute-only", |thread, space, cpu| {
        space.key_for_map(Prot::EXEC, thread, Some(cpu));
    }),
    (
        "execute-only, opened by the kernel",
        |thread, space, cpu| {
            let pkey = space.key_for_map(Prot::EXEC, thread, Some(cpu));
            thread.set(pkey, AccessBits::DISABLE_WRITE, cpu);
            space.key_for_map(Prot::EXEC, thread, Some(cpu));
        },
    ),
];

/// Makes a change with a tick at a moment, if the change has so many, and a tick after it.
fn run(change: &Change, at: Option<usize>, stray: Option<Pkey>) -> (Outcome, bool) {
    let (space, thread, findings) = (SpaceKeys::new(), ThreadKeys::new(INIT), Findings::default());
    let register = Register::new(INIT.register());
    for _ in 0..2 {
        space.alloc(0, 0, &thread, Some(&register)).unwrap();
    }
    if let Some(stray) = stray {
        let now = register.read();
        let other = AccessBits::truncate(now.get(stray).bits() ^ 3);
        register.wrpkru(now.with(stray, other));
    }
    let cpu = Interrupted {
        register: &register,
        space: &space,
        thread: &thread,
        findings: &findings,
        at: Cell::new(at),
    };
    (change.1)(&thread, &space, &cpu);
    let is_reached = cpu.at.take().is_none();
    let after = register.read();
    cpu.tick();
    let outcome = Outcome {
        after,
        repaired: register.read(),
        granted: thread.granted(),
        found: findings.unallocated.load(Relaxed) + findings.changed.load(Relaxed),
    };
    (outcome, is_reached)
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The register when the change is done.
    after: KeyRegister,
    /// And when a later tick has come.
    repaired: KeyRegister,
    granted: KeyRegister,
    found: u64,
}

/// Every moment of a change.
fn moments(change: &Change, stray: Option<Pkey>) -> Vec<Outcome> {
    let all = (0..).map(|at| run(change, Some(at), stray));
    all.take_while(|(_, is_reached)| *is_reached)
        .map(|(outcome, _)| outcome)
        .collect()
}

pub(crate) fn a_tick_at_any_point_reports_nothing() {
    for change in &CHANGES {
        let (undisturbed, _) = run(change, None, None);
        assert_eq!(undisturbed.found, 0, "{}", change.0);
        assert_eq!(undisturbed.repaired, undisturbed.after, "{}", change.0);
        let outcomes = moments(change, None);
        assert!(outcomes.len() >= 2, "{}", change.0);
        for (at, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome, &undisturbed, "{} at {at}", change.0);
        }
    }
}

/// With a stray right on some key, taken or free, before the change: a tick in between neither undoes a part of the change
/// nor makes a difference to what a later one finds.
pub(crate) fn a_tick_at_any_point_loses_no_change() {
    for change in &CHANGES {
        for stray in Pkey::all() {
            let (undisturbed, _) = run(change, None, Some(stray));
            assert_eq!(undisturbed.repaired, undisturbed.granted, "{}", change.0);
            assert!(undisturbed.found <= 1, "{}", change.0);
            for (at, outcome) in moments(change, Some(stray)).iter().enumerate() {
                let what = format!("{} at {at}, stray {stray}", change.0);
                assert_eq!(outcome.repaired, undisturbed.repaired, "{what}");
                assert_eq!(outcome.granted, undisturbed.granted, "{what}");
                assert_eq!(outcome.found, undisturbed.found, "{what}");
            }
        }
    }
}
