//! Copies on write: who sees what after a fork, and when a frame is copied.

use pkeys_core::LeafSize;
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::memory::FaultEnd;

use super::rig::*;

/// Runs in another address space on CPU 0.
fn within<'m, R>(rig: &Rig<'m>, space: &TestSpace<'m>, f: impl FnOnce(&User<'_, 'm>) -> R) -> R {
    let cpu = rig.machine.cpu(0);
    space.activate(&cpu);
    let user = User {
        space,
        cpu,
        keys: &rig.threads[0],
    };
    let answer = f(&user);
    rig.space.activate(&cpu);
    space.deactivate(&cpu);
    answer
}

fn nr_pages(rig: &Rig<'_>) -> usize {
    rig.machine.memory().nr_allocated(LeafSize::Size4K)
}

pub(crate) fn each_side_keeps_its_own_whoever_writes_first() {
    for parent_first in [true, false] {
        let machine = machine(1);
        let rig = Rig::new(&machine);
        let addr = rig.on(0).map_pages(0, 2, RW, PRIVATE);
        assert_eq!(rig.on(0).write(addr, 1), Ok(()));
        let child = rig.fork().unwrap();
        let parent_writes = || assert_eq!(rig.on(0).write(addr, 2), Ok(()));
        let child_writes = || within(&rig, &child, |user| assert_eq!(user.write(addr, 3), Ok(())));
        if parent_first {
            parent_writes();
            assert_eq!(within(&rig, &child, |user| user.read(addr)), Ok(1));
            child_writes();
        } else {
            child_writes();
            assert_eq!(rig.on(0).read(addr), Ok(1));
            parent_writes();
        }
        assert_eq!(rig.on(0).read(addr), Ok(2));
        assert_eq!(within(&rig, &child, |user| user.read(addr)), Ok(3));
        // What nobody had touched is each one's own as well.
        within(&rig, &child, |user| {
            assert_eq!(user.write(addr + PAGE, 4), Ok(()))
        });
        assert_eq!(rig.on(0).read(addr + PAGE), Ok(0));
        drop(child);
        rig.end();
        assert_eq!(nr_frames(&machine), [0; 3]);
    }
}

pub(crate) fn the_last_owner_writes_in_place() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let addr = rig.on(0).map_pages(0, 1, RW, PRIVATE);
    assert_eq!(rig.on(0).write(addr, 1), Ok(()));
    let before = nr_pages(&rig);
    let child = rig.fork().unwrap();
    let grandchild = child.fork(&rig.on(0).caller()).unwrap();
    drop(child);
    assert_eq!(rig.on(0).write(addr, 2), Ok(()));
    within(&rig, &grandchild, |user| assert_eq!(user.read(addr), Ok(1)));
    drop(grandchild);
    assert_eq!(nr_pages(&rig), before);
    let child = rig.fork().unwrap();
    drop(child);
    // There is nobody left who could see it, so that no frame is needed.
    rig.machine.memory().set_limit_bytes(0);
    assert_eq!(rig.on(0).write(addr, 3), Ok(()));
    assert_eq!(rig.on(0).read(addr), Ok(3));
    rig.end();
}

pub(crate) fn shared_memory_is_one_for_both() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let addr = rig.on(0).map_pages(0, 3, RW, SHARED);
    assert_eq!(rig.on(0).write(addr, 1), Ok(()));
    let child = rig.fork().unwrap();
    within(&rig, &child, |user| {
        assert_eq!(user.read(addr), Ok(1));
        assert_eq!(user.write(addr + PAGE, 2), Ok(()));
        assert_eq!(user.madvise(addr, 3 * PAGE, 4), Ok(0));
        assert_eq!(
            user.read(addr),
            Ok(1),
            "it survives that it is dropped here"
        );
    });
    assert_eq!(rig.on(0).read(addr + PAGE), Ok(2));
    assert_eq!(rig.on(0).munmap(addr, 2 * PAGE), Ok(0));
    within(&rig, &child, |user| {
        assert_eq!(
            user.read(addr),
            Ok(1),
            "it survives that the other side goes"
        );
        // A second mapping of the same memory.
        let twin = user.mremap(addr, 0, PAGE, 3, addr + 64 * PAGE).unwrap();
        assert_eq!(user.write(twin, 7), Ok(()));
        assert_eq!(user.read(addr), Ok(7));
        // A mapping that outgrows what it maps.
        let twin = user.mremap(twin, PAGE, 4 * PAGE, 1, 0).unwrap();
        assert_eq!(user.read(twin + PAGE), Ok(2));
        assert_eq!(user.read(twin + 3 * PAGE), Err(FaultEnd::Bus));
    });
    drop(child);
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn a_page_that_was_only_read_costs_nothing() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let addr = rig.on(0).map_pages(0, 64, RW, PRIVATE);
    assert_eq!(rig.on(0).read(addr), Ok(0));
    let before = nr_pages(&rig);
    for page in 0..64 {
        assert_eq!(rig.on(0).read(addr + page * PAGE), Ok(0));
    }
    assert_eq!(nr_pages(&rig), before);
    assert_eq!(rig.on(0).write(addr, 1), Ok(()));
    assert_eq!(nr_pages(&rig), before + 1);
    for page in 1..64 {
        assert_eq!(rig.on(0).read(addr + page * PAGE), Ok(0), "page {page}");
    }
    rig.end();
}

pub(crate) fn pages_survive_prot_none_and_a_fork_under_it() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 1, RW, PRIVATE);
    assert_eq!(user.write(addr, 5), Ok(()));
    assert_eq!(user.mprotect(addr, PAGE, NONE), Ok(0));
    let child = rig.fork().unwrap();
    assert_eq!(user.mprotect(addr, PAGE, RW), Ok(0));
    assert_eq!(user.write(addr, 6), Ok(()));
    within(&rig, &child, |user| {
        assert_eq!(user.read(addr), Err(FaultEnd::Segv(Segv::ACCERR)));
        assert_eq!(user.mprotect(addr, PAGE, RW), Ok(0));
        assert_eq!(user.read(addr), Ok(5));
    });
    assert_eq!(rig.on(0).read(addr), Ok(6));
    drop(child);
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn a_child_has_the_keys_of_its_parent() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 1, RW, PRIVATE);
    let key = user.pkey_alloc(0);
    assert_eq!(user.pkey_mprotect(addr, PAGE, RW, key), Ok(0));
    assert_eq!(user.write(addr, 5), Ok(()));
    let child = rig.fork().unwrap();
    assert_eq!(child.keys().state(), rig.space.keys().state());
    assert_eq!(child.mapping(addr), rig.space.mapping(addr));
    within(&rig, &child, |user| {
        user.set_pkru(1 << (2 * key));
        assert_eq!(
            user.read(addr),
            Err(FaultEnd::Segv(Segv::pkuerr(pkey(key))))
        );
        assert_eq!(user.space.pkey_free(&user.caller(), key), Ok(0));
        user.set_pkru(0);
        assert_eq!(user.read(addr), Ok(5));
    });
    assert!(
        rig.space.keys().map().is_allocated(key),
        "the parent's is another map"
    );
    drop(child);
    rig.end();
}
