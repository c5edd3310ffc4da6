//! When several arguments are wrong at once, the error is that of the first check in Linux's order.
//!
//! Each call is made with every combination of good and bad arguments. What is expected is a list of conditions in the
//! order in which Linux looks at them.

use pkeys_kernel::abi::Errno;

use super::rig::*;

const GROWSDOWN: u64 = 0x0100_0000;
const GROWSUP: u64 = 0x0200_0000;
const NOREPLACE: u64 = 0x10_0000;

/// The first condition that holds gives the answer.
fn first<R: Copy>(conditions: &[(bool, R)], otherwise: R) -> R {
    conditions
        .iter()
        .find(|(holds, _)| *holds)
        .map_or(otherwise, |(_, answer)| *answer)
}

pub(crate) fn pkey_mprotect_checks_in_linux_order() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let mapped = user.map_pages(0, 4, RW, PRIVATE);
    let sealed = user.map_pages(8, 1, RW, PRIVATE);
    assert_eq!(user.mseal(sealed, PAGE), Ok(0));
    let unmapped = ARENA + 64 * PAGE;
    let key = user.pkey_alloc(0);
    let hidden = user.map_pages(16, 1, X, PRIVATE);
    let hidden = i32::from(rig.space.mapping(hidden).unwrap().pkey.get());
    let mut count = 0;
    for start in [mapped, mapped + 1, unmapped, sealed] {
        for len in [PAGE, 1, 0, u64::MAX, 8 * PAGE] {
            for prot in [
                RW,
                R | 8,
                R | 16,
                R | 1 << 40,
                RW | GROWSDOWN,
                RW | GROWSUP,
                RW | GROWSDOWN | GROWSUP,
            ] {
                for pkey in [-1, 0, key, -2, key + 5, 16, hidden, i32::MIN] {
                    let grows = prot & (GROWSDOWN | GROWSUP);
                    let bad_key = ![-1, 0, key].contains(&pkey);
                    let invalid = Err(Errno::Invalid);
                    let no_memory = Err(Errno::NoMemory);
                    let expected = first(
                        &[
                            (grows == GROWSDOWN | GROWSUP, invalid),
                            (start % PAGE != 0, invalid),
                            (len == 0, Ok(0)),
                            (len == u64::MAX, no_memory),
                            (prot & !(15 | GROWSDOWN | GROWSUP) != 0, invalid),
                            (bad_key, invalid),
                            (start == unmapped, no_memory),
                            (grows != 0, invalid),
                            (start == sealed, Err(Errno::Perm)),
                            // What was done before the hole stays done: the pages are equal again below.
                            (len == 8 * PAGE, no_memory),
                        ],
                        Ok(0),
                    );
                    let found = user.pkey_mprotect(start, len, prot, pkey);
                    assert_eq!(found, expected, "{start:#x} {len:#x} {prot:#x} {pkey}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 4 * 5 * 7 * 8);
    rig.end();
}

pub(crate) fn a_hole_ends_mprotect_and_leaves_what_was_done() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 2, RW, PRIVATE);
    user.map_pages(3, 1, RW, PRIVATE);
    assert_eq!(user.mprotect(addr, 4 * PAGE, R), Err(Errno::NoMemory));
    let prot = |page| rig.space.mapping(addr + page * PAGE).map(|view| view.prot);
    assert_eq!(prot(0), Some(prot_of(R)));
    assert_eq!(prot(1), Some(prot_of(R)));
    assert_eq!(prot(2), None);
    assert_eq!(prot(3), Some(prot_of(RW)));
    rig.end();
}

pub(crate) fn mmap_checks_in_linux_order() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let taken = user.map_pages(0, 1, RW, PRIVATE);
    let sealed = user.map_pages(4, 1, RW, PRIVATE);
    assert_eq!(user.mseal(sealed, PAGE), Ok(0));
    let free = ARENA + 32 * PAGE;
    let mut count = 0;
    for offset in [0, PAGE, 1] {
        for anonymous in [ANON, 0] {
            for len in [PAGE, 0, u64::MAX, 1 << 48] {
                for addr in [free, taken, sealed, free + 1, PAGE, 0x7fff_ffff_f000] {
                    for fixed in [FIXED, NOREPLACE, FIXED | NOREPLACE] {
                        for kind in [2, 1, 0, 3, 4, 8, 2 | 0x100, 1 | 0x100] {
                            let has_grown = kind & 0x100 != 0 && kind & 1 != 0;
                            let is_exclusive = fixed & NOREPLACE != 0;
                            let occupied = addr == taken || addr == sealed;
                            let invalid = Err(Errno::Invalid);
                            let expected = first(
                                &[
                                    (offset == 1, invalid),
                                    (anonymous == 0, Err(Errno::BadDescriptor)),
                                    (len == 0, invalid),
                                    (len != PAGE, Err(Errno::NoMemory)),
                                    (addr == 0x7fff_ffff_f000, Err(Errno::NoMemory)),
                                    (addr % PAGE != 0, invalid),
                                    (addr == PAGE, Err(Errno::Perm)),
                                    (is_exclusive && occupied, Err(Errno::Exists)),
                                    ([0, 3, 4].contains(&kind) || has_grown, invalid),
                                    (addr == sealed, Err(Errno::Perm)),
                                ],
                                Ok(addr),
                            );
                            let flags = anonymous | fixed | kind;
                            let caller = user.caller();
                            let found = rig.space.mmap(&caller, addr, len, RW, flags, 0, offset);
                            assert_eq!(found, expected, "{addr:#x} {len:#x} {flags:#x} {offset}");
                            if addr == free && found.is_ok() {
                                assert_eq!(user.munmap(free, PAGE), Ok(0));
                            }
                            count += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(count, 3 * 2 * 4 * 6 * 3 * 8);
    rig.end();
}

pub(crate) fn mremap_checks_in_linux_order() {
    let machine = machine(1);
    let mut count = 0;
    for flags in [0, 1, 2, 3, 4, 5, 7, 8, 1 << 32] {
        for offset in [0, 1] {
            for place in [0, 4, 8] {
                for (old_len, new_len) in [(1, 1), (1, 0), (1, 2), (0, 1), (3, 3), (3, 4), (2, 1)] {
                    for target in [20 * PAGE, 20 * PAGE + 1, place * PAGE, 1 << 50] {
                        // Two pages each at 0 (plain) and 4 (sealed), none at 8.
                        let rig = Rig::new(&machine);
                        let user = rig.on(0);
                        user.map_pages(0, 2, RW, PRIVATE);
                        let sealed = user.map_pages(4, 2, RW, PRIVATE);
                        assert_eq!(user.mseal(sealed, 2 * PAGE), Ok(0));
                        let is_to = flags & 6 != 0;
                        let is_huge_target = target == 1 << 50;
                        let new_addr = if is_huge_target {
                            target
                        } else {
                            ARENA + target
                        };
                        let shrinks = !is_to && old_len >= new_len;
                        let invalid = Err(Errno::Invalid);
                        let fault = Err(Errno::Fault);
                        let expected = first(
                            &[
                                (flags & !7 != 0, Some(invalid)),
                                (flags & 2 != 0 && flags & 1 == 0, Some(invalid)),
                                (
                                    flags & 4 != 0 && (flags & 1 == 0 || old_len != new_len),
                                    Some(invalid),
                                ),
                                (offset != 0, Some(invalid)),
                                (new_len == 0, Some(invalid)),
                                (place == 8, Some(fault)),
                                (place == 4, Some(Err(Errno::Perm))),
                                (is_to && target % PAGE != 0, Some(invalid)),
                                (is_to && is_huge_target, Some(invalid)),
                                (
                                    is_to && target == place * PAGE && old_len > 0,
                                    Some(invalid),
                                ),
                                (shrinks, Some(Ok(ARENA))),
                                // The new range is emptied first, and it is the old one.
                                (flags & 2 != 0 && target == place * PAGE, Some(fault)),
                                (old_len == 0, Some(invalid)),
                                // For one that shrinks, the rest is cut off first.
                                (old_len > 2 && new_len >= old_len, Some(fault)),
                                (is_to, Some(Ok(new_addr))),
                                // It is not at the end of its mapping.
                                (flags & 1 == 0, Some(Err(Errno::NoMemory))),
                            ],
                            None,
                        );
                        let addr = ARENA + place * PAGE + offset;
                        let found =
                            user.mremap(addr, old_len * PAGE, new_len * PAGE, flags, new_addr);
                        let text = (flags, offset, place, old_len, new_len, target);
                        match expected {
                            Some(expected) => assert_eq!(found, expected, "{text:?}"),
                            // Somewhere.
                            None => assert!(found.is_ok(), "{text:?} {found:?}"),
                        }
                        rig.end();
                        count += 1;
                    }
                }
            }
        }
    }
    assert_eq!(count, 9 * 2 * 3 * 7 * 4);
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn munmap_madvise_and_mseal_check_in_linux_order() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let invalid = Err(Errno::Invalid);
    let free = ARENA + 64 * PAGE;
    let sealed = user.map_pages(0, 1, R, PRIVATE);
    assert_eq!(user.mseal(sealed, PAGE), Ok(0));
    for addr in [free, sealed, free + 1, 1 << 50] {
        for len in [PAGE, 0, u64::MAX] {
            let is_bad = addr % PAGE != 0 || len == u64::MAX || addr == 1 << 50;
            let perm = Err(Errno::Perm);
            let expected = first(
                &[
                    (is_bad, invalid),
                    (len == 0, invalid),
                    (addr == sealed, perm),
                ],
                Ok(0),
            );
            assert_eq!(
                user.munmap(addr, len),
                expected,
                "munmap {addr:#x} {len:#x}"
            );
            for advice in [0, 1, 2, 3, 4, 22, 23, 5, -1, 77] {
                let known = ![5, -1, 77].contains(&advice);
                let hole = Err(Errno::NoMemory);
                let expected = first(
                    &[
                        (!known, invalid),
                        (addr % PAGE != 0, invalid),
                        (len == u64::MAX, invalid),
                        (len == 0, Ok(0)),
                        (addr != sealed, hole),
                        (advice == 4, perm),
                        (advice == 23, invalid),
                    ],
                    Ok(0),
                );
                let found = user.madvise(addr, len, advice);
                assert_eq!(found, expected, "madvise {addr:#x} {len:#x} {advice}");
            }
            for flags in [0, 1, 1 << 63] {
                let expected = first(
                    &[
                        (flags != 0, invalid),
                        (addr % PAGE != 0, invalid),
                        (len == u64::MAX, invalid),
                        (len == 0, Ok(0)),
                        (addr != sealed, Err(Errno::NoMemory)),
                    ],
                    Ok(0),
                );
                let found = rig.space.mseal(&user.caller(), addr, len, flags);
                assert_eq!(found, expected, "mseal {addr:#x} {len:#x} {flags}");
            }
        }
    }
    rig.end();
}
