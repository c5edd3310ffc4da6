//! What the kernel library needs of the hardware: physical memory, and the CPU it runs on.
//!
//! Two traits, so that the same code runs on a real machine, in an emulator and on a software machine with a TLB that
//! forgets nothing. They say what is done, not how: an implementation for hardware is a page of code (a direct map of
//! physical memory; MOV CR3, INVLPG, RDPKRU, WRPKRU; inter-processor interrupts; copies with a fixup for faults).
//!
//! Methods take `&self`: registers belong to a CPU, not to a value in the program, and physical memory is shared.
//!
//! Source: SDM Vol. 3A, 4.10 (TLBs and their invalidation), 4.6.2 (protection keys).

use pkeys_core::{KeyRegister, LeafSize, PageFaultErrorCode};

/// An address in physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// Physical memory: blocks of the three page sizes, each aligned to its size, and what is in them.
///
/// Page tables and pages come from here. An address that was not allocated is a defect of the caller; an
/// implementation may panic on it in tests and need not notice otherwise.
pub trait PhysMemory {
    /// A block filled with zeros, or `None` when there is none left.
    fn allocate(&self, size: LeafSize) -> Option<PhysAddr>;

    /// Gives a block back. Nothing may use it any more, page tables and TLBs included.
    fn free(&self, at: PhysAddr, size: LeafSize);

    /// The aligned 8 bytes at an address: an entry of a page table.
    fn read_entry(&self, at: PhysAddr) -> u64;

    /// Puts an entry of a page table into place in one store.
    fn write_entry(&self, at: PhysAddr, entry: u64);

    /// Copies a whole block.
    fn copy(&self, from: PhysAddr, to: PhysAddr, size: LeafSize);

    /// Reads bytes; they lie in one block.
    fn read(&self, at: PhysAddr, into: &mut [u8]);

    /// Writes bytes; they lie in one block.
    fn write(&self, at: PhysAddr, bytes: &[u8]);
}

/// A handle to memory that lives longer than its user.
impl<M: PhysMemory + ?Sized> PhysMemory for &M {
    fn allocate(&self, size: LeafSize) -> Option<PhysAddr> {
        (**self).allocate(size)
    }

    fn free(&self, at: PhysAddr, size: LeafSize) {
        (**self).free(at, size);
    }

    fn read_entry(&self, at: PhysAddr) -> u64 {
        (**self).read_entry(at)
    }

    fn write_entry(&self, at: PhysAddr, entry: u64) {
        (**self).write_entry(at, entry);
    }

    fn copy(&self, from: PhysAddr, to: PhysAddr, size: LeafSize) {
        (**self).copy(from, to, size);
    }

    fn read(&self, at: PhysAddr, into: &mut [u8]) {
        (**self).read(at, into);
    }

    fn write(&self, at: PhysAddr, bytes: &[u8]) {
        (**self).write(at, bytes);
    }
}

/// A set of CPUs by number; the library knows up to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct CpuSet(pub u64);

impl CpuSet {
    /// The set of one CPU.
    #[must_use]
    pub const fn of(cpu: u32) -> Self {
        Self(1 << (cpu % 64))
    }

    /// The set without one CPU.
    #[must_use]
    pub const fn without(self, cpu: u32) -> Self {
        Self(self.0 & !Self::of(cpu).0)
    }

    /// Whether there is nobody in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a CPU is in it.
    #[must_use]
    pub const fn contains(self, cpu: u32) -> bool {
        self.0 & Self::of(cpu).0 != 0
    }
}

/// What a TLB has to forget about one address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Every address from `start` to `end`, which are multiples of 4 KiB.
    Range {
        /// The first address.
        start: u64,
        /// The address behind the last.
        end: u64,
    },
    /// All of the address space.
    Everything,
}

/// A page fault that the CPU raised: on a user instruction, or on an access of the kernel to user memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardwareFault {
    /// CR2: the address of the access.
    pub addr: u64,
    /// The error code.
    pub code: PageFaultErrorCode,
}

/// An access of the kernel to user memory that stopped half way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserAccessFault {
    /// How many bytes were copied before.
    pub copied: usize,
    /// What stopped it.
    pub fault: HardwareFault,
}

/// The CPU that executes the caller.
pub trait Cpu {
    /// Its number, from 0.
    fn id(&self) -> u32;

    /// Whether it has user keys, enabled: CR4.PKE, which user space sees as CPUID.OSPKE. Where it has none the register
    /// functions are not called.
    fn has_pku(&self) -> bool;

    /// RDPKRU.
    fn read_pkru(&self) -> KeyRegister;

    /// WRPKRU.
    fn write_pkru(&self, pkru: KeyRegister);

    /// MOV to CR3: another address space, whose entries in this CPU's TLB are all forgotten.
    fn load_root(&self, root: PhysAddr);

    /// Makes this CPU's TLB forget: INVLPG for each page, or a reload of CR3.
    fn flush(&self, stale: Stale);

    /// Makes the TLBs of other CPUs forget what they hold of the address space with this root, and returns when they
    /// have done so (an inter-processor interrupt and its acknowledgement). CPUs that run another address space now may
    /// ignore it: they forget everything when they come back.
    fn shoot_down(&self, others: CpuSet, root: PhysAddr, stale: Stale);

    /// Copies from user memory at an address of the current address space, as supervisor code with the user's PKRU in
    /// effect and SMAP suspended.
    ///
    /// # Errors
    ///
    /// [`UserAccessFault`] for the first byte that the page tables or the keys do not let through.
    fn read_user(&self, addr: u64, into: &mut [u8]) -> Result<(), UserAccessFault>;

    /// Copies to user memory; otherwise as [`Cpu::read_user`].
    ///
    /// # Errors
    ///
    /// As [`Cpu::read_user`].
    fn write_user(&self, addr: u64, bytes: &[u8]) -> Result<(), UserAccessFault>;

    /// Replaces an aligned word of user memory by another, if it is as expected, and gives what it was: LOCK CMPXCHG, which
    /// writes in any case as far as faults go. Without an implementation of its own it is a read and then a write, and
    /// another CPU may change the word in between.
    ///
    /// # Errors
    ///
    /// As [`Cpu::write_user`].
    fn exchange_user(&self, addr: u64, expected: u32, new: u32) -> Result<u32, UserAccessFault> {
        let mut bytes = [0; 4];
        self.read_user(addr, &mut bytes)?;
        let found = u32::from_le_bytes(bytes);
        if found == expected {
            self.write_user(addr, &new.to_le_bytes())?;
        }
        Ok(found)
    }
}
