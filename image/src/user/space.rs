//! An address space for case programs: a few pages.

use core::sync::atomic::Ordering::Acquire;

use pkeys_core::Pkey;
use pkeys_core::pte::{self, PRESENT, USER};

use crate::memory::frames;
use crate::memory::kernel_tables::{self, OutOfMemory, WRITABLE};

/// What a page is for, as bits of its entry.
pub(crate) const CODE: u64 = PRESENT | USER;
/// As [`CODE`]; not executable.
pub(crate) const DATA: u64 = PRESENT | USER | WRITABLE | kernel_tables::NO_EXECUTE;

/// The lower half of a root, given back when dropped.
#[derive(Debug)]
pub(crate) struct Space {
    root: u64,
}

impl Space {
    /// Nothing but the kernel's half.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        let root = frames::allocate_one().ok_or(OutOfMemory)?;
        kernel_tables::share_with(root);
        Ok(Self { root })
    }

    /// The physical address of the root.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// Maps a new page with a key; gives its frame.
    pub(crate) fn map(&self, addr: u64, flags: u64, pkey: Pkey) -> Result<u64, OutOfMemory> {
        let frame = frames::allocate_one().ok_or(OutOfMemory)?;
        kernel_tables::map_below(self.root, addr, frame, pte::set(flags, pkey))?;
        Ok(frame)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        kernel_tables::free_lower_half(self.root);
    }
}

/// The key of the page at an address below a root.
pub(crate) fn pkey(root: u64, addr: u64) -> Option<Pkey> {
    let bits = kernel_tables::leaf_below(root, addr)?.0.load(Acquire);
    (bits & PRESENT != 0).then(|| pte::get(bits))
}
