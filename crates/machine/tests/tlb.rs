//! What a forgotten flush looks like, and what ends it.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{A, D, P, PLENTY, SIZES, Tables, U, W, XD, entry, fault, one_cpu, register};
use pkeys_core::{Access, KeyRegister, LeafSize, Privilege};
use pkeys_kernel::hardware::{Cpu, CpuSet, PhysMemory, Stale};
use pkeys_machine::{Controls, Machine};

const ADDR: u64 = 0x5555_4000_0000;

/// Everything that an entry in a TLB keeps goes on to hold when the page tables say something else, for pages of every
/// size, until INVLPG.
#[test]
fn a_change_is_not_seen_before_it_is_flushed() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        let memory = machine.memory();
        let page = tables.map(ADDR, size, P | U | W, 1);
        let other = tables.map(ADDR + size.bytes(), size, P | U | W, 1);
        memory.write(page, &[1]);
        memory.write(other, &[2]);
        let leaf = tables.leaf(ADDR, size);
        // What the entry becomes; and the reads and writes that show it, before and after the flush.
        type Outcome = Result<u8, u32>;
        let changes: [(u64, [Outcome; 3]); 6] = [
            (0, [Err(4), Err(6), Err(0x14)]),
            (entry(page, size, P | W, 1), [Err(5), Err(7), Err(0x15)]),
            (entry(page, size, P | U, 1), [Ok(1), Err(7), Ok(1)]),
            (
                entry(page, size, P | U | W | XD, 1),
                [Ok(1), Ok(1), Err(0x15)],
            ),
            (
                entry(page, size, P | U | W, 2),
                [Err(0x25), Err(0x27), Ok(1)],
            ),
            (entry(other, size, P | U | W, 1), [Ok(2), Ok(2), Ok(2)]),
        ];
        cpu.write_pkru(register(2, 1));
        for (changed, after) in changes {
            let outcomes = || {
                let read = cpu.user_read(ADDR);
                // The byte that is there, so that the write changes nothing.
                let byte = if cpu.tlb_entry(ADDR).is_some_and(|m| m.page == other) {
                    2
                } else {
                    1
                };
                let write = cpu.user_write(ADDR, byte).map(|()| byte);
                [read, write, cpu.user_fetch(ADDR)]
            };
            memory.write_entry(leaf, entry(page, size, P | U | W, 1));
            cpu.invlpg(ADDR);
            assert_eq!(outcomes(), [Ok(1); 3]);
            memory.write_entry(leaf, changed);
            for _ in 0..3 {
                assert_eq!(
                    outcomes(),
                    [Ok(1); 3],
                    "{size}: {changed:#x} was not flushed"
                );
            }
            cpu.invlpg(ADDR);
            let after = after.map(|outcome| outcome.map_err(|code| fault(ADDR, code)));
            assert_eq!(outcomes(), after, "{size}: {changed:#x} was flushed");
        }
    }
}

/// The register is not a part of what is remembered: that is what keys are good for.
#[test]
fn a_change_of_the_register_needs_no_flush() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 3);
    cpu.user_write(ADDR, 1).unwrap();
    let walks = cpu.counters().walks;
    for _ in 0..3 {
        cpu.write_pkru(register(3, 2));
        assert_eq!(cpu.user_read(ADDR), Ok(1));
        cpu.write_pkru(KeyRegister::ALL_OPEN);
        assert_eq!(cpu.user_write(ADDR, 1), Ok(()));
    }
    assert_eq!(cpu.counters().walks, walks, "the TLB answered all of it");
    cpu.write_pkru(register(3, 2));
    assert_eq!(cpu.user_write(ADDR, 1), Err(fault(ADDR, 0x27)));
    cpu.write_pkru(register(3, 1));
    assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 0x25)));
}

/// CR0.WP, SMAP and AC neither.
#[test]
fn a_change_of_control_registers_needs_no_flush() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | D, 0);
    cpu.user_read(ADDR).unwrap();
    let walks = cpu.counters().walks;
    let with = |wp, smap, ac| {
        cpu.set_controls(Controls {
            wp,
            smap,
            ..Controls::LINUX
        });
        cpu.set_ac(ac);
        let mut byte = 0;
        cpu.access(Privilege::Supervisor, Access::Write, ADDR, &mut byte)
    };
    assert_eq!(with(false, false, false), Ok(()));
    assert_eq!(with(false, true, true), Ok(()));
    assert_eq!(cpu.counters().walks, walks, "the TLB answered all of it");
    assert_eq!(with(false, true, false), Err(fault(ADDR, 3)));
    assert_eq!(with(true, true, true), Err(fault(ADDR, 3)));
}

/// Setting SMEP is the one change of control that drops entries.
#[test]
fn setting_smep_drops_everything() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U, 0);
    let off = Controls {
        smep: false,
        ..Controls::LINUX
    };
    cpu.user_read(ADDR).unwrap();
    cpu.set_controls(off);
    assert_eq!(cpu.tlb_len(), 1);
    cpu.set_controls(Controls::LINUX);
    assert_eq!(cpu.tlb_len(), 0);
    cpu.user_read(ADDR).unwrap();
    cpu.set_controls(Controls {
        wp: false,
        ..Controls::LINUX
    });
    assert_eq!(cpu.tlb_len(), 1);
}

/// INVLPG of any address in a large page drops it; of its neighbours, does not.
#[test]
fn invlpg_anywhere_in_a_page_drops_it() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        tables.map(ADDR, size, P | U, 0);
        let last = ADDR + size.bytes() - 1;
        for within in [ADDR, ADDR + 0xFFF, ADDR + size.bytes() / 2, last] {
            cpu.user_read(ADDR).unwrap();
            cpu.invlpg(ADDR - 1);
            cpu.invlpg(last + 1);
            assert!(cpu.tlb_entry(last).is_some(), "{size}");
            cpu.invlpg(within);
            assert!(cpu.tlb_entry(ADDR).is_none(), "{size} {within:#x}");
            assert!(cpu.tlb_entry(last).is_none(), "{size} {within:#x}");
        }
    }
}

/// A flush of a range drops the pages that have a byte in it, and keeps those on both sides, whether it is done page by
/// page or over all entries.
#[test]
fn a_flushed_range_ends_where_it_ends() {
    const PAGE: u64 = 4096;
    for nr_pages in [1, 2, 7, 20, 512, 100_000, 1 << 26] {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        let end = ADDR + nr_pages * PAGE;
        let mut pages: Vec<u64> = (0..nr_pages.min(30)).map(|n| ADDR + n * PAGE).collect();
        pages.extend([end - PAGE, ADDR - PAGE, end, end + PAGE]);
        for &page in &pages {
            if cpu.user_read(page).is_err() {
                tables.map(page, LeafSize::Size4K, P | U, 0);
                cpu.user_read(page).unwrap();
            }
        }
        let before = cpu.counters();
        let range = Stale::Range { start: ADDR, end };
        cpu.flush(range);
        assert_eq!((cpu.counters() - before).invlpgs, nr_pages);
        for page in pages {
            let is_inside = (ADDR..end).contains(&page);
            assert_eq!(
                cpu.tlb_entry(page).is_none(),
                is_inside,
                "{nr_pages} {page:#x}"
            );
        }
        assert_eq!(cpu.tlb_len(), 3);
    }
}

/// One page of a range that lies in a large page is enough to drop it.
#[test]
fn a_range_drops_large_pages_that_it_touches() {
    for size in [LeafSize::Size2M, LeafSize::Size1G] {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        tables.map(ADDR, size, P | U, 0);
        for start in [ADDR, ADDR + size.bytes() / 2, ADDR + size.bytes() - 4096] {
            cpu.user_read(ADDR).unwrap();
            for beside in [ADDR - 4096, ADDR + size.bytes()] {
                cpu.flush(Stale::Range {
                    start: beside,
                    end: beside + 4096,
                });
            }
            cpu.flush(Stale::Range { start, end: start });
            assert_eq!(cpu.tlb_len(), 1);
            cpu.flush(Stale::Range {
                start,
                end: start + 4096,
            });
            assert_eq!(cpu.tlb_len(), 0, "{size} {start:#x}");
        }
    }
}

#[test]
fn loading_the_root_drops_everything() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let mut addr = ADDR;
    for size in SIZES {
        tables.map(addr, size, P | U, 0);
        cpu.user_read(addr).unwrap();
        addr += 1 << 30;
    }
    assert_eq!(cpu.tlb_len(), 3);
    cpu.load_root(tables.root);
    assert_eq!(cpu.tlb_len(), 0);
    cpu.user_read(ADDR).unwrap();
    cpu.flush(Stale::Everything);
    assert_eq!(cpu.tlb_len(), 0);
    assert_eq!(cpu.counters().root_loads, 3);
    // Another address space has nothing of the first.
    let other = Tables::new(&machine);
    cpu.user_read(ADDR).unwrap();
    cpu.load_root(other.root);
    assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 4)));
}

/// A right that was widened without a flush costs one fault, and the fault drops the entry. The neighbour's stays.
#[test]
fn a_fault_drops_the_entry() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        let memory = machine.memory();
        cpu.write_pkru(register(2, 1));
        let page = tables.map(ADDR, size, P | U, 0);
        let next = ADDR + size.bytes();
        tables.map(next, size, P | U | W, 0);
        let leaf = tables.leaf(ADDR, size);
        cpu.user_read(ADDR).unwrap();
        cpu.user_write(next, 0).unwrap();

        memory.write_entry(leaf, entry(page, size, P | U | W, 0));
        assert_eq!(
            cpu.user_write(ADDR, 1),
            Err(fault(ADDR, 7)),
            "a spurious fault"
        );
        assert_eq!(cpu.tlb_len(), 1);
        assert!(cpu.tlb_entry(next).is_some());
        assert_eq!(cpu.user_write(ADDR, 1), Ok(()), "once, and no more");

        // The same with a key.
        memory.write_entry(leaf, entry(page, size, P | U | W, 2));
        cpu.invlpg(ADDR);
        assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 0x25)));
        assert!(
            cpu.tlb_entry(ADDR).is_none(),
            "a fault leaves nothing behind"
        );
        memory.write_entry(leaf, entry(page, size, P | U | W, 3));
        assert_eq!(cpu.user_read(ADDR), Ok(1));
    }
}

/// A key that was closed for what the TLB remembers is closed once more, for what it should have forgotten.
#[test]
fn a_stale_key_denies_once() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let page = tables.map(ADDR, LeafSize::Size4K, P | U | W, 2);
    cpu.user_write(ADDR, 1).unwrap();
    let leaf = tables.leaf(ADDR, LeafSize::Size4K);
    let changed = entry(page, LeafSize::Size4K, P | U | W, 3);
    machine.memory().write_entry(leaf, changed);
    cpu.write_pkru(register(2, 1));
    assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 0x25)));
    assert_eq!(cpu.user_read(ADDR), Ok(1));
}

/// What is not present is never remembered: mapping a page needs no flush.
#[test]
fn a_new_page_is_seen_at_once() {
    for size in SIZES {
        let machine = Machine::new(2, PLENTY);
        let tables = Tables::new(&machine);
        for cpu in machine.cpus() {
            cpu.load_root(tables.root);
            assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 4)));
        }
        tables.map(ADDR, size, P | U, 0);
        for cpu in machine.cpus() {
            assert_eq!(cpu.user_read(ADDR), Ok(0));
        }
    }
}

/// A write through a clean entry looks at the tables again, and does what they say now.
#[test]
fn the_first_write_walks_again() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let memory = machine.memory();
    let page = tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    let other = memory.allocate(LeafSize::Size4K).unwrap();
    let leaf = tables.leaf(ADDR, LeafSize::Size4K);
    let put = |page, flags| memory.write_entry(leaf, entry(page, LeafSize::Size4K, flags, 0));
    let flags = || memory.read_entry(leaf) & (A | D);

    // As it was: D is set, and the entry is dirty from then on.
    cpu.user_read(ADDR).unwrap();
    assert_eq!(flags(), A);
    assert!(!cpu.tlb_entry(ADDR).unwrap().is_dirty);
    cpu.user_write(ADDR, 1).unwrap();
    assert_eq!(flags(), A | D);
    assert!(cpu.tlb_entry(ADDR).unwrap().is_dirty);

    // D cleared without a flush: it stays clear.
    put(page, P | U | W | A);
    cpu.user_write(ADDR, 2).unwrap();
    assert_eq!(flags(), A);

    // Not writable any more.
    cpu.invlpg(ADDR);
    cpu.user_read(ADDR).unwrap();
    put(page, P | U | A);
    assert_eq!(cpu.user_write(ADDR, 3), Err(fault(ADDR, 7)));
    assert_eq!(cpu.tlb_len(), 0);

    // Gone.
    put(page, P | U | W);
    cpu.user_read(ADDR).unwrap();
    put(page, U | W);
    assert_eq!(cpu.user_write(ADDR, 3), Err(fault(ADDR, 6)));

    // Another page.
    put(page, P | U | W);
    assert_eq!(cpu.user_read(ADDR), Ok(2));
    put(other, P | U | W);
    assert_eq!(cpu.user_read(ADDR), Ok(2));
    cpu.user_write(ADDR, 4).unwrap();
    assert_eq!(cpu.user_read(ADDR), Ok(4));
    let mut bytes = [0; 1];
    memory.read(page, &mut bytes);
    assert_eq!(bytes, [2], "the old page has its old content");
}

/// Tables replaced by a large page, without a flush: the small pages that were touched live on, beside the large one.
#[test]
fn pages_of_two_sizes_are_remembered_side_by_side() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let memory = machine.memory();
    let [first, second] = [0, 4096].map(|offset| ADDR + offset);
    for (addr, byte) in [(first, 1), (second, 2)] {
        let page = tables.map(addr, LeafSize::Size4K, P | U, 0);
        memory.write(page, &[byte]);
    }
    assert_eq!(cpu.user_read(first), Ok(1));
    let large = tables.map(ADDR, LeafSize::Size2M, P | U, 0);
    memory.write(large, &[3; 4097]);
    assert_eq!(cpu.user_read(first), Ok(1));
    assert_eq!(cpu.user_read(second), Ok(3));
    assert_eq!(cpu.tlb_len(), 2);
    // One INVLPG drops both.
    cpu.invlpg(first);
    assert_eq!(cpu.tlb_len(), 0);
    assert_eq!(cpu.user_read(first), Ok(3));
    assert_eq!(cpu.tlb_len(), 1);
}

/// A write that walks again replaces what was remembered, of whatever size: what it wrote is what is read.
#[test]
fn a_write_that_walks_again_is_read_back() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    cpu.user_read(ADDR).unwrap();
    tables.map(ADDR, LeafSize::Size2M, P | U | W, 0);
    cpu.user_write(ADDR, 9).unwrap();
    assert_eq!(cpu.user_read(ADDR), Ok(9));
    assert_eq!(cpu.tlb_len(), 1);
}

/// Another CPU knows nothing of a flush until it is told, and is told only if it runs the address space.
#[test]
fn other_cpus_are_stale_until_they_are_shot_down() {
    let machine = Machine::new(4, PLENTY);
    let tables = Tables::new(&machine);
    let other_space = Tables::new(&machine);
    let page = tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    other_space.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    let [zero, one, two, three] = [0, 1, 2, 3].map(|number| machine.cpu(number));
    for cpu in [zero, one, two] {
        cpu.load_root(tables.root);
    }
    three.load_root(other_space.root);
    for cpu in machine.cpus() {
        cpu.user_write(ADDR, 7).unwrap();
    }
    let leaf = tables.leaf(ADDR, LeafSize::Size4K);
    let read_only = entry(page, LeafSize::Size4K, P | U, 0);
    machine.memory().write_entry(leaf, read_only);
    let range = Stale::Range {
        start: ADDR,
        end: ADDR + 4096,
    };
    zero.flush(range);
    assert_eq!(zero.user_write(ADDR, 8), Err(fault(ADDR, 7)));
    assert_eq!(one.user_write(ADDR, 8), Ok(()));

    // CPU 1 is named, and CPU 3, which runs another address space; CPU 2 is not. Nor does 0 interrupt itself.
    zero.user_read(ADDR).unwrap();
    zero.shoot_down(CpuSet(0b1011), tables.root, range);
    assert_eq!(one.user_write(ADDR, 9), Err(fault(ADDR, 7)));
    assert_eq!(two.user_write(ADDR, 9), Ok(()));
    assert_eq!(three.user_write(ADDR, 9), Ok(()));
    assert_eq!(zero.tlb_len(), 1);
    let sent = machine.cpus().map(|cpu| cpu.counters().shoot_downs_sent);
    assert_eq!(sent.collect::<Vec<_>>(), [2, 0, 0, 0]);
    let received = machine
        .cpus()
        .map(|cpu| cpu.counters().shoot_downs_received);
    assert_eq!(received.collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert_eq!(three.counters().walks, 1, "what it had is still there");

    zero.shoot_down(CpuSet::of(2), tables.root, Stale::Everything);
    assert_eq!(two.user_write(ADDR, 9), Err(fault(ADDR, 7)));
}

/// A frame that was given back while a TLB still knows it: the next access is caught.
#[test]
#[should_panic(expected = "in a 4 KiB block that was freed")]
fn a_stale_translation_to_freed_memory_is_caught() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let page = tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    cpu.user_write(ADDR, 1).unwrap();
    let leaf = tables.leaf(ADDR, LeafSize::Size4K);
    machine.memory().write_entry(leaf, 0);
    machine.memory().free(page, LeafSize::Size4K);
    let _ = cpu.user_write(ADDR, 2);
}
