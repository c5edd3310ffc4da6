//! Which pages are one mapping, as `mremap(2)` and smaps show it.
//!
//! What is expected was seen on Linux 6.12, its oddities included.

use pkeys_kernel::abi::Errno;

use super::rig::*;

/// The mappings of the arena: first page, number of pages, protection, key.
fn shape(rig: &Rig<'_>) -> Vec<(u64, u64, u64, u8)> {
    let arena = ARENA..ARENA + 64 * PAGE;
    rig.space
        .mappings()
        .iter()
        .filter(|view| arena.contains(&view.start))
        .map(|view| {
            let first = (view.start - ARENA) / PAGE;
            let count = (view.end - view.start) / PAGE;
            (first, count, view.prot.bits(), view.pkey.get())
        })
        .collect()
}

fn with(check: impl FnOnce(&Rig<'_>, &User<'_, '_>)) {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    check(&rig, &rig.on(0));
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

fn at(page: u64) -> u64 {
    ARENA + page * PAGE
}

pub(crate) fn neighbours_that_are_equal_are_one() {
    with(|rig, user| {
        user.map_pages(0, 1, RW, PRIVATE);
        user.map_pages(2, 1, RW, PRIVATE);
        user.map_pages(1, 1, RW, PRIVATE);
        assert_eq!(shape(rig), [(0, 3, RW, 0)]);
        // A hole, and another protection.
        assert_eq!(user.munmap(at(1), PAGE), Ok(0));
        user.map_pages(3, 1, R, PRIVATE);
        assert_eq!(shape(rig), [(0, 1, RW, 0), (2, 1, RW, 0), (3, 1, R, 0)]);
        assert_eq!(user.mprotect(at(3), PAGE, RW), Ok(0));
        assert_eq!(shape(rig), [(0, 1, RW, 0), (2, 2, RW, 0)]);
        // Shared memory of two calls is not the same memory.
        user.map_pages(8, 1, RW, SHARED);
        user.map_pages(9, 1, RW, SHARED);
        assert_eq!(shape(rig)[2..], [(8, 1, RW, 0), (9, 1, RW, 0)]);
        // But two parts of one are.
        user.map_pages(12, 4, RW, SHARED);
        assert_eq!(user.mprotect(at(13), PAGE, R), Ok(0));
        assert_eq!(
            shape(rig)[4..],
            [(12, 1, RW, 0), (13, 1, R, 0), (14, 2, RW, 0)]
        );
        assert_eq!(user.mprotect(at(13), PAGE, RW), Ok(0));
        assert_eq!(shape(rig)[4..], [(12, 4, RW, 0)]);
    });
}

pub(crate) fn keys_and_seals_keep_neighbours_apart() {
    with(|rig, user| {
        let key = user.pkey_alloc(0);
        let number = u8::try_from(key).unwrap();
        user.map_pages(0, 4, RW, PRIVATE);
        assert_eq!(user.pkey_mprotect(at(1), 2 * PAGE, RW, key), Ok(0));
        assert_eq!(
            shape(rig),
            [(0, 1, RW, 0), (1, 2, RW, number), (3, 1, RW, 0)]
        );
        assert_eq!(user.pkey_mprotect(at(2), 2 * PAGE, RW, key), Ok(0));
        assert_eq!(shape(rig), [(0, 1, RW, 0), (1, 3, RW, number)]);
        // Plain mprotect keeps the keys, and so the border.
        assert_eq!(user.mprotect(at(0), 4 * PAGE, R), Ok(0));
        assert_eq!(shape(rig), [(0, 1, R, 0), (1, 3, R, number)]);
        assert_eq!(
            user.mremap(at(0), 2 * PAGE, 2 * PAGE, 3, at(16)),
            Err(Errno::Fault)
        );
        assert_eq!(user.pkey_mprotect(at(0), 4 * PAGE, R, 0), Ok(0));
        assert_eq!(shape(rig), [(0, 4, R, 0)]);
        assert_eq!(user.mseal(at(2), PAGE), Ok(0));
        assert_eq!(shape(rig), [(0, 2, R, 0), (2, 1, R, 0), (3, 1, R, 0)]);
        assert_eq!(user.mseal(at(0), 2 * PAGE), Ok(0));
        assert_eq!(shape(rig), [(0, 3, R, 0), (3, 1, R, 0)]);
    });
}

pub(crate) fn what_was_moved_is_known_by_where_it_was_mapped() {
    with(|rig, user| {
        user.map_pages(0, 1, RW, PRIVATE);
        user.map_pages(8, 1, RW, PRIVATE);
        // Never written to: it counts as mapped where it is now.
        assert_eq!(user.mremap(at(8), PAGE, PAGE, 3, at(1)), Ok(at(1)));
        assert_eq!(shape(rig), [(0, 2, RW, 0)]);
        // Written to: it keeps where it was mapped first.
        user.map_pages(8, 1, RW, PRIVATE);
        assert_eq!(user.write(at(8), 1), Ok(()));
        assert_eq!(user.mremap(at(8), PAGE, PAGE, 3, at(2)), Ok(at(2)));
        assert_eq!(shape(rig), [(0, 2, RW, 0), (2, 1, RW, 0)]);
        assert_eq!(
            user.mremap(at(1), 2 * PAGE, 2 * PAGE, 3, at(16)),
            Err(Errno::Fault)
        );
        // Back where it came from, a new neighbour joins it.
        assert_eq!(user.mremap(at(2), PAGE, PAGE, 3, at(8)), Ok(at(8)));
        user.map_pages(7, 1, RW, PRIVATE);
        assert_eq!(shape(rig), [(0, 2, RW, 0), (7, 2, RW, 0)]);
    });
}

pub(crate) fn families_of_pages_decide_with_their_oddities() {
    with(|rig, user| {
        // One that was written to does not join one that was not, when its protection changes.
        user.map_pages(0, 1, RW, PRIVATE);
        user.map_pages(1, 1, R, PRIVATE);
        assert_eq!(user.write(at(0), 1), Ok(()));
        assert_eq!(user.mprotect(at(1), PAGE, RW), Ok(0));
        assert_eq!(shape(rig), [(0, 2, RW, 0)], "the one without joins");
        user.map_pages(4, 1, RW, PRIVATE);
        user.map_pages(5, 1, R, PRIVATE);
        assert_eq!(user.write(at(4), 1), Ok(()));
        assert_eq!(user.mprotect(at(4), PAGE, R), Ok(0));
        assert_eq!(
            shape(rig)[1..],
            [(4, 1, R, 0), (5, 1, R, 0)],
            "the one with does not"
        );
        // Two that were written to while they differed have two families, unless they lay side by side.
        user.map_pages(8, 1, RW, PRIVATE);
        user.map_pages(10, 1, RW, PRIVATE);
        assert_eq!(user.write(at(8), 1), Ok(()));
        assert_eq!(user.write(at(10), 1), Ok(()));
        user.map_pages(9, 1, RW, PRIVATE);
        assert_eq!(shape(rig)[3..], [(8, 2, RW, 0), (10, 1, RW, 0)]);
    });
}

pub(crate) fn a_childs_mappings_are_joined_less_freely() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    user.map_pages(0, 1, RW, PRIVATE);
    assert_eq!(user.write(at(0), 1), Ok(()));
    let child = rig.fork().unwrap();
    let inside = Rig::with_space(&machine, child);
    for (rig, joined) in [(&rig, true), (&inside, false)] {
        rig.on(0).map_pages(1, 1, RW, PRIVATE);
        let expected: &[_] = if joined {
            &[(0, 2, RW, 0)]
        } else {
            &[(0, 1, RW, 0), (1, 1, RW, 0)]
        };
        assert_eq!(shape(rig), expected);
    }
    inside.end();
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn a_mapping_grows_where_it_ends_and_there_is_room() {
    with(|rig, user| {
        user.map_pages(0, 2, RW, PRIVATE);
        user.map_pages(4, 1, RW, PRIVATE);
        assert_eq!(user.mremap(at(1), PAGE, 2 * PAGE, 0, 0), Ok(at(1)));
        assert_eq!(shape(rig), [(0, 3, RW, 0), (4, 1, RW, 0)]);
        assert_eq!(
            user.mremap(at(1), PAGE, 2 * PAGE, 0, 0),
            Err(Errno::NoMemory),
            "not at its end"
        );
        assert_eq!(
            user.mremap(at(2), PAGE, 3 * PAGE, 0, 0),
            Err(Errno::NoMemory),
            "no room"
        );
        assert_eq!(user.mremap(at(2), PAGE, 2 * PAGE, 0, 0), Ok(at(2)));
        assert_eq!(shape(rig), [(0, 5, RW, 0)], "it meets the next one");
        // Without room it moves, and takes its bytes along.
        user.map_pages(5, 1, R, PRIVATE);
        assert_eq!(user.write(at(1), 7), Ok(()));
        let moved = user.mremap(at(0), 5 * PAGE, 6 * PAGE, 1, 0).unwrap();
        assert_eq!(user.read(moved + PAGE), Ok(7));
        assert_eq!(shape(rig), [(5, 1, R, 0)]);
        assert_eq!(user.mremap(moved, 6 * PAGE, PAGE, 0, 0), Ok(moved));
        assert_eq!(user.read(moved + PAGE).map_err(drop), Err(()));
    });
}

pub(crate) fn mremap_takes_the_key_along() {
    with(|rig, user| {
        let key = user.pkey_alloc(0);
        let number = u8::try_from(key).unwrap();
        for flags in [3, 7] {
            let addr = user.map_pages(0, 2, RW, PRIVATE);
            assert_eq!(user.pkey_mprotect(addr, 2 * PAGE, RW, key), Ok(0));
            assert_eq!(user.write(addr, 4), Ok(()));
            assert_eq!(
                user.mremap(addr, 2 * PAGE, 2 * PAGE, flags, at(16)),
                Ok(at(16))
            );
            let stays: &[_] = if flags == 7 {
                &[(0, 2, RW, number)]
            } else {
                &[]
            };
            assert_eq!(shape(rig), [stays, &[(16, 2, RW, number)]].concat());
            // The page that is there and the one that is not.
            user.set_pkru(3 << (2 * key));
            assert!(user.read(at(16)).is_err());
            assert!(user.read(at(17)).is_err());
            user.set_pkru(0);
            assert_eq!(user.read(at(16)), Ok(4));
            if flags == 7 {
                assert_eq!(user.read(at(0)), Ok(0), "what stays is empty");
            }
            assert_eq!(user.munmap(ARENA, 64 * PAGE), Ok(0));
        }
    });
}

pub(crate) fn addresses_are_found_from_the_top_down() {
    with(|rig, user| {
        let first = user.mmap(0, PAGE, RW, PRIVATE).unwrap();
        let second = user.mmap(0, 2 * PAGE, R, PRIVATE).unwrap();
        assert_eq!(second, first - 2 * PAGE);
        assert_eq!(user.munmap(first, PAGE), Ok(0));
        assert_eq!(
            user.mmap(0, PAGE, X, PRIVATE),
            Ok(first),
            "the highest that fits"
        );
        // A hint counts if the place is free, and is rounded down.
        assert_eq!(user.mmap(at(3) + 5, PAGE, RW, PRIVATE), Ok(at(3)));
        let elsewhere = user.mmap(at(2), 2 * PAGE, RW, PRIVATE).unwrap();
        assert_eq!(elsewhere, second - 2 * PAGE);
        // Too low a hint becomes the lowest address.
        assert_eq!(user.mmap(PAGE, PAGE, RW, PRIVATE), Ok(1 << 16));
        // A stack keeps its distance.
        let stack = user
            .mmap(at(1024), PAGE, RW, PRIVATE | FIXED | 0x100)
            .unwrap();
        let near = user.mmap(stack - PAGE, PAGE, RW, PRIVATE).unwrap();
        assert_ne!(near, stack - PAGE);
        assert_eq!(
            user.mmap(stack - PAGE, PAGE, R, PRIVATE | FIXED),
            Ok(stack - PAGE)
        );
        assert_eq!(rig.space.mapping(stack).unwrap().start, stack);
        assert_eq!(user.mmap(0, 1 << 47, RW, PRIVATE), Err(Errno::NoMemory));
    });
}

pub(crate) fn smaps_says_what_linux_says() {
    with(|rig, user| {
        let key = user.pkey_alloc(0);
        user.map_pages(0, 3, RX, SHARED);
        assert_eq!(user.pkey_mprotect(at(0), 3 * PAGE, RX, key), Ok(0));
        let text = rig.space.mapping(at(1)).unwrap().to_string();
        assert!(
            text.starts_with("40000000-40003000 r-xs 00000000 00:00 0"),
            "{text}"
        );
        assert!(text.contains("\nSize:                 12 kB\n"), "{text}");
        assert!(text.contains("\nProtectionKey:         1\n"), "{text}");
        assert_eq!(rig.space.mapping(at(3)), None);
    });
}
