//! Huge pages: leaves of 2 MiB and 1 GiB with keys, and the reserve they come from.

use pkeys_core::LeafSize;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::memory::{FaultEnd, PoolSettings};
use pkeys_machine::Machine;

use super::rig::*;

const MB2: u64 = 2 << 20;
const GB: u64 = 1 << 30;
const SIZE_1G: u64 = 30 << 26;

/// Runs with a reserve of so many pages of 2 MiB and 1 GiB, and looks that nothing stays.
fn with_reserve(nr_2m: usize, nr_1g: usize, check: impl FnOnce(&Rig<'_>)) {
    let machine = Machine::new(2, 8 << 30);
    let settings = PoolSettings {
        nr_2m,
        nr_1g,
        ..PoolSettings::default()
    };
    let rig = Rig::with_settings(&machine, settings);
    check(&rig);
    let sizes = [(LeafSize::Size2M, nr_2m), (LeafSize::Size1G, nr_1g)];
    let pool = rig.space.pool().clone();
    rig.end();
    for (size, count) in sizes {
        let count = u64::try_from(count).unwrap();
        assert_eq!(pool.nr_huge_free(size), (count, 0), "{size}");
    }
    drop(pool);
    assert_eq!(nr_frames(&machine), [0; 3]);
}

fn free(rig: &Rig<'_>, size: LeafSize) -> (u64, u64) {
    rig.space.pool().nr_huge_free(size)
}

pub(crate) fn keys_hold_on_leaves_of_both_sizes() {
    with_reserve(2, 2, |rig| {
        let user = rig.on(0);
        let key = user.pkey_alloc(0);
        let pkuerr = Err(FaultEnd::Segv(Segv::pkuerr(pkey(key))));
        for (bytes, size, leaf) in [(MB2, 0, LeafSize::Size2M), (GB, SIZE_1G, LeafSize::Size1G)] {
            for kind in [PRIVATE, SHARED] {
                let addr = user.mmap(0, 2 * bytes, RW, kind | HUGE | size).unwrap();
                assert_eq!(addr % bytes, 0);
                user.set_pkru(0);
                assert_eq!(user.write(addr + bytes - 1, 5), Ok(()));
                assert_eq!(user.write(addr + bytes, 6), Ok(()));
                assert_eq!(user.pkey_mprotect(addr, bytes, RW, key), Ok(0));
                user.set_pkru(3 << (2 * key));
                let entry = |addr| rig.machine.cpu(0).tlb_entry(addr).unwrap();
                assert_eq!(user.read(addr + 1).map(drop), pkuerr);
                assert_eq!(user.write(addr + bytes - 1, 1), pkuerr);
                assert_eq!(user.read(addr + bytes), Ok(6), "the next page has key 0");
                assert_eq!(entry(addr + bytes).size, leaf);
                let view = rig.space.mapping(addr).unwrap();
                assert_eq!((view.page_size, view.pkey), (leaf, pkey(key)));
                assert_eq!(view.end - view.start, bytes);
                user.set_pkru(0);
                assert_eq!(user.read(addr + bytes - 1), Ok(5));
                assert_eq!(user.munmap(addr, 2 * bytes), Ok(0));
                assert_eq!(free(rig, leaf), (2, 0));
            }
        }
    });
}

pub(crate) fn a_huge_page_is_changed_as_a_whole_or_not_at_all() {
    with_reserve(3, 0, |rig| {
        let user = rig.on(0);
        let addr = ARENA;
        let flags = PRIVATE | HUGE | FIXED;
        let invalid = Err(Errno::Invalid);
        assert_eq!(user.mmap(addr + PAGE, MB2, RW, flags), invalid);
        assert_eq!(
            user.mmap(addr, MB2, RW, flags | 29 << 26),
            invalid,
            "no such size"
        );
        assert_eq!(user.mmap(addr, 0, RW, flags), invalid);
        // A length is rounded up.
        assert_eq!(user.mmap(addr, MB2 + 1, RW, flags), Ok(addr));
        assert_eq!(rig.space.mapping(addr).unwrap().end, addr + 2 * MB2);
        assert_eq!(user.write(addr, 5), Ok(()));
        assert_eq!(user.munmap(addr + PAGE, PAGE), invalid);
        assert_eq!(user.munmap(addr, PAGE), invalid);
        assert_eq!(user.mprotect(addr, PAGE, R), invalid);
        assert_eq!(user.mprotect(addr + PAGE, MB2, R), invalid);
        assert_eq!(user.mseal(addr, PAGE), invalid);
        assert_eq!(user.madvise(addr + PAGE, MB2, 4), invalid);
        assert_eq!(
            user.madvise(addr, MB2 - PAGE, 4),
            Ok(0),
            "rounded down to nothing"
        );
        assert_eq!(
            user.mremap(addr + PAGE, MB2, MB2, 3, addr + 8 * MB2),
            invalid
        );
        assert_eq!(
            user.mremap(addr, MB2, 2 * MB2, 1, 0),
            invalid,
            "they do not grow"
        );
        assert_eq!(user.read(addr), Ok(5));
        // They move, and the key moves along.
        let key = user.pkey_alloc(0);
        assert_eq!(user.pkey_mprotect(addr, 2 * MB2, RW, key), Ok(0));
        let to = addr + 8 * MB2;
        assert_eq!(user.mremap(addr, 2 * MB2, 2 * MB2, 3, to), Ok(to));
        assert_eq!(user.read(to), Ok(5));
        assert_eq!(rig.space.mapping(to).unwrap().pkey, pkey(key));
        assert_eq!(
            free(rig, LeafSize::Size2M),
            (2, 1),
            "the promise moved along"
        );
        assert_eq!(user.madvise(to, MB2, 4), Ok(0));
        assert_eq!(
            free(rig, LeafSize::Size2M),
            (3, 2),
            "and comes back with the page"
        );
        assert_eq!(user.read(to), Ok(0));
    });
}

pub(crate) fn a_mapping_is_promised_its_pages() {
    with_reserve(3, 0, |rig| {
        let user = rig.on(0);
        let size = LeafSize::Size2M;
        let at = |page: u64| ARENA + page * MB2;
        let map =
            |page, count: u64, flags| user.mmap(at(page), count * MB2, RW, flags | HUGE | FIXED);
        assert_eq!(map(0, 4, PRIVATE), Err(Errno::NoMemory));
        assert_eq!(map(0, 2, PRIVATE), Ok(at(0)));
        assert_eq!(free(rig, size), (3, 2));
        assert_eq!(map(4, 2, SHARED), Err(Errno::NoMemory));
        assert_eq!(map(4, 1, SHARED), Ok(at(4)));
        assert_eq!(free(rig, size), (3, 3));
        // Without a promise there is SIGBUS when the reserve is empty, or all of it promised.
        let noreserve = 0x4000;
        assert_eq!(map(8, 1, PRIVATE | noreserve), Ok(at(8)));
        assert_eq!(user.write(at(8), 1), Err(FaultEnd::Bus));
        assert_eq!(user.write(at(0), 1), Ok(()));
        assert_eq!(user.write(at(4), 1), Ok(()));
        assert_eq!(free(rig, size), (1, 1));
        assert_eq!(user.munmap(at(1), MB2), Ok(0));
        assert_eq!(free(rig, size), (1, 0));
        assert_eq!(user.write(at(8), 1), Ok(()));
        assert_eq!(free(rig, size), (0, 0));
        // What was used comes back clean.
        assert_eq!(user.munmap(at(8), MB2), Ok(0));
        assert_eq!(map(8, 1, PRIVATE), Ok(at(8)));
        assert_eq!(user.read(at(8)), Ok(0));
    });
}

pub(crate) fn a_fork_shares_huge_pages_and_gets_no_promises() {
    with_reserve(3, 0, |rig| {
        let user = rig.on(0);
        let addr = ARENA;
        assert_eq!(
            user.mmap(addr, 2 * MB2, RW, PRIVATE | HUGE | FIXED),
            Ok(addr)
        );
        assert_eq!(user.write(addr, 5), Ok(()));
        let child = rig.fork().unwrap();
        assert_eq!(free(rig, LeafSize::Size2M), (2, 1), "the parent's");
        let cpu = rig.machine.cpu(0);
        let mut seen = [0];
        assert_eq!(child.read_remote(&cpu, addr, &mut seen, false), Ok(()));
        assert_eq!(seen, [5]);
        // The copy is the last page that is nobody's.
        assert_eq!(child.write_remote(&cpu, addr, &[6], false), Ok(()));
        assert_eq!(user.read(addr), Ok(5));
        assert_eq!(free(rig, LeafSize::Size2M), (1, 1));
        assert_eq!(
            child.write_remote(&cpu, addr + MB2, &[6], false),
            Err(1),
            "promised to the parent"
        );
        assert_eq!(user.write(addr + MB2, 7), Ok(()));
        assert_eq!(user.write(addr, 8), Ok(()), "nobody shares it any more");
        drop(child);
        assert_eq!(free(rig, LeafSize::Size2M), (1, 0));
    });
}

pub(crate) fn dropped_pages_that_a_child_keeps_break_the_promise() {
    with_reserve(2, 0, |rig| {
        let user = rig.on(0);
        let addr = ARENA;
        assert_eq!(
            user.mmap(addr, 2 * MB2, RW, PRIVATE | HUGE | FIXED),
            Ok(addr)
        );
        assert_eq!(user.write(addr, 5), Ok(()));
        assert_eq!(user.write(addr + MB2, 6), Ok(()));
        let child = rig.fork().unwrap();
        assert_eq!(user.madvise(addr, 2 * MB2, 4), Ok(0));
        assert_eq!(free(rig, LeafSize::Size2M), (0, 0));
        assert_eq!(user.write(addr, 1), Err(FaultEnd::Bus));
        drop(child);
        assert_eq!(user.write(addr, 1), Ok(()));
        assert_eq!(user.write(addr + MB2, 1), Ok(()));
    });
}
