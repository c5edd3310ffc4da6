//! Page tables for tests: just enough to put any entry at any place.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses the part of it that it needs; what goes wrong ends it"
)]

use pkeys_core::{KeyRegister, LeafSize, Pkey, pte};
use pkeys_kernel::hardware::{Cpu, HardwareFault, PhysAddr, PhysMemory};
use pkeys_machine::{Exception, Machine, MachineCpu};

pub(crate) const P: u64 = 1 << 0;
pub(crate) const W: u64 = 1 << 1;
pub(crate) const U: u64 = 1 << 2;
pub(crate) const A: u64 = 1 << 5;
pub(crate) const D: u64 = 1 << 6;
pub(crate) const PS: u64 = 1 << 7;
pub(crate) const XD: u64 = 1 << 63;

pub(crate) const SIZES: [LeafSize; 3] = [LeafSize::Size4K, LeafSize::Size2M, LeafSize::Size1G];

/// Memory for all that a test here needs, large blocks included.
pub(crate) const PLENTY: u64 = 1 << 40;

/// Page tables of one address space.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'m> {
    machine: &'m Machine,
    pub(crate) root: PhysAddr,
}

impl<'m> Tables<'m> {
    pub(crate) fn new(machine: &'m Machine) -> Self {
        let root = machine.memory().allocate(LeafSize::Size4K).unwrap();
        Self { machine, root }
    }

    /// The places of the entries for an address, from the root down to the leaf of a page of that size. Tables that are
    /// missing are made, and give all rights.
    pub(crate) fn path(&self, addr: u64, size: LeafSize) -> Vec<PhysAddr> {
        let memory = self.machine.memory();
        let nr_levels = match size {
            LeafSize::Size4K => 4,
            LeafSize::Size2M => 3,
            LeafSize::Size1G => 2,
        };
        let mut table = self.root;
        let mut path = Vec::new();
        for level in 0..nr_levels {
            let number = (addr >> (39 - 9 * level)) % 512;
            let at = PhysAddr(table.0 + 8 * number);
            path.push(at);
            if level + 1 < nr_levels {
                if memory.read_entry(at) & P == 0 {
                    let next = memory.allocate(LeafSize::Size4K).unwrap();
                    memory.write_entry(at, next.0 | P | W | U);
                }
                table = PhysAddr(memory.read_entry(at) & 0x3FFF_FFFF_F000);
            }
        }
        path
    }

    /// Where the leaf for an address is.
    pub(crate) fn leaf(&self, addr: u64, size: LeafSize) -> PhysAddr {
        *self.path(addr, size).last().unwrap()
    }

    /// Maps a new page; gives where it is.
    pub(crate) fn map(&self, addr: u64, size: LeafSize, flags: u64, pkey: u8) -> PhysAddr {
        let page = self.machine.memory().allocate(size).unwrap();
        let at = self.leaf(addr, size);
        let entry = entry(page, size, flags, pkey);
        self.machine.memory().write_entry(at, entry);
        page
    }
}

/// The entry of a leaf.
pub(crate) fn entry(page: PhysAddr, size: LeafSize, flags: u64, pkey: u8) -> u64 {
    let large = if size == LeafSize::Size4K { 0 } else { PS };
    pte::set(page.0 | large | flags, Pkey::new(pkey).unwrap())
}

/// The register with these two bits for a key, and all other keys open.
pub(crate) fn register(pkey: u8, bits: u32) -> KeyRegister {
    KeyRegister::from_bits(bits << (2 * pkey))
}

/// What a page fault with this error code looks like.
pub(crate) fn fault(addr: u64, code: u32) -> Exception {
    Exception::PageFault(HardwareFault {
        addr,
        code: code.into(),
    })
}

/// A machine with one CPU and empty page tables, loaded.
pub(crate) fn one_cpu(machine: &Machine) -> (MachineCpu<'_>, Tables<'_>) {
    let tables = Tables::new(machine);
    let cpu = machine.cpu(0);
    cpu.load_root(tables.root);
    (cpu, tables)
}
