//! `pkey_get` and `pkey_set`, as calls and on the page.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;

use pkeys_core::{AccessBits, AllocationMap, AllocationState, KeyRegister, Pkey};
use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::user::{self, KeyPage};
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys, get_set};

use super::model::{self, Chance, Register};

/// Every number that is a key, and some that are none.
fn numbers() -> impl Iterator<Item = i32> + Clone {
    (-2..18).chain([115, i32::MIN, i32::MAX])
}

/// States of the map: none, few, many and all keys, with and without one set aside.
fn states() -> impl Iterator<Item = AllocationState> {
    let taken = [0, 1, 0x8001, 0x00FF, 0xAAAA, 0xFFFF];
    let words = taken.into_iter().flat_map(|taken: u32| {
        let aside = (0..16).map(move |pkey| taken | 2_u32.pow(pkey) | 2_u32.pow(16 + pkey));
        aside.chain([taken])
    });
    words.map(|word| AllocationState::from_bits(word).expect("a possible map"))
}

/// Whether a program may use the key, bit by bit.
fn is_usable(state: AllocationState, pkey: i32) -> bool {
    let bit = |number: i32| state.bits() / 2_u32.pow(number.cast_unsigned()) % 2 == 1;
    (0..16).contains(&pkey) && bit(pkey) && !bit(16 + pkey)
}

pub(crate) fn arguments_are_checked_in_order() {
    let mut chance = Chance::new(7);
    let wrong = [1, 2, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
    let wrong_rights = [4, 8, 1 << 31, 1 << 32, (1 << 32) + 1, u64::MAX];
    for state in states() {
        let map = AllocationMap::from_state(state);
        for pkey in numbers() {
            for flags in wrong.into_iter().chain([0]) {
                for rights in wrong_rights.into_iter().chain(0..4) {
                    let before = chance.register();
                    let register = Register::new(before);
                    let thread = ThreadKeys::new(InitPkru::DEFAULT);
                    let got =
                        get_set::pkey_set(&map, &thread, Some(&register), pkey, rights, flags);
                    // What is wrong, in order; the register changes only where nothing is.
                    let expected = if flags != 0 || rights > 3 {
                        Err(Errno::Invalid)
                    } else if !is_usable(state, pkey) {
                        Err(Errno::BadDescriptor)
                    } else {
                        Ok(())
                    };
                    let mut pairs = model::pairs(before);
                    if expected.is_ok() {
                        let rights = u32::try_from(rights).unwrap();
                        pairs[usize::try_from(pkey).unwrap()] = model::pair(rights);
                    }
                    assert_eq!(got, expected, "{state:?} {pkey} {rights} {flags}");
                    assert_eq!(register.pairs(), pairs);
                    let without = get_set::pkey_set(&map, &thread, None, pkey, rights, flags);
                    let is_invalid = flags != 0 || rights > 3;
                    assert_eq!(without == Err(Errno::Invalid), is_invalid);
                    assert_eq!(without == Err(Errno::BadDescriptor), !is_invalid);
                }
                check_get(&map, pkey, flags, chance.register());
            }
        }
    }
}

fn check_get(map: &AllocationMap, pkey: i32, flags: u64, pkru: KeyRegister) {
    let register = Register::new(pkru);
    let expected = match flags {
        0 if is_usable(map.snapshot(), pkey) => {
            Ok(model::pairs(pkru)[usize::try_from(pkey).unwrap()])
        }
        0 => Err(Errno::BadDescriptor),
        _ => Err(Errno::Invalid),
    };
    let got = get_set::pkey_get(map, Some(&register), pkey, flags);
    assert_eq!(got.map(|bits| model::pair(bits.bits())), expected, "{pkey}");
    assert_eq!(register.read(), pkru);
    let without = get_set::pkey_get(map, None, pkey, flags);
    assert_eq!(
        without.is_err_and(|error| error == Errno::Invalid),
        flags != 0
    );
}

fn page(word: u32, version: u32) -> KeyPage {
    KeyPage {
        map: AtomicU32::new(word),
        version: AtomicU32::new(version),
    }
}

pub(crate) fn the_page_answers_as_the_call_does() {
    let mut chance = Chance::new(8);
    for state in states() {
        let map = AllocationMap::from_state(state);
        // As the kernel writes it and the program reads it.
        let bytes = KeyPage::bytes(state);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let page = page(word(0), word(4));
        for pkey in numbers() {
            for flags in [0, 1] {
                let pkru = chance.register();
                let (kernel, user) = (Register::new(pkru), Register::new(pkru));
                assert_eq!(
                    user::pkey_get(&page, &user, pkey, flags),
                    get_set::pkey_get(&map, Some(&kernel), pkey, flags)
                );
                for rights in [0, 1, 2, 3, 4, 1 << 32] {
                    let thread = ThreadKeys::new(InitPkru::DEFAULT);
                    assert_eq!(
                        user::pkey_set(&page, &user, pkey, rights, flags),
                        get_set::pkey_set(&map, &thread, Some(&kernel), pkey, rights, flags)
                    );
                    assert_eq!(user.pairs(), kernel.pairs());
                }
            }
        }
    }
}

pub(crate) fn a_page_of_another_layout_sends_to_the_call() {
    let version = KeyPage::VERSION;
    // Another version, or a word that no map has: two keys set aside, or one that is not taken.
    for (word, version) in [
        (1, 0),
        (1, version + 1),
        (0x6_0007, version),
        (0x2_0001, version),
    ] {
        let page = page(word, version);
        let register = Register::new(KeyRegister::LINUX_INIT);
        let get = |pkey, flags| user::pkey_get(&page, &register, pkey, flags);
        let set = |rights, flags| user::pkey_set(&page, &register, 0, rights, flags);
        assert_eq!(get(0, 0), Err(Errno::NoSystemCall));
        assert_eq!(get(99, 0), Err(Errno::NoSystemCall));
        assert_eq!(set(3, 0), Err(Errno::NoSystemCall));
        assert_eq!(get(0, 1), Err(Errno::Invalid));
        assert_eq!(set(4, 0), Err(Errno::Invalid));
        assert_eq!(register.take_writes(), 0);
    }
    assert_eq!(core::mem::offset_of!(KeyPage, map), 0);
    assert_eq!(core::mem::offset_of!(KeyPage, version), 4);
    assert_eq!(size_of::<KeyPage>(), 8);
}

/// One thread sets key 1 aside while another asks for it. `loom` looks at all interleavings; this, at real threads.
pub(crate) fn a_key_that_becomes_execute_only_is_never_allocated() {
    const ROUNDS: usize = 1_000;
    let maps: Vec<AllocationMap> = (0..ROUNDS).map(|_| AllocationMap::new()).collect();
    let is_done: Vec<AtomicBool> = (0..ROUNDS).map(|_| AtomicBool::new(false)).collect();
    let begun = AtomicUsize::new(0);
    let mut wrong = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for (round, map) in maps.iter().enumerate() {
                while begun.load(SeqCst) <= round {
                    thread::yield_now();
                }
                map.allocate_execute_only();
                is_done[round].store(true, SeqCst);
            }
        });
        let register = Register::new(KeyRegister::LINUX_INIT);
        for (round, map) in maps.iter().enumerate() {
            begun.store(round + 1, SeqCst);
            while !is_done[round].load(SeqCst) {
                let got = get_set::pkey_get(map, Some(&register), 1, 0);
                wrong += usize::from(got != Err::<AccessBits, _>(Errno::BadDescriptor));
            }
        }
    });
    assert_eq!(wrong, 0);
    assert!(maps.iter().all(|map| map.execute_only() == Pkey::new(1)));
}
