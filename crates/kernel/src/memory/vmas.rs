//! The mappings of an address space, in order.
//!
//! They do not overlap. Which neighbours are parts of one mapping is decided in the module `merge`; here they are
//! found, put in, cut and taken out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::{Bound, RangeBounds};

use crate::abi::Errno;
use crate::memory::gaps::Gaps;
use crate::memory::layout::{
    Addresses, MAX_MAP_COUNT, MMAP_BASE, MMAP_FALLBACK_BASE, MMAP_MIN_ADDR, PAGE_SIZE,
    STACK_GUARD_GAP, TASK_SIZE, align_down, align_up, is_aligned,
};
use crate::memory::vma::{Vma, VmaFlags};

/// Mappings by their first address.
#[derive(Debug)]
pub(super) struct Vmas<O> {
    map: BTreeMap<u64, Vma<O>>,
    /// The room below each of them, from the lowest address that can be mapped on.
    gaps: Gaps,
    /// Where those begin that have a guard gap below.
    guarded: BTreeSet<u64>,
}

impl<O> Vmas<O> {
    pub(super) const fn new() -> Self {
        Self {
            map: BTreeMap::new(),
            gaps: Gaps::new(),
            guarded: BTreeSet::new(),
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
        let range = vma.range();
        self.map.insert(range.start, vma);
        self.note_room(range.start);
        self.note_room_behind(range.start);
    }

    pub(super) fn remove(&mut self, start: u64) -> Option<Vma<O>> {
        let removed = self.map.remove(&start);
        self.note_room(start);
        self.note_room_behind(start);
        removed
    }

    /// Notes the room below the mapping that begins at an address, if one does.
    fn note_room(&mut self, start: u64) {
        let low = self
            .last_in(..start)
            .map_or(MMAP_MIN_ADDR, |vma| vma.end.max(MMAP_MIN_ADDR));
        let vma = self.map.get(&start);
        let room = vma.map_or(0, |vma| vma.start.saturating_sub(low));
        if vma.is_some_and(|vma| vma.has(VmaFlags::GROWSDOWN)) {
            self.guarded.insert(start);
        } else {
            self.guarded.remove(&start);
        }
        self.gaps.set(start, room);
    }

    /// The same for the next mapping above an address.
    fn note_room_behind(&mut self, addr: u64) {
        let behind = (Bound::Excluded(addr), Bound::Unbounded);
        if let Some(next) = self.map.range(behind).next().map(|(start, _)| *start) {
            self.note_room(next);
        }
    }

    /// Takes out every mapping that begins in a range.
    pub(super) fn remove_in(&mut self, range: &Addresses) -> Vec<Vma<O>> {
        let mut removed = Vec::new();
        while let Some((start, _)) = self.map.range(range.clone()).next() {
            let start = *start;
            removed.extend(self.remove(start));
        }
        removed
    }

    /// Moves the borders of a mapping outwards or inwards. The distance to the start of the object goes along.
    pub(super) fn reshape(&mut self, start: u64, new: Addresses) {
        if start == new.start {
            if let Some(vma) = self.map.get_mut(&start) {
                vma.end = new.end;
            }
            self.note_room_behind(start);
        } else if let Some(mut vma) = self.remove(start) {
            vma.first_page = if new.start > start {
                vma.first_page.wrapping_add((new.start - start) / PAGE_SIZE)
            } else {
                vma.first_page.wrapping_sub((start - new.start) / PAGE_SIZE)
            };
            vma.start = new.start;
            vma.end = new.end;
            self.insert(vma);
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
        let behind_all = self.last_in(..MMAP_BASE).map_or(0, |vma| vma.end);
        fits(behind_all.max(MMAP_MIN_ADDR), MMAP_BASE).or_else(|| {
            let mut gaps = self.gaps.down_from(MMAP_BASE, len);
            gaps.find_map(|gap| fits(gap.start(), self.unguarded(gap.end, MMAP_BASE)))
        })
    }

    /// Where the room ends that goes up to the mapping at an address: a guard gap may reach beyond other mappings. Those of
    /// mappings from there up to a limit count.
    fn unguarded(&self, end: u64, limit: u64) -> u64 {
        let guard = self.guarded.range(end..limit.max(end)).next();
        guard.map_or(end, |start| end.min(start.saturating_sub(STACK_GUARD_GAP)))
    }

    fn lowest_gap(&self, len: u64, align: u64) -> Option<u64> {
        let fits = |low: u64, high: u64| {
            let start = align_up(low, align);
            (start >= low && start.checked_add(len)? <= high).then_some(start)
        };
        let bottom = MMAP_FALLBACK_BASE;
        let mut gaps = self.gaps.up_from(bottom, len);
        let found = gaps.find_map(|gap| {
            let high = self.unguarded(gap.end, gap.end + 1);
            fits(gap.start().max(bottom), high)
        });
        found.or_else(|| {
            let behind_all = self.last_in(..).map_or(0, |vma| vma.end);
            fits(behind_all.max(bottom), TASK_SIZE)
        })
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
        self.insert(upper);
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

#[cfg(test)]
mod tests {
    use pkeys_core::{LeafSize, Pkey};

    use super::*;
    use crate::abi::Prot;
    use crate::memory::vma::Attrs;

    /// The search as a walk over all mappings.
    fn walk<O>(vmas: &Vmas<O>, len: u64, align: u64) -> Option<u64> {
        let fits = |low: u64, high: u64| {
            let start = align_down(high.checked_sub(len)?, align);
            (start >= low).then_some(start)
        };
        let mut high = MMAP_BASE;
        for vma in vmas.map.range(..MMAP_BASE).rev().map(|(_, vma)| vma) {
            if let Some(start) = fits(vma.end.max(MMAP_MIN_ADDR), high) {
                return Some(start);
            }
            high = high.min(start_with_gap(vma));
        }
        fits(MMAP_MIN_ADDR, high).or_else(|| walk_up(vmas, len, align))
    }

    fn walk_up<O>(vmas: &Vmas<O>, len: u64, align: u64) -> Option<u64> {
        let fits = |low: u64, high: u64| {
            let start = align_up(low, align);
            (start >= low && start.checked_add(len)? <= high).then_some(start)
        };
        let mut low = vmas
            .at(MMAP_FALLBACK_BASE)
            .map_or(MMAP_FALLBACK_BASE, |vma| vma.end);
        for vma in vmas.map.range(low..).map(|(_, vma)| vma) {
            if let Some(start) = fits(low, start_with_gap(vma)) {
                return Some(start);
            }
            low = vma.end;
        }
        fits(low, TASK_SIZE)
    }

    fn mapping(range: Addresses, grows: bool) -> Vma<()> {
        Vma {
            start: range.start,
            end: range.end,
            attrs: Attrs {
                prot: Prot::READ,
                pkey: Pkey::DEFAULT,
                flags: if grows {
                    VmaFlags::GROWSDOWN
                } else {
                    VmaFlags::empty()
                },
                page: LeafSize::Size4K,
            },
            first_page: range.start / PAGE_SIZE,
            object: None,
            anon: None,
        }
    }

    /// What is kept beside the mappings is what they say.
    fn check_kept(vmas: &Vmas<()>) {
        let mut low = MMAP_MIN_ADDR;
        let mut gaps = vmas.gaps.up_from(0, 1);
        for vma in vmas.map.values() {
            if low < vma.start {
                let gap = gaps.next().map(|gap| gap.start()..gap.end);
                assert_eq!(gap, Some(low..vma.start));
            }
            low = vma.end.max(MMAP_MIN_ADDR);
        }
        assert_eq!(gaps.next(), None);
        let grows = vmas.iter().filter(|vma| vma.has(VmaFlags::GROWSDOWN));
        assert!(vmas.guarded.iter().copied().eq(grows.map(|vma| vma.start)));
    }

    fn check_search(vmas: &Vmas<()>, lens: &[u64]) {
        for len in lens {
            for align in [PAGE_SIZE, 2 << 20, 1 << 30] {
                let found = vmas.find_gap(*len, align);
                assert_eq!(
                    found,
                    walk(vmas, *len, align),
                    "{len:#x} {align:#x} {vmas:x?}"
                );
            }
        }
    }

    /// Every row of seven places, each free, mapped or a stack, around each border of the search; with room below and without.
    /// A guard gap covers two places.
    #[test]
    fn every_small_layout_is_searched_as_by_a_walk() {
        const PLACE: u64 = STACK_GUARD_GAP / 2;
        const NR: u64 = 7;
        let lens = [1, 2, 3, 4, 7, 8].map(|places| places * PLACE);
        let lens = [
            &lens[..],
            &[PAGE_SIZE, PLACE + PAGE_SIZE, TASK_SIZE, u64::MAX - 4095],
        ]
        .concat();
        for first in [
            MMAP_BASE - 4 * PLACE,
            MMAP_BASE - 6 * PLACE - PAGE_SIZE,
            MMAP_FALLBACK_BASE - 3 * PLACE,
            MMAP_MIN_ADDR - PAGE_SIZE,
            TASK_SIZE - NR * PLACE,
        ] {
            for layout in 0..3_u32.pow(7) {
                let mut vmas = Vmas::new();
                for (place, start) in (0..7).zip((first..).step_by(usize::try_from(PLACE).unwrap()))
                {
                    let kind = layout / 3_u32.pow(place) % 3;
                    if kind > 0 {
                        vmas.insert(mapping(start..start + PLACE, kind == 2));
                    }
                }
                check_kept(&vmas);
                check_search(&vmas, &lens);
                // No room below: the search goes up.
                let low = vmas.first().map_or(first, |vma| vma.start);
                if low > MMAP_MIN_ADDR {
                    vmas.insert(mapping(MMAP_MIN_ADDR..low, false));
                    check_search(&vmas, &lens);
                    if low < MMAP_BASE {
                        let behind = vmas.last_in(..).map_or(0, |vma| vma.end).max(MMAP_BASE);
                        let wall = MMAP_BASE - PAGE_SIZE..behind + PAGE_SIZE;
                        if vmas.first_in(&wall).is_none() {
                            vmas.insert(mapping(wall, false));
                            check_search(&vmas, &lens);
                        }
                    }
                }
            }
        }
    }

    /// Mappings that are put in, cut, reshaped and taken out in any order.
    #[test]
    fn any_history_is_searched_as_by_a_walk() {
        let mut vmas = Vmas::new();
        let mut random = 0x1234_5678_u32;
        let mut next = move |below: u32| {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            u64::from(random % below)
        };
        let lens = [1, 2, 5, 17, 256, 700, 4096].map(|pages| pages * PAGE_SIZE);
        for _ in 0..6_000 {
            let start = MMAP_BASE + 64 * PAGE_SIZE - (1 + next(8000)) * PAGE_SIZE;
            let end = start + (1 + next(40)) * PAGE_SIZE;
            let inside = vmas.find(start).map(Vma::range);
            match (next(8), inside) {
                (0..4, _) if vmas.first_in(&(start..end)).is_none() => {
                    vmas.insert(mapping(start..end, next(6) == 0));
                }
                (4, Some(range)) if range.end - range.start > PAGE_SIZE => {
                    vmas.split(range.start, range.end - PAGE_SIZE).unwrap();
                }
                (5, Some(range)) => {
                    let gap = vmas.gap_around(&range);
                    let start = gap
                        .start
                        .max(range.start.saturating_sub(next(5) * PAGE_SIZE));
                    let end = gap.end.min(range.end + next(5) * PAGE_SIZE);
                    vmas.reshape(range.start, start..end);
                }
                (6, Some(range)) if range.end - range.start > 2 * PAGE_SIZE => {
                    let new = range.start + next(2) * PAGE_SIZE..range.end - PAGE_SIZE;
                    vmas.reshape(range.start, new);
                }
                (6, Some(range)) => drop(vmas.remove(range.start)),
                (7, _) if next(4) == 0 => drop(vmas.remove_in(&(start..end + 300 * PAGE_SIZE))),
                _ => {}
            }
            check_kept(&vmas);
            check_search(&vmas, &lens);
        }
        assert!(vmas.len() > 50, "too few for a test: {}", vmas.len());
    }
}
