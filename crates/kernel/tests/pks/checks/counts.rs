//! How often the register is written: when it must change, and not once more.

use pkeys_core::{Pardon, Rights};
use pkeys_kernel::pks::{self, Context, Grant, Granted, PksCpu as _, PksKey};

use super::chance::Chance;
use super::system::{CLOSED, ONE, SHARED, THREE, TWO, register, silent, system};
use super::world::World;

const ALL_RIGHTS: [Rights; 3] = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];

/// On the first CPU of a world that has just started.
fn in_world(check: impl FnOnce(&World<'_>)) {
    let pks = system(silent(Pardon::Context), false);
    let mut world = World::new(&pks);
    world.start(&[], false);
    check(&world);
    assert_eq!(world.end().1, None);
}

/// A thread with rights on two keys.
fn thread<'w>(world: &'w World<'_>, rights: [Rights; 2]) -> &'w Context {
    let before = world.current();
    let context = world.keep(Context::new());
    pks::switch_to(world, context);
    let _ = [ONE, TWO]
        .into_iter()
        .zip(rights)
        .map(|(key, rights)| pks::grant(world, key, rights))
        .collect::<Vec<_>>();
    pks::switch_to(world, before);
    world.take_writes();
    context
}

pub(crate) fn a_cpu_starts_with_one_write() {
    let pks = system(silent(Pardon::Context), false);
    for is_equal in [false, true] {
        let world = World::new(&pks);
        let context = world.keep(Context::new());
        if is_equal {
            // What reset has left is what is wanted: it is written all the same.
            world.write_pkrs(pks.closed());
            world.take_writes();
        }
        pks::start_cpu(&world, context);
        assert_eq!(world.take_writes(), 1);
        assert_eq!(world.pkrs(), register(CLOSED, &[], &[]));
        assert_eq!(world.end().1, None);
    }
}

pub(crate) fn a_switch_writes_only_between_different_rights() {
    let pairs = || {
        ALL_RIGHTS
            .into_iter()
            .flat_map(|one| ALL_RIGHTS.map(|two| [one, two]))
    };
    for from in pairs() {
        for to in pairs() {
            in_world(|world| {
                let [from_thread, to_thread] = [from, to].map(|rights| thread(world, rights));
                pks::switch_to(world, from_thread);
                world.take_writes();
                pks::switch_to(world, to_thread);
                assert_eq!(
                    world.take_writes(),
                    usize::from(from != to),
                    "{from:?} to {to:?}"
                );
            });
        }
    }
}

pub(crate) fn an_exception_writes_only_around_open_code() {
    for rights in ALL_RIGHTS {
        let is_open = rights != Rights::NoAccess;
        in_world(|world| {
            let thread = thread(world, [rights, Rights::NoAccess]);
            pks::switch_to(world, thread);
            world.take_writes();
            let [first, second] = [(); 2].map(|()| world.keep(Context::new()));
            pks::enter(world, first);
            assert_eq!(world.take_writes(), usize::from(is_open));
            // A nested one, an NMI say, finds everything closed.
            pks::enter(world, second);
            pks::leave(world, first);
            assert_eq!(world.take_writes(), 0);
            pks::leave(world, thread);
            assert_eq!(world.take_writes(), usize::from(is_open));
        });
    }
}

pub(crate) fn a_nested_grant_that_adds_nothing_writes_nothing() {
    in_world(|world| {
        let outer = Grant::new(world, ONE, Rights::ReadWrite);
        assert_eq!(world.take_writes(), 1);
        for rights in ALL_RIGHTS {
            drop(Grant::new(world, ONE, rights));
        }
        assert_eq!(world.take_writes(), 0);
        drop(outer);
        assert_eq!(world.take_writes(), 1);
        pks::end_of_context(world);
        assert_eq!(world.take_writes(), 0);
        // A refresh does not rely on the cache.
        pks::refresh(world);
        assert_eq!(world.take_writes(), 1);
    });
}

/// Grants of all kinds that end in any order, against a list of them.
pub(crate) fn grants_in_any_order_agree_with_a_list() {
    let mut chance = Chance::new(1);
    for _ in 0..300 {
        in_world(|world| {
            let mut open: Vec<Granted> = Vec::new();
            for _ in 0..40 {
                let before = world.pkrs();
                if open.is_empty() || !chance.one_in(3) {
                    let key = chance.of(&[ONE, TWO, THREE, SHARED]);
                    open.push(pks::grant(world, key, chance.of(&ALL_RIGHTS)));
                } else {
                    let place = chance.below(open.len());
                    pks::revoke(world, open.swap_remove(place));
                }
                let keys_with = |rights: Rights| -> Vec<PksKey> {
                    let with = open.iter().filter(|granted| granted.rights() == rights);
                    with.map(Granted::key).collect()
                };
                let [reads, writes] = [Rights::ReadOnly, Rights::ReadWrite].map(keys_with);
                assert_eq!(world.pkrs(), register(CLOSED, &reads, &writes));
                assert_eq!(world.take_writes(), usize::from(world.pkrs() != before));
            }
        });
    }
}
