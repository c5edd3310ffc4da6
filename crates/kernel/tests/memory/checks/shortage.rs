//! Memory runs out: at every allocation that a call makes, one after the other.
//!
//! After each failure the program sees what it saw before, the call succeeds once there is memory again, and in the end
//! nothing is left allocated.

use pkeys_kernel::abi::Errno;
use pkeys_kernel::memory::{FaultEnd, Pool, PoolSettings, Space};
use pkeys_machine::{Machine, Memory};

use super::rig::*;

/// Tries something with room for no page, for one, for two, until it goes well. Gives the number that was enough.
///
/// `scene` prepares, `act` answers whether there was memory, `check` looks at what is there: after a failure with
/// `false`, after the success with `true`.
fn starve(
    scene: impl Fn(&User<'_, '_>),
    act: impl Fn(&Rig<'_>) -> bool,
    check: impl Fn(&User<'_, '_>, bool),
) -> u64 {
    for room in 0.. {
        let machine = machine(1);
        let rig = Rig::new(&machine);
        scene(&rig.on(0));
        let memory = machine.memory();
        memory.set_limit_bytes(memory.allocated_bytes() + room * PAGE);
        let is_enough = act(&rig);
        memory.set_limit_bytes(16 << 20);
        check(&rig.on(0), is_enough);
        if !is_enough {
            assert!(act(&rig), "with memory again, after {room} pages");
            check(&rig.on(0), true);
        }
        rig.end();
        assert_eq!(nr_frames(&machine), [0; 3], "after {room} pages");
        if is_enough {
            return room;
        }
    }
    unreachable!()
}

/// Whether a call had memory; any other error is a failure of the test.
fn had<T: core::fmt::Debug>(result: Result<T, Errno>) -> bool {
    match result {
        Ok(_) => true,
        Err(Errno::NoMemory) => false,
        Err(other) => panic!("{other}"),
    }
}

fn went<T: core::fmt::Debug>(result: Result<T, FaultEnd>) -> bool {
    match result {
        Ok(_) => true,
        Err(FaultEnd::OutOfMemory) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Two pages with 1 and 2 in them, in tables of their own.
fn two_pages(user: &User<'_, '_>) {
    let addr = user.map_pages(0, 2, RW, PRIVATE);
    assert_eq!(user.write(addr, 1), Ok(()));
    assert_eq!(user.write(addr + PAGE, 2), Ok(()));
}

pub(crate) fn a_fault_that_finds_no_memory_can_be_tried_again() {
    for flags in [PRIVATE, SHARED] {
        let map = |user: &User<'_, '_>| {
            user.map_pages(0, 1, RW, flags);
        };
        let needed = starve(map, |rig| went(rig.on(0).write(ARENA, 1)), |_, _| ());
        assert_eq!(needed, 4, "a page and three tables");
        let needed = starve(map, |rig| went(rig.on(0).read(ARENA)), |_, _| ());
        assert_eq!(needed, if flags == SHARED { 4 } else { 3 });
    }
}

pub(crate) fn a_copy_that_finds_no_memory_leaves_the_page() {
    let room = starve(
        two_pages,
        |rig| {
            let child = rig.space.fork(&rig.on(0).caller());
            let Ok(child) = child else { return false };
            let is_done = went(rig.on(0).write(ARENA, 7));
            // The child has what was there before, whether the parent got its copy or not.
            let mut seen = [0];
            let cpu = rig.machine.cpu(0);
            assert_eq!(child.read_remote(&cpu, ARENA, &mut seen, false), Ok(()));
            assert!(seen == [1] || seen == [7]);
            is_done
        },
        |user, is_done| {
            let expected = if is_done { 7 } else { 1 };
            assert_eq!(user.read(ARENA), Ok(expected));
            assert_eq!(user.read(ARENA + PAGE), Ok(2));
        },
    );
    assert_eq!(room, 5, "the child's four tables and the copy");
}

pub(crate) fn a_fork_that_finds_no_memory_leaves_the_parent_alone() {
    let room = starve(
        two_pages,
        |rig| had(rig.fork().map(drop)),
        |user, _| {
            assert_eq!(user.read(ARENA), Ok(1));
            assert_eq!(user.write(ARENA + PAGE, 2), Ok(()));
        },
    );
    assert_eq!(room, 4);
}

pub(crate) fn a_move_that_finds_no_memory_moves_nothing() {
    let to = 5 << 39;
    let room = starve(
        two_pages,
        |rig| had(rig.on(0).mremap(ARENA, 2 * PAGE, 2 * PAGE, 3, to)),
        |user, is_done| {
            let at = if is_done { to } else { ARENA };
            assert_eq!(user.read(at), Ok(1));
            assert_eq!(user.read(at + PAGE), Ok(2));
            assert_eq!(user.space.mappings().len(), 1);
        },
    );
    assert_eq!(
        room, 3,
        "three tables for another part of the address space"
    );
}

pub(crate) fn copies_and_populating_stop_where_memory_ends() {
    let scene = |user: &User<'_, '_>| {
        user.map_pages(0, 3, RW, PRIVATE);
    };
    let bytes = vec![6; 2 * PAGE as usize];
    let room = starve(
        scene,
        |rig| {
            let user = rig.on(0);
            match user.space.copy_to_user(&user.caller(), ARENA + 1, &bytes) {
                Ok(()) => true,
                Err(left) => {
                    // What was copied is there, and ends at a page.
                    assert!(
                        [bytes.len(), bytes.len() - 4095, 1].contains(&left),
                        "{left}"
                    );
                    false
                }
            }
        },
        |_, _| (),
    );
    assert_eq!(room, 6);
    let populate = |rig: &Rig<'_>| had(rig.on(0).madvise(ARENA, 3 * PAGE, 23));
    assert_eq!(starve(scene, populate, |_, _| ()), 6);
    let force = |rig: &Rig<'_>| {
        let cpu = rig.machine.cpu(0);
        rig.space.write_remote(&cpu, ARENA, &[1], true).is_ok()
    };
    assert_eq!(starve(scene, force, |_, _| ()), 4);
    let pin = |rig: &Rig<'_>| had(rig.space.pin(&rig.on(0).caller(), ARENA, true));
    assert_eq!(starve(scene, pin, |_, _| ()), 4);
    // MAP_POPULATE says nothing of what it could not do.
    for room in 0..8 {
        let machine = machine(1);
        let rig = Rig::new(&machine);
        let memory = machine.memory();
        memory.set_limit_bytes(memory.allocated_bytes() + room * PAGE);
        rig.on(0).map_pages(0, 3, RW, PRIVATE | 0x8000);
        rig.end();
        assert_eq!(nr_frames(&machine), [0; 3]);
    }
}

pub(crate) fn the_page_of_keys_and_new_spaces_need_memory() {
    let room = starve(
        |_| (),
        |rig| {
            let user = rig.on(0);
            had(user.space.map_key_page(&user.caller()))
        },
        |_, _| (),
    );
    assert_eq!(room, 1);
    let with_page = |user: &User<'_, '_>| {
        two_pages(user);
        user.space.map_key_page(&user.caller()).unwrap();
    };
    let room = starve(with_page, |rig| had(rig.fork().map(drop)), |_, _| ());
    assert_eq!(room, 5, "the child's tables and its own page of keys");

    let settings = PoolSettings {
        nr_2m: 2,
        ..PoolSettings::default()
    };
    for (limit, is_enough) in [
        (0, false),
        (PAGE, false),
        (4 << 20, false),
        ((4 << 20) + PAGE, true),
    ] {
        let machine = Machine::new(1, limit);
        let pool: Result<TestPool<'_>, _> = Pool::new(machine.memory(), settings);
        assert_eq!(pool.is_ok(), is_enough, "{limit:#x}");
        if let Ok(pool) = pool {
            let space: Result<Space<&Memory, Lock>, _> = Space::new(pool);
            assert!(space.is_err(), "there is nothing left for a root");
        }
        assert_eq!(nr_frames(&machine), [0; 3]);
    }
}
