//! Mappings as a program can see them: what `/proc/PID/smaps` shows.

use core::fmt;

use alloc::vec::Vec;
use lock_api::RawMutex;
use pkeys_core::{LeafSize, Pkey};

use crate::abi::Prot;
use crate::hardware::PhysMemory;
use crate::memory::space::Space;
use crate::memory::tables::Tables;
use crate::memory::vma::{Vma, VmaFlags};

/// A mapping at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingView {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// `PROT_READ`, `PROT_WRITE` and `PROT_EXEC`.
    pub prot: Prot,
    /// Its key.
    pub pkey: Pkey,
    /// Whether it was mapped with `MAP_SHARED`.
    pub is_shared: bool,
    /// The size of its pages.
    pub page_size: LeafSize,
    /// Whether `mseal(2)` was called on it.
    pub is_sealed: bool,
}

impl<O> From<&Vma<O>> for MappingView {
    fn from(vma: &Vma<O>) -> Self {
        Self {
            start: vma.start,
            end: vma.end,
            prot: vma.attrs.prot,
            pkey: vma.attrs.pkey,
            is_shared: vma.is_shared(),
            page_size: vma.attrs.page,
            is_sealed: vma.has(VmaFlags::SEALED),
        }
    }
}

/// A mapping's line in `/proc/PID/maps`, without its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a>(&'a MappingView);

impl MappingView {
    /// What begins its lines in smaps as well.
    pub(crate) const fn line(&self) -> Line<'_> {
        Line(self)
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mapping) = self;
        let flag = |prot, letter| {
            if mapping.prot.contains(prot) {
                letter
            } else {
                '-'
            }
        };
        write!(
            f,
            "{:08x}-{:08x} {}{}{}{} 00000000 00:00 0",
            mapping.start,
            mapping.end,
            flag(Prot::READ, 'r'),
            flag(Prot::WRITE, 'w'),
            flag(Prot::EXEC, 'x'),
            if mapping.is_shared { 's' } else { 'p' },
        )
    }
}

/// The lines of smaps that this library has something to say in.
impl fmt::Display for MappingView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line())?;
        let kib = |bytes: u64| bytes / 1024;
        writeln!(f, "Size:           {:8} kB", kib(self.end - self.start))?;
        writeln!(f, "KernelPageSize: {:8} kB", kib(self.page_size.bytes()))?;
        writeln!(f, "ProtectionKey:  {:8}", self.pkey)
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// The mapping that holds an address.
    #[must_use]
    pub fn mapping(&self, addr: u64) -> Option<MappingView> {
        self.inner.lock().vmas.at(addr).map(MappingView::from)
    }

    /// All mappings, in order.
    #[must_use]
    pub fn mappings(&self) -> Vec<MappingView> {
        let inner = self.inner.lock();
        inner.vmas.iter().map(MappingView::from).collect()
    }
}
