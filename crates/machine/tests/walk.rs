//! Walks that end early, and where those that do not end lead.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{P, PLENTY, PS, SIZES, Tables, U, W, XD, entry, fault, one_cpu};
use pkeys_core::{Access, LeafSize, Privilege};
use pkeys_kernel::hardware::{Cpu, PhysMemory};
use pkeys_machine::{Exception, MAXPHYADDR, Machine, MachineCpu};

const ADDR: u64 = 0x7F12_4000_0000;

/// The codes of a read, a write and a fetch from user mode, and of a read from supervisor mode, that end for one reason.
fn assert_codes(cpu: MachineCpu<'_>, reason: u32, why: &str) {
    assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, reason | 4)), "{why}");
    assert_eq!(
        cpu.user_write(ADDR, 0),
        Err(fault(ADDR, reason | 6)),
        "{why}"
    );
    assert_eq!(
        cpu.user_fetch(ADDR),
        Err(fault(ADDR, reason | 0x14)),
        "{why}"
    );
    let mut byte = 0;
    let result = cpu.access(Privilege::Supervisor, Access::Read, ADDR, &mut byte);
    assert_eq!(result, Err(fault(ADDR, reason)), "{why}");
    assert_eq!(cpu.tlb_len(), 0);
}

/// P clear at any level: a code without P, whatever the rest of the entry says, and without PK, whatever the key.
#[test]
fn an_entry_without_p_ends_the_walk() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        tables.map(ADDR, size, P | U | W, 1);
        cpu.write_pkru(common::register(1, 1));
        assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 0x25)));
        for at in tables.path(ADDR, size) {
            let entry = machine.memory().read_entry(at);
            for without in [0, entry & !P, !P] {
                machine.memory().write_entry(at, without);
                assert_codes(cpu, 0, "not present");
            }
            machine.memory().write_entry(at, entry);
        }
    }
}

/// Every bit of every entry on the way: reserved ones fault, others do not.
#[test]
fn reserved_bits_are_found_at_every_level() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = one_cpu(&machine);
        tables.map(ADDR, size, P | U | W, 0);
        let path = tables.path(ADDR, size);
        for (depth, &at) in path.iter().enumerate() {
            let is_leaf = depth + 1 == path.len();
            let entry = machine.memory().read_entry(at);
            let low = match (depth, size) {
                (0, _) => 7..8,
                (_, LeafSize::Size2M) if is_leaf => 13..21,
                (_, LeafSize::Size1G) if is_leaf => 13..30,
                _ => 0..0,
            };
            let reserved: Vec<u32> = low.chain(MAXPHYADDR..52).collect();
            for &bit in &reserved {
                machine.memory().write_entry(at, entry | 1 << bit);
                assert_codes(cpu, 9, &format!("{size}, depth {depth}, bit {bit}"));
                machine.memory().write_entry(at, entry & !P | 1 << bit);
                assert_codes(cpu, 0, "nothing is reserved without P");
            }
            // The rest are flags, the address, or ignored. Those that lead elsewhere are not tried.
            let leads_elsewhere = |bit| match bit {
                0..=2 | 63 => true,
                7 => !is_leaf,
                12.. => bit < MAXPHYADDR && !(is_leaf && bit == 12 && size != LeafSize::Size4K),
                _ => false,
            };
            for bit in (0..64).filter(|bit| !reserved.contains(bit) && !leads_elsewhere(*bit)) {
                machine.memory().write_entry(at, entry | 1 << bit);
                cpu.load_root(tables.root);
                assert_eq!(
                    cpu.user_read(ADDR),
                    Ok(0),
                    "{size}, depth {depth}, bit {bit}"
                );
            }
            machine.memory().write_entry(at, entry);
            cpu.load_root(tables.root);
        }
    }
}

/// The first thing that is wrong decides: a reserved bit above an entry that is not present, and the reverse.
#[test]
fn the_walk_stops_at_the_first_obstacle() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    let path = tables.path(ADDR, LeafSize::Size4K);
    let memory = machine.memory();
    memory.write_entry(path[3], 0);
    memory.write_entry(path[1], memory.read_entry(path[1]) | 1 << 51);
    assert_codes(cpu, 9, "reserved above");
    memory.write_entry(path[0], 0);
    assert_codes(cpu, 0, "not present above");
}

/// Bit 7 of the lowest level is PAT and not a size; bit 12 of a large leaf is PAT and not an address.
#[test]
fn memory_types_are_not_addresses() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let page = machine.memory().allocate(LeafSize::Size4K).unwrap();
    machine.memory().write(page, &[42]);
    let leaf = tables.leaf(ADDR, LeafSize::Size4K);
    machine.memory().write_entry(leaf, page.0 | P | U | PS);
    assert_eq!(cpu.user_read(ADDR), Ok(42));
    let large = ADDR + (1 << 30);
    let page = tables.map(large, LeafSize::Size2M, P | U | 1 << 12, 0);
    machine.memory().write(page, &[43]);
    assert_eq!(cpu.user_read(large), Ok(43));
}

/// Bytes at both ends of pages of each size are where the page tables say, and nowhere else.
#[test]
fn translations_lead_to_the_right_byte() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let memory = machine.memory();
    let mut addr = ADDR;
    for size in SIZES {
        let first = tables.map(addr, size, P | U | W, 0);
        let second = tables.map(addr + size.bytes(), size, P | U | W, 0);
        for (offset, phys) in [
            (0, first.0),
            (size.bytes() - 1, first.0 + size.bytes() - 1),
            (size.bytes(), second.0),
            (
                size.bytes() + size.bytes() / 2 + 77,
                second.0 + size.bytes() / 2 + 77,
            ),
        ] {
            let value = (offset % 251 + 1) as u8;
            cpu.user_write(addr + offset, value).unwrap();
            let mut bytes = [0; 1];
            memory.read(pkeys_kernel::hardware::PhysAddr(phys), &mut bytes);
            assert_eq!(bytes, [value], "{size} + {offset:#x}");
            assert_eq!(cpu.user_read(addr + offset), Ok(value));
            assert_eq!(cpu.user_fetch(addr + offset), Ok(value));
        }
        addr += 4 << 30;
    }
}

/// Each of the 512 entries of each level is found by its 9 bits of the address.
#[test]
fn every_entry_of_every_level_is_reached_by_its_address() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    for level in 0..4 {
        for number in 0..512_u64 {
            let bits = number << (39 - 9 * level);
            let sign = if bits >> 47 & 1 == 1 { 0xFFFF << 48 } else { 0 };
            let addr = sign | bits;
            let at = tables.leaf(addr, LeafSize::Size4K);
            if machine.memory().read_entry(at) & P == 0 {
                assert_eq!(cpu.user_read(addr), Err(fault(addr, 4)));
                let page = tables.map(addr, LeafSize::Size4K, P | U | W, 0);
                machine.memory().write(page, &addr.to_le_bytes());
            }
        }
    }
    for level in 0..4 {
        for number in 0..512_u64 {
            let bits = number << (39 - 9 * level);
            let sign = if bits >> 47 & 1 == 1 { 0xFFFF << 48 } else { 0 };
            let addr = sign | bits;
            let bytes: [u8; 8] = core::array::from_fn(|i| cpu.user_read(addr + i as u64).unwrap());
            assert_eq!(u64::from_le_bytes(bytes), addr);
        }
    }
}

/// #GP, and not a page fault, in both halves of the hole, and nowhere beside it.
#[test]
fn addresses_that_are_not_canonical_are_another_exception() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, _) = one_cpu(&machine);
    let mut byte = 0;
    for addr in [0x8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63, 1 << 48] {
        for access in [Access::Read, Access::Write, Access::Fetch] {
            for mode in [Privilege::User, Privilege::Supervisor] {
                let result = cpu.access(mode, access, addr, &mut byte);
                assert_eq!(result, Err(Exception::GeneralProtection), "{addr:#x}");
            }
        }
    }
    for addr in [0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, u64::MAX, 0] {
        assert_eq!(cpu.user_read(addr), Err(fault(addr, 4)), "{addr:#x}");
    }
}

/// Two address spaces with the same addresses, on two CPUs.
#[test]
fn each_cpu_walks_its_own_tables() {
    let machine = Machine::new(2, PLENTY);
    for number in 0..2 {
        let tables = Tables::new(&machine);
        let page = tables.map(ADDR, LeafSize::Size4K, P | U | XD, 0);
        machine.memory().write(page, &[number as u8 + 1]);
        machine.cpu(number).load_root(tables.root);
    }
    assert_eq!(machine.cpu(0).user_read(ADDR), Ok(1));
    assert_eq!(machine.cpu(1).user_read(ADDR), Ok(2));
}

/// An entry that points outside memory is a defect of the kernel's, and is not passed over.
#[test]
#[should_panic(expected = "where no block ever was")]
fn tables_that_are_no_memory_are_refused() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let at = tables.path(ADDR, LeafSize::Size1G)[1];
    let nowhere = pkeys_kernel::hardware::PhysAddr(0x5000);
    machine
        .memory()
        .write_entry(at, entry(nowhere, LeafSize::Size4K, P | U, 0));
    let _ = cpu.user_read(ADDR);
}
