//! `SpaceKeys::alloc`, `free`, `check` and `fork` against Linux's own terms: a set of numbers, and one set aside.

use std::collections::BTreeSet;

use pkeys_core::KeyRegister;
use pkeys_kernel::abi::{Errno, Prot};
use pkeys_kernel::keys::{InitPkru, PkruRegister, SpaceKeys, ThreadKeys};

use super::model::{self, Chance, Register};

/// Linux's `mm_context_t`, as far as keys go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mm {
    map: BTreeSet<i32>,
    execute_only: i32,
}

impl Mm {
    fn new() -> Self {
        Self {
            map: BTreeSet::from([0]),
            execute_only: -1,
        }
    }

    fn is_allocated(&self, pkey: i32) -> bool {
        (0..16).contains(&pkey) && pkey != self.execute_only && self.map.contains(&pkey)
    }

    fn alloc(&mut self) -> Option<i32> {
        let pkey = (0..16).find(|pkey| !self.map.contains(pkey))?;
        self.map.insert(pkey);
        Some(pkey)
    }

    fn free(&mut self, pkey: i32) -> Result<(), Errno> {
        if self.is_allocated(pkey) {
            self.map.remove(&pkey);
            Ok(())
        } else {
            Err(Errno::Invalid)
        }
    }

    /// Whether the space says the same about every number.
    fn assert_same(&self, space: &SpaceKeys) {
        let taken: BTreeSet<i32> = space.state().taken().iter().map(i32::from).collect();
        assert_eq!(taken, self.map);
        let execute_only = space.state().execute_only().map_or(-1, i32::from);
        assert_eq!(execute_only, self.execute_only);
        for pkey in (-3..20).chain([115, i32::MIN, i32::MAX]) {
            let expected = pkey == -1 || self.is_allocated(pkey);
            assert_eq!(space.check(pkey).is_ok(), expected, "{pkey}");
        }
    }
}

fn start(pkru: KeyRegister) -> (SpaceKeys, ThreadKeys, Register) {
    let thread = ThreadKeys::new(InitPkru::DEFAULT);
    (SpaceKeys::new(), thread, Register::new(pkru))
}

pub(crate) fn rights_go_to_the_new_key_only() {
    let mut chance = Chance::new(2);
    for nr_before in 0..16 {
        for rights in 0..4_u32 {
            for _ in 0..20 {
                let before = chance.register();
                let (space, thread, register) = start(before);
                for _ in 0..nr_before {
                    space.alloc(0, 0, &thread, Some(&Register::default())).ok();
                }
                let got = space.alloc(0, rights.into(), &thread, Some(&register));
                let mut expected = model::pairs(before);
                if nr_before == 15 {
                    assert_eq!(got, Err(Errno::NoSpace));
                } else {
                    // Key 0 is not given out, so the one behind those that were.
                    let number = nr_before + 1;
                    assert_eq!(got, Ok(model::key(number)));
                    expected[number] = model::pair(rights);
                }
                assert_eq!(register.pairs(), expected);
            }
        }
    }
}

pub(crate) fn calls_in_any_order_agree_with_linux() {
    let mut chance = Chance::new(3);
    for _ in 0..400 {
        let (space, thread, register) = start(KeyRegister::LINUX_INIT);
        let mut mm = Mm::new();
        for _ in 0..60 {
            let mut expected = register.pairs();
            match chance.below(8) {
                0..=2 => {
                    let rights = chance.rights();
                    let pkey = mm.alloc();
                    let got = space.alloc(0, rights.into(), &thread, Some(&register));
                    if let Some(pkey) = pkey {
                        expected[usize::try_from(pkey).unwrap()] = model::pair(rights);
                    }
                    assert_eq!(got.map(i32::from).ok(), pkey);
                    assert!(pkey.is_some() || got == Err(Errno::NoSpace));
                }
                3..=5 => {
                    let pkey = i32::try_from(chance.below(20)).unwrap() - 2;
                    // Also nobody else's rights change, and the thread keeps its own on the freed key.
                    assert_eq!(space.free(pkey), mm.free(pkey), "{pkey}");
                }
                6 => {
                    let other = chance.register();
                    register.wrpkru(other);
                    expected = model::pairs(other);
                }
                _ => {
                    let is_new = mm.execute_only == -1;
                    if is_new {
                        mm.execute_only = mm.alloc().unwrap_or(-1);
                    }
                    if let Ok(number) = usize::try_from(mm.execute_only) {
                        // Denied already: as it is, also with both bits.
                        if is_new || !expected[number].0 {
                            expected[number] = (true, false);
                        }
                    }
                    space.key_for_map(Prot::EXEC, &thread, Some(&register));
                }
            }
            assert_eq!(register.pairs(), expected);
            mm.assert_same(&space);
        }
    }
}

pub(crate) fn arguments_are_checked_before_anything_happens() {
    let (space, thread, register) = start(KeyRegister::LINUX_INIT);
    let high_bits = (0..64).map(|bit| 1_u64 << bit);
    for flags in high_bits.clone().chain([u64::MAX]) {
        for rights in [0, 3, 4, u64::MAX] {
            for register in [None, Some(&register as &dyn PkruRegister)] {
                let got = space.alloc(flags, rights, &thread, register);
                assert_eq!(got, Err(Errno::Invalid));
            }
        }
    }
    for rights in high_bits.clone().skip(2).chain([5, 7, u64::MAX]) {
        for register in [None, Some(&register as &dyn PkruRegister)] {
            let got = space.alloc(0, rights, &thread, register);
            assert_eq!(got, Err(Errno::Invalid), "{rights:#x}");
        }
    }
    assert_eq!(space.alloc(0, 3, &thread, None), Err(Errno::NoSpace));
    Mm::new().assert_same(&space);
    assert_eq!(register.take_writes(), 0);
}

pub(crate) fn a_fork_is_a_copy_and_no_more() {
    let (space, thread, register) = start(KeyRegister::LINUX_INIT);
    let mut mm = Mm::new();
    for _ in 0..3 {
        space.alloc(0, 0, &thread, Some(&register)).unwrap();
        mm.alloc();
    }
    space.key_for_map(Prot::EXEC, &thread, Some(&register));
    mm.execute_only = mm.alloc().unwrap();
    let child = space.fork();
    mm.assert_same(&child);
    // From here on each goes its own way.
    let mut childs = mm.clone();
    assert_eq!(child.free(2), childs.free(2));
    mm.alloc();
    space.alloc(0, 0, &thread, Some(&register)).unwrap();
    mm.assert_same(&space);
    childs.assert_same(&child);
}

/// What Linux 6.12 and 6.18 say on a CPU without keys.
pub(crate) fn without_keys_the_first_call_differs() {
    let thread = ThreadKeys::new(InitPkru::DEFAULT);
    let space = SpaceKeys::without_keys();
    let untouched = space.fork();
    let is_refused = |space: &SpaceKeys| {
        for pkey in (-3..20).filter(|pkey| *pkey != -1) {
            assert_eq!(space.check(pkey), Err(Errno::Invalid), "{pkey}");
            assert_eq!(space.free(pkey), Err(Errno::Invalid), "{pkey}");
        }
        assert_eq!(space.check(-1), Ok(()));
    };
    is_refused(&space);
    assert_eq!(space.alloc(0, 4, &thread, None), Err(Errno::Invalid));
    assert_eq!(space.alloc(0, 0, &thread, None), Err(Errno::Invalid));
    for _ in 0..3 {
        assert_eq!(space.alloc(0, 0, &thread, None), Err(Errno::NoSpace));
        is_refused(&space);
    }
    let child = space.fork();
    assert_eq!(child.alloc(0, 0, &thread, None), Err(Errno::NoSpace));
    assert_eq!(untouched.alloc(0, 0, &thread, None), Err(Errno::Invalid));
    assert_eq!(thread.granted(), InitPkru::DEFAULT.register());
}
