//! Who has which key.

use pkeys_core::{KeyRegister, PageState, Pkey, Rights};
use pkeys_kernel::pks::{
    self, Callbacks, Context, Declaration, Declared, Exhausted, Keys, NoPksKey, PksKey,
    ReleaseError,
};

use super::chance::Chance;
use super::system::{Lock, silent, system};
use super::world::World;

const DECLARED: Declared<3> = Declared::new([
    Declaration::new("pmem"),
    Declaration {
        closed: Rights::ReadOnly,
        ..Declaration::new("tables")
    },
    Declaration::shared("kmap"),
]);

const NOBODY: [&Context; 0] = [];

fn keys() -> Keys<Lock> {
    Keys::new(&DECLARED)
}

fn key(number: u32) -> PksKey {
    PksKey::try_from(number).unwrap()
}

/// What a context without a grant may do.
fn closed(keys: &Keys<Lock>, key: PksKey) -> Rights {
    keys.closed().rights(key.pkey())
}

pub(crate) fn key_0_is_refused_whatever_it_comes_as() {
    assert_eq!(PksKey::new(Pkey::DEFAULT), Err(NoPksKey::KeyZero));
    assert_eq!(PksKey::try_from(Pkey::DEFAULT), Err(NoPksKey::KeyZero));
    assert_eq!(PksKey::try_from(0), Err(NoPksKey::KeyZero));
    for number in 1..16 {
        assert_eq!(key(number).to_string(), number.to_string());
    }
    for number in [16, 17, 256, 0x1_0000, u32::MAX] {
        assert_eq!(PksKey::try_from(number), Err(NoPksKey::TooLarge { number }));
    }
    assert_eq!(PksKey::all().count(), 15);
    // So nothing that is granted, given out, or off ever closes it.
    let keys = keys();
    while keys
        .allocate("more", Rights::NoAccess, PageState::Stray)
        .is_ok()
    {}
    assert_eq!(keys.closed().rights(Pkey::DEFAULT), Rights::ReadWrite);
}

pub(crate) fn the_table_gives_numbers_and_rights() {
    const TABLES: PksKey = DECLARED.key("tables");
    let keys = keys();
    assert_eq!(
        [DECLARED.key("pmem"), TABLES, DECLARED.key("kmap")],
        [1, 2, 3].map(key)
    );
    assert_eq!(keys.closed(), KeyRegister::from_bits(0xFFFF_FFEC));
    assert_eq!(closed(&keys, TABLES), Rights::ReadOnly);
    assert!(keys.shared().contains(key(3).pkey()) && keys.shared().len() == 1);
    for (number, name) in [(1, Some("pmem")), (3, Some("kmap")), (4, None), (15, None)] {
        assert_eq!(keys.name(key(number)), name);
        let at_fault = keys.name_at_fault(key(number)).unwrap();
        assert_eq!(at_fault.as_str(), name.unwrap_or(""));
    }
}

pub(crate) fn exhaustion_names_the_holders() {
    let keys = keys();
    for number in 4..16 {
        let name = ["even", "odd"][number as usize % 2];
        let given = keys.allocate(name, Rights::NoAccess, PageState::Stray);
        assert_eq!(given, Ok(key(number)));
    }
    let exhausted = keys
        .allocate("late", Rights::NoAccess, PageState::Stray)
        .unwrap_err();
    let mut holders = vec!["pmem", "tables", "kmap"];
    holders.extend(["even", "odd"].repeat(6));
    assert_eq!(exhausted, Exhausted { holders });
    let text = exhausted.to_string();
    assert!(text.starts_with(
        "all supervisor keys are taken: 1 by pmem, 2 by tables, 3 by kmap, 4 by even"
    ));
    assert!(text.ends_with(", 15 by odd"), "{text}");
    // One that comes back is given out again.
    assert_eq!(keys.release(key(9), NOBODY), Ok(()));
    assert_eq!(
        keys.allocate("late", Rights::ReadOnly, PageState::Shared),
        Ok(key(9))
    );
    assert_eq!(keys.name(key(9)), Some("late"));
    assert_eq!(closed(&keys, key(9)), Rights::ReadOnly);
    assert!(keys.shared().contains(key(9).pkey()));
}

pub(crate) fn a_key_in_use_is_not_given_back() {
    let keys = keys();
    let given = keys
        .allocate("disk", Rights::ReadOnly, PageState::Shared)
        .unwrap();
    keys.count_pages(given, 3).unwrap();
    keys.count_pages(given, -1).unwrap();
    assert_eq!(keys.nr_pages(given), 2);
    let in_use = ReleaseError::InUse {
        key: given,
        name: "disk",
        nr_pages: 2,
    };
    assert_eq!(keys.release(given, NOBODY), Err(in_use));
    assert_eq!(in_use.to_string(), "supervisor key 4 of disk is on 2 pages");
    keys.count_pages(given, -2).unwrap();
    // Neither is one that everybody may read, before they are told that it is over.
    let not_closed = ReleaseError::NotClosed {
        key: given,
        name: "disk",
    };
    assert_eq!(keys.release(given, NOBODY), Err(not_closed));
    assert!(keys.close(given).unwrap().is_needed());
    assert!(!keys.close(given).unwrap().is_needed());
    assert_eq!(keys.release(given, NOBODY), Ok(()));
    // Nothing of the holder is left.
    assert_eq!(closed(&keys, given), Rights::NoAccess);
    assert!(!keys.shared().contains(given.pkey()));
    assert_eq!(keys.callback(given), None);

    let free = ReleaseError::Free { key: given };
    assert_eq!(keys.release(given, NOBODY), Err(free));
    assert_eq!(keys.count_pages(given, 1), Err(free));
    assert_eq!(keys.close(given), Err(free));
    let id = Callbacks::new(&[("mine", |_, _, _| true)]).id("mine");
    assert_eq!(keys.set_callback(given, Some(id)), Err(free));
    let declared = ReleaseError::Declared {
        key: key(1),
        name: "pmem",
    };
    assert_eq!(keys.release(key(1), NOBODY), Err(declared));
    assert_eq!(keys.close(key(1)), Err(declared));
}

pub(crate) fn a_key_that_a_thread_has_open_is_not_given_back() {
    let pks = system(silent(pkeys_core::Pardon::Context), false);
    let keys = pks.keys();
    let mut world = World::new(&pks);
    world.start(&[], false);
    let given = keys
        .allocate("disk", Rights::NoAccess, PageState::Stray)
        .unwrap();
    let thread = world.keep(Context::new());
    let closed = Context::new();
    pks::switch_to(&world, thread);
    let granted = pks::grant(&world, given, Rights::ReadOnly);
    let open = ReleaseError::Open {
        key: given,
        name: "disk",
    };
    assert_eq!(keys.release(given, [&closed, thread]), Err(open));
    assert!(keys.name(given).is_some());
    pks::revoke(&world, granted);
    assert_eq!(keys.release(given, [&closed, thread]), Ok(()));
}

/// What a naive registry knows of a key.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    name: &'static str,
    closed: Rights,
    nr_pages: usize,
}

pub(crate) fn calls_in_any_order_agree_with_a_list() {
    const NAMES: [&str; 3] = ["disk", "a name of more than thirty-two bytes", "net"];
    let mut chance = Chance::new(2);
    for _ in 0..200 {
        let keys: Keys<Lock> = Keys::new(&Declared::new([]));
        let mut model: [Option<Held>; 16] = [const { None }; 16];
        for _ in 0..80 {
            let number = 1 + chance.below(15);
            let key = key(u32::try_from(number).unwrap());
            match chance.below(6) {
                0..2 => {
                    let name = chance.of(&NAMES);
                    let closed = chance.of(&[Rights::NoAccess, Rights::ReadOnly]);
                    let given = keys.allocate(name, closed, PageState::Stray).ok();
                    let free = (1..16).find(|number| model[*number].is_none());
                    assert_eq!(given.map(|key| key.pkey().index()), free);
                    if let Some(number) = free {
                        let nr_pages = 0;
                        model[number] = Some(Held {
                            name,
                            closed,
                            nr_pages,
                        });
                    }
                }
                2..4 => {
                    let change = chance.of(&[1_isize, 2, -1, -2]);
                    let is_counted = keys.count_pages(key, change).is_ok();
                    assert_eq!(is_counted, model[number].is_some());
                    if let Some(held) = &mut model[number] {
                        held.nr_pages = held.nr_pages.saturating_add_signed(change);
                    }
                }
                4 => {
                    let is_closed = keys.close(key).is_ok();
                    assert_eq!(is_closed, model[number].is_some());
                    if let Some(held) = &mut model[number] {
                        held.closed = Rights::NoAccess;
                    }
                }
                _ => {
                    let is_released = keys.release(key, NOBODY).is_ok();
                    let may = model[number]
                        .as_ref()
                        .is_some_and(|held| held.nr_pages == 0 && held.closed == Rights::NoAccess);
                    assert_eq!(is_released, may);
                    if may {
                        model[number] = None;
                    }
                }
            }
            for key in PksKey::all() {
                let held = model[key.pkey().index()].as_ref();
                assert_eq!(keys.name(key), held.map(|held| held.name));
                assert_eq!(keys.nr_pages(key), held.map_or(0, |held| held.nr_pages));
                let rights = held.map_or(Rights::NoAccess, |held| held.closed);
                assert_eq!(closed(&keys, key), rights);
            }
        }
    }
}
