//! Page tables of programs: the library's, with the kernel's half beside the program's.
//!
//! The kernel's half is the same in every address space: its entries of the root lead to the kernel's own tables, and are
//! copied when an address space is made. They have to be gone again before the library gives the tables back, since it
//! gives back all that a root leads to.

use pkeys_kernel::hardware::PhysAddr;
use pkeys_kernel::memory::layout::Addresses;
use pkeys_kernel::memory::tables::{Flush, FourLevel, Leaf, NoTable, Tables};

use super::memory::DirectMap;
use crate::memory::kernel_tables;

/// The tables of one address space.
#[derive(Debug)]
pub(crate) struct SpaceTables(FourLevel<DirectMap>);

impl Tables for SpaceTables {
    type Memory = DirectMap;

    fn new(memory: DirectMap) -> Option<Self> {
        let tables = FourLevel::new(memory)?;
        kernel_tables::share_with(tables.root().0);
        Some(Self(tables))
    }

    fn root(&self) -> PhysAddr {
        self.0.root()
    }

    fn look_up(&self, addr: u64) -> Option<Leaf> {
        self.0.look_up(addr)
    }

    fn next(&self, range: Addresses) -> Option<(u64, Leaf)> {
        self.0.next(range)
    }

    fn map(&mut self, addr: u64, leaf: Leaf) -> Result<(), NoTable> {
        self.0.map(addr, leaf)
    }

    fn replace(&mut self, addr: u64, leaf: Leaf) -> Flush {
        self.0.replace(addr, leaf)
    }

    fn change(
        &mut self,
        range: Addresses,
        change: &mut dyn FnMut(u64, &mut Leaf),
    ) -> Result<Flush, NoTable> {
        self.0.change(range, change)
    }

    fn unmap(&mut self, range: Addresses, empty: Addresses) -> Result<Flush, NoTable> {
        self.0.unmap(range, empty)
    }

    fn take(&mut self, addr: u64) -> Option<(Leaf, Flush)> {
        self.0.take(addr)
    }

    fn destroy(&mut self) {
        kernel_tables::withdraw_from(self.root().0);
        self.0.destroy();
    }
}
