//! Memory of the machine, accessed as supervisor code on the CPU that executes.

use pkeys_core::{Access, PageFaultErrorCode};
use pkeys_kernel::hardware::{PhysAddr, PhysMemory};
use pkeys_kernel::pks::PksKey;
use pkeys_kernel::pks::region::{KeyedMemory, NoPages, Openers, Pages, Region};

use crate::rig::{Kernel, Lock, Rig, TestRegions, page};

/// Consecutive pages of the machine, or a part of them that is no pages.
#[derive(Debug)]
pub(crate) struct MachineMemory {
    rig: &'static Rig,
    first: usize,
    len_bytes: usize,
}

impl MachineMemory {
    pub(crate) fn new(rig: &'static Rig, first: usize, nr_pages: usize) -> Self {
        Self::of_bytes(rig, first, nr_pages * 4096)
    }

    pub(crate) fn of_bytes(rig: &'static Rig, first: usize, len_bytes: usize) -> Self {
        Self {
            rig,
            first,
            len_bytes,
        }
    }

    /// Writes without anybody having asked for the right to.
    pub(crate) fn write_nevertheless(&self, at: usize, byte: u8) -> Result<(), PageFaultErrorCode> {
        self.access(at, Access::Write, &mut [byte])
    }

    fn access(
        &self,
        at: usize,
        access: Access,
        bytes: &mut [u8],
    ) -> Result<(), PageFaultErrorCode> {
        assert!(at + bytes.len() <= self.len_bytes);
        for (byte, at) in bytes.iter_mut().zip(at..) {
            self.rig
                .access_byte(page(self.first).addr() + at as u64, access, byte)?;
        }
        Ok(())
    }
}

impl KeyedMemory for MachineMemory {
    type Fault = PageFaultErrorCode;

    fn pages(&self) -> Result<Pages, NoPages> {
        Pages::new(page(self.first).addr(), self.len_bytes as u64)
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), PageFaultErrorCode> {
        self.access(at, Access::Read, into)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), PageFaultErrorCode> {
        self.access(at, Access::Write, &mut bytes.to_vec())
    }
}

pub(crate) type TestRegion = Region<'static, Kernel, Lock, MachineMemory>;

pub(crate) fn regions(rig: &'static Rig) -> &'static TestRegions {
    Box::leak(Box::new(TestRegions::new(rig.keys(), Kernel::of(rig))))
}

/// A region of pages of the machine.
pub(crate) fn region(
    regions: &'static TestRegions,
    rig: &'static Rig,
    first: usize,
    nr_pages: usize,
    key: PksKey,
) -> TestRegion {
    let memory = MachineMemory::new(rig, first, nr_pages);
    Region::new(regions, memory, key, Openers::Anybody).unwrap()
}

/// What stands in a page, past all keys.
pub(crate) fn bytes_of(rig: &Rig, number: usize) -> Vec<u8> {
    let memory = rig.machine.memory();
    let entry = memory.read_entry(rig.entry(number));
    let mut bytes = vec![0; 4096];
    memory.read(PhysAddr(entry & 0x000F_FFFF_FFFF_F000), &mut bytes);
    bytes
}
