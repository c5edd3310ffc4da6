//! One mapping: a range of addresses with the same attributes.

use bitflags::bitflags;
use pkeys_core::{LeafSize, Pkey};

use crate::abi::Prot;
use crate::keys::KeyedMapping;
use crate::memory::layout::{Addresses, PAGE_SIZE};
use crate::memory::tables::LeafMode;

bitflags! {
    /// What is so or not so of a mapping. Two mappings in which any of it differs are never joined.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub(super) struct VmaFlags: u32 {
        /// `VM_SHARED`: writes reach everybody who maps the object.
        const SHARED = 1;
        /// `VM_GROWSDOWN`: a stack. It does not grow here, but `PROT_GROWSDOWN` and the guard gap know it.
        const GROWSDOWN = 1 << 1;
        /// `VM_ACCOUNT`: its pages are promised; see `is_accountable` in the module `map`.
        const ACCOUNT = 1 << 2;
        /// `VM_NORESERVE`.
        const NORESERVE = 1 << 3;
        /// `VM_SEALED`: `mseal(2)`.
        const SEALED = 1 << 4;
        /// `VM_DROPPABLE` with `VM_WIPEONFORK`.
        const DROPPABLE = 1 << 5;
        /// `VM_RAND_READ`.
        const RANDOM = 1 << 6;
        /// `VM_SEQ_READ`.
        const SEQUENTIAL = 1 << 7;
        /// `VM_NOHUGEPAGE`, which `MAP_STACK` sets.
        const NO_HUGE = 1 << 9;
        /// `VM_SYNC`, which `MAP_SYNC` sets.
        const SYNC = 1 << 11;
        /// `PROT_WRITE` can never be given (`VM_MAYWRITE` is missing): a shared mapping of a file that was opened for
        /// reading.
        const NO_WRITE = 1 << 12;
        /// No protection but `PROT_READ` can be given: the page of keys.
        const READ_ONLY = 1 << 10;
        /// The mapping has the promise of a huge page for each page without a leaf.
        const RESERVED = 1 << 8;
    }
}

/// What can differ between neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attrs {
    /// `PROT_READ`, `PROT_WRITE` and `PROT_EXEC`.
    pub(super) prot: Prot,
    pub(super) pkey: Pkey,
    pub(super) flags: VmaFlags,
    /// The size of its pages.
    pub(super) page: LeafSize,
}

/// The family of private pages a mapping belongs to: Linux's `anon_vma`, of which only the identity counts here, since
/// it decides about joining neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anon {
    pub(super) id: u64,
    /// Whether it descends from a mapping of a parent process. Such mappings are joined less freely.
    pub(super) is_inherited: bool,
}

/// A mapping. `O` is the reference to what is mapped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vma<O> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attrs: Attrs,
    /// The distance from the start of the object in pages of 4 KiB: where in a file the mapping begins. Of private
    /// anonymous memory: the address at which it was first mapped, by which neighbours that were moved here from
    /// somewhere else are known.
    pub(super) first_page: u64,
    pub(super) object: Option<O>,
    /// Present from the first page on that is written to.
    pub(super) anon: Option<Anon>,
}

impl<O> Vma<O> {
    pub(super) const fn range(&self) -> Addresses {
        self.start..self.end
    }

    /// [`Vma::first_page`] for an address in it.
    pub(super) const fn page_at(&self, addr: u64) -> u64 {
        self.first_page + (addr - self.start) / PAGE_SIZE
    }

    pub(super) const fn has(&self, flags: VmaFlags) -> bool {
        self.attrs.flags.contains(flags)
    }

    pub(super) const fn is_shared(&self) -> bool {
        self.has(VmaFlags::SHARED)
    }

    pub(super) const fn is_huge(&self) -> bool {
        !matches!(self.attrs.page, LeafSize::Size4K)
    }

    /// Private memory without a file: `vma_is_anonymous`.
    pub(super) const fn is_anonymous(&self) -> bool {
        self.object.is_none()
    }

    pub(super) const fn is_writable(&self) -> bool {
        self.attrs.prot.contains(Prot::WRITE)
    }

    pub(super) const fn keyed(&self) -> KeyedMapping {
        KeyedMapping {
            prot: self.attrs.prot,
            pkey: self.attrs.pkey,
        }
    }
}

impl Attrs {
    /// What a leaf lets through if its frame may be written to in place.
    pub(super) const fn mode(&self) -> LeafMode {
        LeafMode {
            is_present: self.prot.intersects(Prot::ACCESS),
            is_writable: self.prot.contains(Prot::WRITE),
            is_executable: self.prot.contains(Prot::EXEC),
            pkey: self.pkey,
        }
    }
}
