//! Virtual tables of classes that a C++ library does not export: no symbol names them, so they are told by their shape.
//!
//! A virtual table (Itanium C++ ABI, 2.5.2) is an offset to the top of the object, which is zero or negative and needs no
//! relocation; a pointer to type information, which is null in a library without them and else leads to data; and then
//! pointers to functions. In a loaded object every pointer has a relocation, so that two words of that kind in front of a run of
//! words that lead to code are a virtual table. A static table of a C program may have the same shape by chance. Its entries
//! get gates too, which costs it a little time and nothing else.
//!
//! The program calls such entries without the loader's help: it has an object of the library's, and the object has the table.
#![allow(
    unsafe_code,
    reason = "words of a mapped object that was not relocated"
)]

use core::ops::Range;
use std::collections::BTreeMap;

use crate::map::PAGE_BYTES;

/// Bytes of an entry.
const WORD_BYTES: usize = size_of::<usize>();

/// The part of an address that is within a page.
const PAGE_MASK: usize = PAGE_BYTES - 1;

/// No object is larger than this, in offsets to the top.
const MAX_OBJECT_BYTES: isize = 1 << 20;

/// Ranges of addresses, in order and joined where they overlap: a library may have thousands, and each of its relocations asks.
#[derive(Debug, Default)]
pub(crate) struct Tables(Vec<Range<usize>>);

impl Tables {
    /// Puts ranges in order.
    pub(crate) fn new(mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let is_joined = next.start <= range.end;
            if is_joined {
                range.end = range.end.max(next.end);
            }
            is_joined
        });
        Self(ranges)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of them.
    pub(crate) fn contains(&self, addr: usize) -> bool {
        let behind = self.0.partition_point(|range| range.start <= addr);
        behind > 0 && self.0[behind - 1].contains(&addr)
    }
}

/// Where a relocated word will lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To a function.
    ToCode,
    /// Elsewhere.
    Elsewhere,
}

/// The virtual tables among relocated words: the ranges of their entries.
pub(crate) fn virtual_tables(words: &BTreeMap<usize, Leads>) -> Vec<Range<usize>> {
    // SAFETY: asked for words on the pages of relocated ones only, and these are aligned (1).
    find(words, |addr| unsafe { read(addr) })
}

/// The same with a way to read words.
fn find(words: &BTreeMap<usize, Leads>, read: impl Fn(usize) -> isize) -> Vec<Range<usize>> {
    let leads_to_code = |addr: usize| words.get(&addr) == Some(&Leads::ToCode);
    let mut tables = Vec::new();
    let mut next = 0;
    for (&start, leads) in words {
        if *leads != Leads::ToCode || start < next {
            continue;
        }
        let mut end = start + WORD_BYTES;
        while leads_to_code(end) {
            end += WORD_BYTES;
        }
        next = end;
        let (top, info) = (start - 2 * WORD_BYTES, start - WORD_BYTES);
        // A page with a relocated word on it is there.
        let is_mapped = words
            .range(top & !PAGE_MASK..=top | PAGE_MASK)
            .next()
            .is_some();
        if !is_mapped || words.contains_key(&top) {
            continue;
        }
        let has_info = words.contains_key(&info) || read(info) == 0;
        let top = read(top);
        let is_offset = (-MAX_OBJECT_BYTES..=0).contains(&top) && top % 8 == 0;
        if has_info && is_offset {
            tables.push(start..end);
        }
    }
    tables
}

/// Reads a word.
///
/// # Safety
///
/// 1. The address is aligned and on a page that is mapped.
unsafe fn read(addr: usize) -> isize {
    let place = core::ptr::with_exposed_provenance::<isize>(addr);
    // SAFETY: by the contract (1).
    unsafe { place.read() }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one table")]
mod tests {
    use super::*;

    /// Lays out words and finds the tables, as indices. `f` is a pointer to a function, `d` one to data; others are numbers.
    fn tables(layout: &str) -> Vec<Range<usize>> {
        const START: usize = 0x1000;
        let words: Vec<&str> = layout.split(' ').collect();
        let place = |index: usize| START + index * WORD_BYTES;
        let leads = words.iter().enumerate().filter_map(|(index, word)| {
            let leads = match *word {
                "f" => Leads::ToCode,
                "d" => Leads::Elsewhere,
                _ => return None,
            };
            Some((place(index), leads))
        });
        let read = |addr: usize| words[(addr - START) / WORD_BYTES].parse().unwrap();
        let index = |addr: usize| (addr - START) / WORD_BYTES;
        find(&leads.collect(), read)
            .into_iter()
            .map(|range| index(range.start)..index(range.end))
            .collect()
    }

    #[test]
    fn virtual_tables_are_told_by_their_shape() {
        for (layout, expected) in [
            ("0 d f f f 0", &[2..5][..]),
            // Without type information.
            ("0 0 f f", &[2..4]),
            // A second base, and then another class.
            ("0 d f f -16 d f 0 d f f", &[2..4, 6..7, 9..11]),
            // Offsets that are none.
            ("8 d f", &[]),
            ("-12 d f", &[]),
            ("-1048584 d f", &[]),
            // A structure with a version and functions; one of a name and a function.
            ("3 0 f f f", &[]),
            ("0 3 f f", &[]),
            ("d d f f", &[]),
            ("f 0 f", &[]),
            ("0 d d 0", &[]),
        ] {
            assert_eq!(tables(layout), expected, "{layout}");
        }
    }

    #[test]
    fn tables_hold_what_any_of_their_ranges_holds() {
        // All choices of up to three ranges within eight addresses, empty ones among them.
        let all: Vec<Range<usize>> = (0..8)
            .flat_map(|start| (start..=8).map(move |end| start..end))
            .collect();
        for first in &all {
            for second in &all {
                for third in &all {
                    let ranges = vec![first.clone(), second.clone(), third.clone()];
                    let tables = Tables::new(ranges.clone());
                    for addr in 0..10 {
                        let expected = ranges.iter().any(|range| range.contains(&addr));
                        assert_eq!(tables.contains(addr), expected, "{addr} in {ranges:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_in_front_of_the_object_is_read() {
        let words = BTreeMap::from([(0x1000, Leads::ToCode), (0x1008, Leads::ToCode)]);
        let read = |addr| panic!("read {addr:#x}");
        assert_eq!(find(&words, read), []);
    }
}
