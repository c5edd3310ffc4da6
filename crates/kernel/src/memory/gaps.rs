//! The free ranges between mappings, by address: the highest, or the lowest, that is long enough.
//!
//! An address space may have tens of thousands of mappings, and Linux's rule is the highest range that fits. Whoever walks
//! from the top for it passes all mappings that leave no room, at each call, and with interrupts kept out where a lock does
//! that. So the ranges are kept in blocks, each with the length of its longest: a search passes blocks, and looks into those
//! in which there is something.
//!
//! A block has no more than [`BLOCK_MAX`] ranges, and two neighbours have more than a quarter of that together: with as many
//! mappings as there may be, some hundreds of blocks.

use alloc::vec::Vec;

/// So many ranges are in a block at most.
const BLOCK_MAX: usize = 256;

/// Two blocks become one when they have no more than this together.
const BLOCK_MIN: usize = BLOCK_MAX / 4;

/// A free range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Where the mapping behind it begins.
    pub(super) end: u64,
    /// Its length, not zero.
    pub(super) len: u64,
}

impl Gap {
    /// Its first address.
    pub(super) const fn start(&self) -> u64 {
        self.end - self.len
    }
}

/// Neighbours, in order; at least one.
#[derive(Debug)]
struct Block {
    longest: u64,
    gaps: Vec<Gap>,
}

impl Block {
    fn new(gaps: Vec<Gap>) -> Self {
        let mut block = Self { longest: 0, gaps };
        block.measure();
        block
    }

    fn measure(&mut self) {
        self.longest = self.gaps.iter().map(|gap| gap.len).max().unwrap_or(0);
    }

    fn end(&self) -> u64 {
        self.gaps.last().map_or(0, |gap| gap.end)
    }
}

/// All free ranges below mappings.
#[derive(Debug)]
pub(super) struct Gaps {
    blocks: Vec<Block>,
}

impl Gaps {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Says how long the free range is that ends at an address; 0 if there is none.
    pub(super) fn set(&mut self, end: u64, len: u64) {
        let behind = self.blocks.partition_point(|block| block.end() < end);
        // One behind all others goes into the last block.
        let at = behind.min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get_mut(at) else {
            if len != 0 {
                self.blocks.push(Block::new(Vec::from([Gap { end, len }])));
            }
            return;
        };
        match (block.gaps.binary_search_by_key(&end, |gap| gap.end), len) {
            (Err(_), 0) => return,
            (Err(place), len) => block.gaps.insert(place, Gap { end, len }),
            (Ok(place), 0) => drop(block.gaps.remove(place)),
            (Ok(place), len) => {
                if let Some(gap) = block.gaps.get_mut(place) {
                    gap.len = len;
                }
            }
        }
        block.measure();
        self.balance(at);
    }

    /// Cuts a block that is too large, and joins one that is small with its neighbours.
    fn balance(&mut self, at: usize) {
        let Some(block) = self.blocks.get_mut(at) else {
            return;
        };
        if block.gaps.is_empty() {
            self.blocks.remove(at);
            return;
        }
        if block.gaps.len() > BLOCK_MAX {
            let upper = block.gaps.split_off(BLOCK_MAX / 2);
            block.measure();
            self.blocks.insert(at + 1, Block::new(upper));
            return;
        }
        self.join(at);
        if let Some(lower) = at.checked_sub(1) {
            self.join(lower);
        }
    }

    /// Joins a block with the next, if both are small.
    fn join(&mut self, lower: usize) {
        let Some([one, other]) = self
            .blocks
            .get_mut(lower..)
            .and_then(<[Block]>::first_chunk_mut)
        else {
            return;
        };
        if one.gaps.len() + other.gaps.len() <= BLOCK_MIN {
            one.gaps.append(&mut other.gaps);
            one.measure();
            self.blocks.remove(lower + 1);
        }
    }

    /// The ranges that end below an address and have a length at least, from the highest down.
    pub(super) fn down_from(&self, below: u64, len: u64) -> impl Iterator<Item = Gap> {
        let blocks = self.blocks.iter().rev();
        let blocks = blocks.filter(move |block| block.longest >= len);
        let gaps = blocks.flat_map(|block| block.gaps.iter().rev());
        gaps.filter(move |gap| gap.end < below && gap.len >= len)
            .copied()
    }

    /// The ranges that end above an address and have a length at least, from the lowest up.
    pub(super) fn up_from(&self, above: u64, len: u64) -> impl Iterator<Item = Gap> {
        let blocks = self.blocks.iter();
        let blocks = blocks.filter(move |block| block.longest >= len && block.end() > above);
        let gaps = blocks.flat_map(|block| &block.gaps);
        gaps.filter(move |gap| gap.end > above && gap.len >= len)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use super::{BLOCK_MAX, BLOCK_MIN, Gap, Gaps};

    fn check(gaps: &Gaps, model: &BTreeMap<u64, u64>) {
        let all: Vec<Gap> = gaps.up_from(0, 1).collect();
        let expected = model.iter().map(|(end, len)| Gap {
            end: *end,
            len: *len,
        });
        assert!(all.iter().copied().eq(expected));
        for block in &gaps.blocks {
            assert!((1..=BLOCK_MAX).contains(&block.gaps.len()));
            let longest = block.gaps.iter().map(|gap| gap.len).max();
            assert_eq!(Some(block.longest), longest);
        }
        for pair in gaps.blocks.windows(2) {
            assert!(pair[0].gaps.len() + pair[1].gaps.len() > BLOCK_MIN);
        }
    }

    /// What is added, changed and removed in any order, against a sorted map.
    #[test]
    fn blocks_agree_with_a_map() {
        let mut gaps = Gaps::new();
        let mut model = BTreeMap::new();
        let mut random = 0x9E37_79B9_u32;
        for round in 0..30_000_u32 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let end = u64::from(1 + random % 3000) * 64;
            // First it grows, then it shrinks to nothing, and grows again.
            let is_growing = round / 7500 % 2 == 0;
            let is_added = (random >> 12) % 8 < if is_growing { 7 } else { 1 };
            let len = if is_added {
                u64::from(1 + (random >> 16) % 63)
            } else {
                0
            };
            gaps.set(end, len);
            match len {
                0 => drop(model.remove(&end)),
                len => drop(model.insert(end, len)),
            }
            if round % 50 == 0 {
                check(&gaps, &model);
                for len in [1, 20, 60, 63, 64] {
                    let long = |gap: &(&u64, &u64)| *gap.1 >= len;
                    let below = model.range(..end).rev().find(long).map(|(end, _)| *end);
                    assert_eq!(gaps.down_from(end, len).next().map(|gap| gap.end), below);
                    let above = model.range(end + 1..).find(long).map(|(end, _)| *end);
                    assert_eq!(gaps.up_from(end, len).next().map(|gap| gap.end), above);
                }
            }
        }
        assert!(gaps.blocks.len() > 3, "too few for a test of blocks");
        for end in model.keys().copied().collect::<Vec<_>>() {
            gaps.set(end, 0);
            model.remove(&end);
        }
        check(&gaps, &model);
        assert!(gaps.blocks.is_empty());
    }

    #[test]
    fn a_range_knows_where_it_starts() {
        assert_eq!(Gap { end: 70, len: 7 }.start(), 63);
    }
}
