//! The watchdog against a model: what each thread has, what the kernel gave it, and which keys there are.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeSet;

use pkeys_core::{AccessBits, KeyRegister, KeySet};
use pkeys_kernel::keys::watchdog::{self, Findings, Repair};
use pkeys_kernel::keys::{InitPkru, PkruRegister, SpaceKeys, ThreadKeys, get_set};

use super::model::{self, Chance, Pairs, Register};

/// A thread, a register of its own, and what the model says of it.
struct Thread {
    keys: ThreadKeys,
    register: Register,
    has: Pairs,
    given: Pairs,
}

/// A process of some threads, watched.
struct World {
    init: InitPkru,
    space: SpaceKeys,
    findings: Findings,
    threads: Vec<Thread>,
    taken: BTreeSet<usize>,
    /// Ticks, and findings on keys that are free and taken.
    counted: [u64; 3],
}

impl World {
    fn new(init: InitPkru, nr_threads: usize) -> Self {
        let has = model::pairs(init.register());
        let thread = || Thread {
            keys: ThreadKeys::new(init),
            register: Register::new(init.register()),
            has,
            given: has,
        };
        Self {
            init,
            space: SpaceKeys::new(),
            findings: Findings::default(),
            threads: (0..nr_threads).map(|_| thread()).collect(),
            taken: BTreeSet::from([0]),
            counted: [0; 3],
        }
    }

    fn tick(&mut self, number: usize) {
        let at_start = model::pairs(self.init.register());
        let thread = &mut self.threads[number];
        let mut expected = Repair::default();
        for (key, at_start) in at_start.into_iter().enumerate() {
            let is_taken = self.taken.contains(&key);
            // Nobody was given anything on a key that is free.
            if !is_taken {
                thread.given[key] = at_start;
            }
            if thread.has[key] != thread.given[key] {
                thread.has[key] = thread.given[key];
                let found = if is_taken {
                    &mut expected.changed
                } else {
                    &mut expected.unallocated
                };
                *found = found.with(model::key(key));
                self.counted[if is_taken { 2 } else { 1 }] += 1;
            }
        }
        self.counted[0] += 1;
        let map = self.space.map();
        thread.register.take_writes();
        let got = watchdog::tick(
            map,
            &thread.keys,
            &thread.register,
            self.init,
            &self.findings,
        );
        assert_eq!(got, expected);
        let is_repair = got != Repair::default();
        assert_eq!(thread.register.take_writes(), usize::from(is_repair));
    }

    fn step(&mut self, chance: &mut Chance) {
        let number = chance.below(self.threads.len());
        let thread = &mut self.threads[number];
        let rights = chance.rights();
        match chance.below(6) {
            0 => {
                let register = Some(&thread.register as &dyn PkruRegister);
                let got = self.space.alloc(0, rights.into(), &thread.keys, register);
                let free = (0..16).find(|key| !self.taken.contains(key));
                assert_eq!(got.ok(), free.map(model::key));
                if let Some(key) = free {
                    self.taken.insert(key);
                    thread.has[key] = model::pair(rights);
                    thread.given[key] = model::pair(rights);
                }
            }
            1 => {
                let key = chance.below(16);
                let got = self.space.free(i32::try_from(key).unwrap());
                assert_eq!(got.is_ok(), self.taken.remove(&key));
            }
            2 => {
                let key = chance.below(16);
                let got = get_set::pkey_set(
                    self.space.map(),
                    &thread.keys,
                    Some(&thread.register),
                    i32::try_from(key).unwrap(),
                    rights.into(),
                    0,
                );
                assert_eq!(got.is_ok(), self.taken.contains(&key));
                if got.is_ok() {
                    thread.has[key] = model::pair(rights);
                    thread.given[key] = model::pair(rights);
                }
            }
            3 => {
                // A stray WRPKRU: one key, or all.
                let key = chance.below(16);
                thread.has[key] = model::pair(rights);
                if chance.below(8) == 0 {
                    thread.has = model::pairs(chance.register());
                }
                thread.register.wrpkru(model::register(thread.has));
            }
            4 => {
                let frame = thread.keys.enter_handler(&thread.register, self.init);
                assert_eq!(model::pairs(frame), thread.has);
                thread.keys.load(frame, &thread.register);
                thread.given = thread.has;
            }
            _ => self.tick(number),
        }
    }

    fn assert_same(&self) {
        for thread in &self.threads {
            assert_eq!(thread.register.pairs(), thread.has);
            assert_eq!(model::pairs(thread.keys.granted()), thread.given);
        }
        let findings = [
            &self.findings.ticks,
            &self.findings.unallocated,
            &self.findings.changed,
        ];
        assert_eq!(findings.map(|count| count.load(Relaxed)), self.counted);
    }
}

pub(crate) fn any_history_agrees_with_a_model() {
    let mut chance = Chance::new(9);
    for round in 0..400 {
        // Also where programs start with other rights on free keys.
        let init = match round % 3 {
            0 => InitPkru::DEFAULT,
            1 => InitPkru::new(0xFFFF_FFFC).unwrap(),
            _ => InitPkru::new(chance.register().bits() & !3).unwrap(),
        };
        let mut world = World::new(init, 3);
        for _ in 0..120 {
            world.step(&mut chance);
            world.assert_same();
        }
    }
}

/// A key is freed and its number allocated again: a thread that had the old key open has no rights on the new one.
pub(crate) fn no_right_comes_back_with_a_number() {
    let init = InitPkru::DEFAULT;
    let space = SpaceKeys::new();
    let findings = Findings::default();
    let (owner, other) = (ThreadKeys::new(init), ThreadKeys::new(init));
    let registers = [(); 2].map(|()| Register::new(init.register()));
    let pkey = space.alloc(0, 0, &owner, Some(&registers[0])).unwrap();
    other.set(pkey, AccessBits::UNRESTRICTED, &registers[1]);
    let tick = || watchdog::tick(space.map(), &other, &registers[1], init, &findings);
    assert_eq!(tick(), Repair::default());
    space.free(pkey.into()).unwrap();
    // The other thread closes the old key itself, or the tick does.
    let closed = registers[1].read().with(pkey, AccessBits::DISABLE_ACCESS);
    registers[1].wrpkru(closed);
    assert_eq!(tick(), Repair::default());
    let again = space.alloc(0, 1, &owner, Some(&registers[0])).unwrap();
    assert_eq!(again, pkey);
    assert_eq!(tick(), Repair::default());
    assert_eq!(registers[1].read().get(pkey), AccessBits::DISABLE_ACCESS);
}

/// A stray right is found in a child that inherited it, too.
pub(crate) fn a_thread_hands_no_stray_right_on() {
    let init = InitPkru::DEFAULT;
    let space = SpaceKeys::new();
    let parent = ThreadKeys::new(init);
    let register = Register::new(init.register());
    let pkey = space.alloc(0, 3, &parent, Some(&register)).unwrap();
    register.wrpkru(KeyRegister::ALL_OPEN);
    let child = parent.inherit(&register, init);
    parent.switch_to(&child, &register);
    assert_eq!(register.read(), KeyRegister::ALL_OPEN);
    let findings = Findings::default();
    let repair = watchdog::tick(space.map(), &child, &register, init, &findings);
    assert_eq!(repair.changed, KeySet::of(pkey));
    assert_eq!(repair.unallocated.len(), 14);
    assert_eq!(register.read(), init.register().with(pkey, AccessBits::ALL));
}
