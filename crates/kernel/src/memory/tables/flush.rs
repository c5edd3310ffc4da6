//! The proof that TLBs are told: what a change of the page tables leaves to be done.
//!
//! A change of a leaf that was present may stay unknown to the TLBs of all CPUs that run the address space. A CPU that
//! is not told goes on with the old rights, or, worse, with a frame that by then is somebody else's. So a change answers
//! with a [`Flush`], which has the frames that fell out of use in it, and there is no other way to them but
//! [`Flush::commit`], which tells the CPUs first.
//!
//! A token that is dropped leaves its frames allocated for ever: a leak, and not a use after free.
//!
//! Source: SDM Vol. 3A, 4.10.4.

use alloc::vec::Vec;

use crate::hardware::{Cpu, CpuSet, PhysAddr, Stale};
use crate::memory::tables::OldFrame;
use crate::mutant::{self, Mutant};

/// What TLBs have to forget, and the frames that can be used anew when they have.
#[derive(Debug)]
#[must_use = "TLBs hold the old entries until this is committed"]
pub struct Flush {
    /// The addresses from the first to behind the last; empty if there are none.
    start: u64,
    end: u64,
    /// Whether a frame or a table fell out of use, so that the change is more than one of rights.
    has_removed: bool,
    old: Vec<OldFrame>,
}

impl Default for Flush {
    fn default() -> Self {
        Self::nothing()
    }
}

impl Flush {
    /// Nothing is to be done.
    pub const fn nothing() -> Self {
        Self {
            start: u64::MAX,
            end: 0,
            has_removed: false,
            old: Vec::new(),
        }
    }

    /// An entry that was present has changed.
    pub fn add_range(&mut self, start: u64, end: u64) {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
    }

    /// A frame has fallen out of use, or a table that no entry points to any more.
    pub fn add_frame(&mut self, old: OldFrame) {
        self.has_removed = true;
        self.old.push(old);
    }

    /// Both in one.
    pub fn and(mut self, other: Self) -> Self {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.has_removed |= other.has_removed;
        if self.old.is_empty() {
            self.old = other.old;
        } else {
            self.old.extend(other.old);
        }
        self
    }

    /// Whether some TLB has to forget something.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.start < self.end
    }

    /// Tells the TLBs of all CPUs in `active`, which run the address space with this root, and gives the frames.
    ///
    /// `cpu` is the one that executes this.
    pub fn commit<C: Cpu>(self, cpu: &C, active: CpuSet, root: PhysAddr) -> Unused {
        if self.is_needed() {
            let stale = Stale::Range {
                start: self.start,
                end: self.end,
            };
            let here = cpu.id();
            let is_broken = |mutant| mutant::is(mutant) && !self.has_removed;
            if active.contains(here) && !is_broken(Mutant::ForgottenFlush) {
                cpu.flush(stale);
            }
            let others = active.without(here);
            if !others.is_empty() && !is_broken(Mutant::ForgottenShootDown) {
                cpu.shoot_down(others, root, stale);
            }
        }
        Unused { old: self.old }
    }

    /// Gives the frames without telling anybody, for a reason that has to be stated: no CPU can have used the tables
    /// since their entries were made.
    pub fn ignore(self, _why: &'static str) -> Unused {
        Unused { old: self.old }
    }
}

/// Frames that no TLB knows any more: ready to be given back.
#[derive(Debug)]
#[must_use = "the frames stay allocated until they are given back"]
pub struct Unused {
    old: Vec<OldFrame>,
}

impl Unused {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.old.is_empty()
    }
}

impl IntoIterator for Unused {
    type Item = OldFrame;
    type IntoIter = alloc::vec::IntoIter<OldFrame>;

    fn into_iter(self) -> Self::IntoIter {
        self.old.into_iter()
    }
}
