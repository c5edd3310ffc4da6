//! Page tables: the trait that a page-table library implements, and the one that comes with this library.
//!
//! The address space above knows mappings, keys and frames; a [`Tables`] knows entries. Between the two stand four
//! values: a [`Leaf`], its [`LeafMode`], and what a change leaves behind, a [`Flush`] that has to be committed. A kernel
//! with page tables of its own implements [`Tables`] and keeps all of Linux's semantics; [`FourLevel`] needs nothing but
//! physical memory.

mod entry;
mod flush;
mod four_level;
mod leaf;

pub use flush::{Flush, Unused};
pub use four_level::FourLevel;
pub use leaf::{Leaf, LeafMode, OldFrame};

use crate::hardware::PhysAddr;
use crate::memory::layout::Addresses;

/// There was no memory for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTable;

/// The page tables of one address space.
///
/// Addresses lie below 2^47, and ranges consist of whole pages of 4 KiB. A function that fails has changed nothing that a program can see.
pub trait Tables: Sized {
    /// Where tables come from.
    type Memory;

    /// Empty tables, or `None` if there is no memory for the root.
    ///
    /// What the kernel itself needs in every address space is the implementation's to put in.
    fn new(memory: Self::Memory) -> Option<Self>;

    /// What CR3 gets.
    fn root(&self) -> PhysAddr;

    /// The leaf that an address is mapped by.
    fn look_up(&self, addr: u64) -> Option<Leaf>;

    /// The first leaf in a range that maps any of it, and the first address of its page, which may lie before the
    /// range.
    fn next(&self, range: Addresses) -> Option<(u64, Leaf)>;

    /// Makes a leaf where there is none. TLBs hold no absent entries, so nobody has to be told.
    ///
    /// # Errors
    ///
    /// [`NoTable`].
    fn map(&mut self, addr: u64, leaf: Leaf) -> Result<(), NoTable>;

    /// Puts another leaf of the same size in the place of the one that there is. If the frame is another one, the old
    /// one lies in the token; else nothing does.
    fn replace(&mut self, addr: u64, leaf: Leaf) -> Flush;

    /// Changes the mode, and the note about other owners, of each leaf in a range. A larger page that reaches out of the
    /// range is split first.
    ///
    /// # Errors
    ///
    /// [`NoTable`], if there is none for a split.
    fn change(
        &mut self,
        range: Addresses,
        change: &mut dyn FnMut(u64, &mut Leaf),
    ) -> Result<Flush, NoTable>;

    /// Takes out each leaf in a range. A larger page that reaches out of the range is split first. `empty` is a range
    /// around it in which nothing is mapped afterwards: tables that serve no address outside of it are taken out, too.
    ///
    /// # Errors
    ///
    /// [`NoTable`], if there is none for a split.
    fn unmap(&mut self, range: Addresses, empty: Addresses) -> Result<Flush, NoTable>;

    /// Takes out the leaf of one page without giving up its frame: the caller maps it somewhere else. Its tables stay, so
    /// that it can be mapped where it was.
    fn take(&mut self, addr: u64) -> Option<(Leaf, Flush)>;

    /// Gives the tables back, the root too. No leaf is left in them, no CPU uses them, and nothing is called after this.
    fn destroy(&mut self);
}
