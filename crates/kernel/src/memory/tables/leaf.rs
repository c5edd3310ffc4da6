//! A leaf of the page tables as a value.
//!
//! Every leaf owns one share of its frame. Whether somebody else has one as well is noted in the leaf
//! ([`Leaf::is_shared`]), so that the common case, a frame with one owner, needs no look at the pool.

use pkeys_core::{LeafSize, Pkey};

use crate::hardware::PhysAddr;

/// What a leaf lets a program do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafMode {
    /// Whether it can be used at all. A leaf that cannot keeps its frame, for the day it can again (`PROT_NONE`).
    pub is_present: bool,
    /// Whether it can be written to.
    pub is_writable: bool,
    /// Whether instructions can be fetched from it.
    pub is_executable: bool,
    /// Its key.
    pub pkey: Pkey,
}

/// What an address is mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// The first address of the frame.
    pub frame: PhysAddr,
    /// The size of the frame, and of the page.
    pub size: LeafSize,
    /// Whether the frame may have other owners, who are counted in the pool.
    pub is_shared: bool,
    /// What it lets a program do.
    pub mode: LeafMode,
}

/// A frame, or a share of one, that is in nobody's use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OldFrame {
    /// The first address.
    pub at: PhysAddr,
    /// The size.
    pub size: LeafSize,
    /// Whether it may have other owners.
    pub is_shared: bool,
}

impl Leaf {
    /// What it may let a program do of what the mapping would: nobody writes in place to what somebody else may see, unless
    /// the mapping is one whose writes everybody sees. Such a page is copied at the next write, and not before. `zeros` is
    /// the frame that belongs to all.
    pub(in crate::memory) fn allowed(
        &self,
        mode: LeafMode,
        is_mapping_shared: bool,
        zeros: PhysAddr,
    ) -> LeafMode {
        let is_own = !self.is_shared && self.frame != zeros;
        LeafMode {
            is_writable: mode.is_writable && (is_mapping_shared || is_own),
            ..mode
        }
    }

    /// Its frame, as what remains of it.
    #[must_use]
    pub const fn old_frame(&self) -> OldFrame {
        OldFrame {
            at: self.frame,
            size: self.size,
            is_shared: self.is_shared,
        }
    }
}
