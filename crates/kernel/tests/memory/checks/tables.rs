//! Page tables by themselves, as another kernel would use them: leaves of all sizes, splits, and what a change leaves
//! to be done.

use pkeys_core::{KeyRegister, LeafSize};
use pkeys_kernel::hardware::{Cpu, CpuSet, PhysAddr, PhysMemory};
use pkeys_kernel::memory::FourLevel;
use pkeys_kernel::memory::tables::{Flush, Leaf, LeafMode, NoTable, Tables};
use pkeys_machine::{Machine, MachineCpu, Memory};

use super::rig::*;

const MB2: u64 = 2 << 20;
const GB: u64 = 1 << 30;

fn mode(pkey_number: i32) -> LeafMode {
    LeafMode {
        is_present: true,
        is_writable: true,
        is_executable: false,
        pkey: pkey(pkey_number),
    }
}

fn map(tables: &mut FourLevel<&Memory>, memory: &Memory, addr: u64, size: LeafSize) -> PhysAddr {
    let frame = memory.allocate(size).unwrap();
    let leaf = Leaf {
        frame,
        size,
        is_shared: false,
        mode: mode(0),
    };
    assert_eq!(tables.map(addr, leaf), Ok(()));
    frame
}

/// Commits, and frees what it can: pieces of a larger block are left to who knows the block.
fn settle(flush: Flush, cpu: &MachineCpu<'_>, root: PhysAddr) -> Vec<(PhysAddr, LeafSize)> {
    let unused = flush.commit(cpu, CpuSet::of(0), root);
    unused.into_iter().map(|old| (old.at, old.size)).collect()
}

pub(crate) fn a_part_of_a_larger_page_is_split_off() {
    let machine = Machine::new(1, 4 << 30);
    let memory = machine.memory();
    let cpu = machine.cpu(0);
    let mut tables = FourLevel::new(memory).unwrap();
    cpu.load_root(tables.root());
    let block = map(&mut tables, memory, GB, LeafSize::Size1G);
    let place = GB + 5 * MB2 + 7 * PAGE;
    cpu.user_write(place, 1).unwrap();
    cpu.user_write(place - 1, 2).unwrap();
    cpu.user_write(place + PAGE, 3).unwrap();
    cpu.user_write(GB, 4).unwrap();
    assert_eq!(cpu.tlb_len(), 1, "one entry for the gigabyte");
    let flush = tables.change(place..place + PAGE, &mut |addr, leaf| {
        assert_eq!((addr, leaf.size), (place, LeafSize::Size4K));
        leaf.mode = mode(3);
    });
    assert!(settle(flush.unwrap(), &cpu, tables.root()).is_empty());
    cpu.write_pkru(KeyRegister::from_bits(3 << 6));
    assert!(cpu.user_read(place).is_err());
    assert!(cpu.user_read(place + PAGE - 1).is_err());
    assert_eq!(cpu.user_read(place - 1), Ok(2));
    assert_eq!(cpu.user_read(place + PAGE), Ok(3));
    assert_eq!(cpu.user_read(GB), Ok(4));
    let size = |addr| tables.look_up(addr).map(|leaf| leaf.size);
    assert_eq!(size(GB), Some(LeafSize::Size2M));
    assert_eq!(size(place + PAGE), Some(LeafSize::Size4K));
    assert_eq!(size(GB + 6 * MB2), Some(LeafSize::Size2M));
    assert_eq!(tables.next(0..GB + 1).map(|(at, _)| at), Some(GB));
    assert_eq!(
        tables.next(place + 1..u64::MAX >> 17).map(|(at, _)| at),
        Some(place)
    );

    // All pieces come back, each once, and the tables with them.
    let everything = 0..1 << 47;
    let flush = tables.unmap(GB..2 * GB, everything).unwrap();
    let mut pieces = settle(flush, &cpu, tables.root());
    assert!(cpu.user_read(GB).is_err());
    pieces.retain(|(at, size)| {
        let is_part = (block.0..block.0 + GB).contains(&at.0);
        if !is_part {
            memory.free(*at, *size);
        }
        is_part
    });
    let bytes: u64 = pieces.iter().map(|(_, size)| size.bytes()).sum();
    assert_eq!((pieces.len(), bytes), (511 + 512, GB));
    memory.free(block, LeafSize::Size1G);
    tables.destroy();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn a_split_that_finds_no_memory_changes_nothing() {
    let machine = Machine::new(1, 2 << 30);
    let memory = machine.memory();
    let cpu = machine.cpu(0);
    let mut tables = FourLevel::new(memory).unwrap();
    cpu.load_root(tables.root());
    let block = map(&mut tables, memory, 0, LeafSize::Size1G);
    cpu.user_write(PAGE, 9).unwrap();
    memory.set_limit_bytes(memory.allocated_bytes() + PAGE);
    let mut calls = 0;
    let result = tables.change(PAGE..2 * PAGE, &mut |_, _| calls += 1);
    assert_eq!(result.map(drop), Err(NoTable));
    assert!(tables.unmap(PAGE..2 * PAGE, 0..0).is_err());
    assert_eq!(calls, 0);
    cpu.load_root(tables.root());
    assert_eq!(cpu.user_read(PAGE), Ok(9));
    memory.free(block, LeafSize::Size1G);
    tables.destroy();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn frames_come_only_out_of_a_flush() {
    let machine = Machine::new(2, 16 << 20);
    let memory = machine.memory();
    let (cpu, other) = (machine.cpu(0), machine.cpu(1));
    let mut tables = FourLevel::new(memory).unwrap();
    let root = tables.root();
    cpu.load_root(root);
    other.load_root(root);
    let both = CpuSet(0b11);
    let frame = map(&mut tables, memory, ARENA, LeafSize::Size4K);
    let kept = map(&mut tables, memory, ARENA + PAGE, LeafSize::Size4K);
    cpu.user_write(ARENA, 1).unwrap();
    assert_eq!(other.user_read(ARENA), Ok(1));

    // Another frame in its place: the old one is in the token, and by the time it is out nobody reaches it.
    let copy = memory.allocate(LeafSize::Size4K).unwrap();
    let old = tables.look_up(ARENA).unwrap();
    let flush = tables.replace(ARENA, Leaf { frame: copy, ..old });
    assert!(flush.is_needed());
    assert_eq!(other.user_read(ARENA), Ok(1), "not told yet");
    for old in flush.commit(&cpu, both, root) {
        assert_eq!(old.at, frame);
        memory.free(old.at, old.size);
    }
    assert_eq!(
        (cpu.user_read(ARENA), other.user_read(ARENA)),
        (Ok(0), Ok(0))
    );

    // A token that is dropped leaves the frame allocated.
    let before = nr_frames(&machine);
    drop(tables.unmap(ARENA..ARENA + PAGE, 0..0).unwrap());
    assert_eq!(nr_frames(&machine), before);
    assert_eq!(
        other.user_read(ARENA),
        Ok(0),
        "reaches the page, which is nobody else's"
    );
    memory.free(copy, LeafSize::Size4K);

    // Taking one out gives no frame at all; it is on its way to another place.
    let (leaf, flush) = tables.take(ARENA + PAGE).unwrap();
    assert_eq!(leaf.frame, kept);
    assert!(flush.commit(&cpu, both, root).is_empty());
    assert_eq!(tables.map(ARENA + PAGE, leaf), Ok(()));
    assert_eq!(tables.take(ARENA).map(|(leaf, _)| leaf), None);

    // The last mapping takes its tables along.
    let flush = tables
        .unmap(ARENA + PAGE..ARENA + 2 * PAGE, 0..1 << 47)
        .unwrap();
    for old in flush.commit(&cpu, both, root) {
        memory.free(old.at, old.size);
    }
    assert_eq!(nr_frames(&machine), [1, 0, 0], "the root");
    tables.destroy();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn modes_are_what_the_processor_sees() {
    let machine = Machine::new(1, 16 << 20);
    let memory = machine.memory();
    let cpu = machine.cpu(0);
    let mut tables = FourLevel::new(memory).unwrap();
    cpu.load_root(tables.root());
    for (size, addr) in [
        (LeafSize::Size4K, ARENA),
        (LeafSize::Size2M, ARENA + 8 * MB2),
    ] {
        let frame = map(&mut tables, memory, addr, size);
        for bits in 0..8 {
            let wanted = LeafMode {
                is_present: bits & 1 != 0,
                is_writable: bits & 2 != 0,
                is_executable: bits & 4 != 0,
                pkey: pkey(bits),
            };
            let range = addr..addr + size.bytes();
            let flush = tables
                .change(range, &mut |_, leaf| leaf.mode = wanted)
                .unwrap();
            assert!(settle(flush, &cpu, tables.root()).is_empty());
            let is_open = wanted.is_present;
            assert_eq!(cpu.user_read(addr).is_ok(), is_open);
            if is_open {
                assert_eq!(
                    cpu.tlb_entry(addr).map(|entry| entry.rights.pkey),
                    Some(wanted.pkey)
                );
            }
            assert_eq!(
                cpu.user_write(addr, 1).is_ok(),
                is_open && wanted.is_writable
            );
            assert_eq!(
                cpu.user_fetch(addr).is_ok(),
                is_open && wanted.is_executable
            );
            let leaf = tables.look_up(addr).unwrap();
            assert_eq!(
                (leaf.mode, leaf.frame),
                (wanted, frame),
                "also while it is not present"
            );
        }
        let flush = tables.unmap(addr..addr + size.bytes(), 0..0).unwrap();
        for (at, size) in settle(flush, &cpu, tables.root()) {
            memory.free(at, size);
        }
    }
    tables.destroy();
    assert_eq!(
        nr_frames(&machine),
        [0; 3],
        "with tables that nobody took out"
    );
}
