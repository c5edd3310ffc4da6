//! The mappings of an address space, in order.
//!
//! They do not overlap. Which neighbours are parts of one mapping is decided in the module `merge`; here they are
//! found, put in, cut and taken out.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::RangeBounds;

use crate::abi::Errno;
use crate::memory::layout::{
    Addresses, MAX_MAP_COUNT, MMAP_BASE, MMAP_FALLBACK_BASE, MMAP_MIN_ADDR, PAGE_SIZE,
    STACK_GUARD_GAP, TASK_SIZE, align_down, align_up, is_aligned,
};
use crate::memory::vma::{Vma, VmaFlags};

/// Mappings by their first address.
#[derive(Debug)]
pub(super) struct Vmas<O> {
    pub(super) map: BTreeMap<u64, Vma<O>>,
}

impl<O> Vmas<O> {
    pub(super) const fn new() -> Self {
        Self {
            map: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Vma<O>> {
        self.map.values()
    }

    pub(super) fn first(&self) -> Option<&Vma<O>> {
        self.map.first_key_value().map(|(_, vma)| vma)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Vma<O>> {
        self.map.values_mut()
    }

    /// The first mapping that ends behind an address: the one that holds it, or the next one.
    pub(super) fn find(&self, addr: u64) -> Option<&Vma<O>> {
        match self.at(addr) {
            Some(vma) => Some(vma),
            None => self.map.range(addr..).next().map(|(_, vma)| vma),
        }
    }

    /// The mapping that holds an address.
    pub(super) fn at(&self, addr: u64) -> Option<&Vma<O>> {
        self.last_in(..=addr).filter(|vma| addr < vma.end)
    }

    /// The first mapping that has any of a range.
    pub(super) fn first_in(&self, range: &Addresses) -> Option<&Vma<O>> {
        self.find(range.start)
            .filter(|vma| vma.start < range.end && !range.is_empty())
    }

    /// The mapping that ends where another one, or a range, begins.
    pub(super) fn ending_at(&self, addr: u64) -> Option<&Vma<O>> {
        self.last_in(..addr).filter(|vma| vma.end == addr)
    }

    /// The mapping that begins at an address.
    pub(super) fn starting_at(&self, addr: u64) -> Option<&Vma<O>> {
        self.map.get(&addr)
    }

    pub(super) fn starting_at_mut(&mut self, addr: u64) -> Option<&mut Vma<O>> {
        self.map.get_mut(&addr)
    }

    fn last_in(&self, starts: impl RangeBounds<u64>) -> Option<&Vma<O>> {
        self.map.range(starts).next_back().map(|(_, vma)| vma)
    }

    /// Whether anything of a range is not mapped.
    pub(super) fn has_hole(&self, range: &Addresses) -> bool {
        let mut at = range.start;
        while at < range.end {
            match self.at(at) {
                Some(vma) => at = vma.end,
                None => return true,
            }
        }
        false
    }

    /// Puts a mapping in where there is none.
    pub(super) fn insert(&mut self, vma: Vma<O>) {
        self.map.insert(vma.start, vma);
    }

    pub(super) fn remove(&mut self, start: u64) -> Option<Vma<O>> {
        self.map.remove(&start)
    }

    /// Takes out every mapping that begins in a range.
    pub(super) fn remove_in(&mut self, range: &Addresses) -> Vec<Vma<O>> {
        let mut removed = Vec::new();
        while let Some((start, _)) = self.map.range(range.clone()).next() {
            let start = *start;
            removed.extend(self.map.remove(&start));
        }
        removed
    }

    /// Moves the borders of a mapping outwards or inwards. The distance to the start of the object goes along.
    pub(super) fn reshape(&mut self, start: u64, new: Addresses) {
        if start == new.start {
            if let Some(vma) = self.map.get_mut(&start) {
                vma.end = new.end;
            }
        } else if let Some(mut vma) = self.map.remove(&start) {
            vma.first_page = if new.start > start {
                vma.first_page.wrapping_add((new.start - start) / PAGE_SIZE)
            } else {
                vma.first_page.wrapping_sub((start - new.start) / PAGE_SIZE)
            };
            vma.start = new.start;
            vma.end = new.end;
            self.map.insert(new.start, vma);
        }
    }

    /// The empty space around a range: from the end of the mapping before it to the start of the one behind it.
    pub(super) fn gap_around(&self, range: &Addresses) -> Addresses {
        let start = self.last_in(..range.start).map_or(0, |vma| vma.end);
        let end = self
            .map
            .range(range.end..)
            .next()
            .map_or(u64::MAX, |(start, _)| *start);
        start..end
    }

    /// Whether nothing is mapped in a range, nor so near above that a stack would lose its guard gap.
    pub(super) fn is_free_for(&self, addr: u64, len: u64) -> bool {
        self.find(addr)
            .is_none_or(|vma| addr + len <= start_with_gap(vma))
    }

    /// The highest free range of a length below [`MMAP_BASE`], or else the lowest above [`MMAP_FALLBACK_BASE`].
    pub(super) fn find_gap(&self, len: u64, align: u64) -> Option<u64> {
        self.highest_gap(len, align)
            .or_else(|| self.lowest_gap(len, align))
    }

    fn highest_gap(&self, len: u64, align: u64) -> Option<u64> {
        let fits = |low: u64, high: u64| {
            let start = align_down(high.checked_sub(len)?, align);
            (start >= low).then_some(start)
        };
        let mut high = MMAP_BASE;
        for vma in self.map.range(..MMAP_BASE).rev().map(|(_, vma)| vma) {
            if let Some(start) = fits(vma.end.max(MMAP_MIN_ADDR), high) {
                return Some(start);
            }
            high = high.min(start_with_gap(vma));
        }
        fits(MMAP_MIN_ADDR, high)
    }

    fn lowest_gap(&self, len: u64, align: u64) -> Option<u64> {
        let fits = |low: u64, high: u64| {
            let start = align_up(low, align);
            (start >= low && start.checked_add(len)? <= high).then_some(start)
        };
        let mut low = self
            .at(MMAP_FALLBACK_BASE)
            .map_or(MMAP_FALLBACK_BASE, |vma| vma.end);
        for vma in self.map.range(low..).map(|(_, vma)| vma) {
            if let Some(start) = fits(low, start_with_gap(vma)) {
                return Some(start);
            }
            low = vma.end;
        }
        fits(low, TASK_SIZE)
    }
}

impl<O: Clone> Vmas<O> {
    /// Cuts a mapping in two at an address inside it.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] if a page would be cut; [`Errno::NoMemory`] if there would be too many mappings.
    pub(super) fn split(&mut self, start: u64, at: u64) -> Result<(), Errno> {
        if self.len() >= MAX_MAP_COUNT {
            return Err(Errno::NoMemory);
        }
        self.split_beyond_limit(start, at)
    }

    /// [`Vmas::split`] for callers that take mappings out right after.
    pub(super) fn split_beyond_limit(&mut self, start: u64, at: u64) -> Result<(), Errno> {
        let Some(vma) = self.map.get_mut(&start) else {
            return Ok(());
        };
        if !is_aligned(at, vma.attrs.page.bytes()) {
            return Err(Errno::Invalid);
        }
        let mut upper = vma.clone();
        upper.first_page = vma.page_at(at);
        upper.start = at;
        vma.end = at;
        self.map.insert(at, upper);
        Ok(())
    }
}

/// Where a mapping begins for those who look for room below it.
fn start_with_gap<O>(vma: &Vma<O>) -> u64 {
    if vma.has(VmaFlags::GROWSDOWN) {
        vma.start.saturating_sub(STACK_GUARD_GAP)
    } else {
        vma.start
    }
}
