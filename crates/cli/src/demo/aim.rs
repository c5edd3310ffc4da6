//! Where the stale pointers point to.
//!
//! A stale pointer hits what happens to lie there. For the outcome to be the same every time, the demo aims: it looks
//! SQLite's blocks through for the bytes of a row, of an index entry, of a word in a prepared statement and of a name in
//! the schema. Memory is read through `/proc/self/mem`, as a debugger would: keys do not hold there, and bytes that
//! were never written do no harm.

use core::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::memory;
use super::orders::{AMOUNT_COLUMN, Order, SHIPPED};
use super::page::Cell;

/// The byte that is written: 42.
pub(crate) const LEVEL: u8 = b'*';

/// How far into a word its letter is hit.
const LETTER: usize = 2;

/// An amount after it was hit, in cents.
pub(crate) fn hit_amount(amount_cents: u32) -> u32 {
    amount_cents & !0xFF00 | u32::from(LEVEL) << 8
}

/// Looks for the victims, and gives the addresses to write to: a page of the table, a page of the index, a prepared
/// statement, the schema. `row` is the order that is about to be served, `entry` the one before. `None` while their pages
/// are not both in the cache, or the bytes are what they would become: the next order will do.
pub(crate) fn aim(row: &Order, entry: &Order) -> Result<Option<[usize; 4]>, AimError> {
    let has_effect = hit_amount(row.amount_cents) != row.amount_cents
        && entry.customer & 0xFF != u32::from(LEVEL);
    if !has_effect {
        return Ok(None);
    }
    let memory = Memory::read().map_err(AimError::Read)?;
    let (Some(amount), Some(customer)) = (
        memory.cell(&Cell::of_row(row)),
        memory.cell(&Cell::of_entry(entry)),
    ) else {
        return Ok(None);
    };
    Ok(Some([
        amount,
        customer,
        memory.letter(SHIPPED)?,
        memory.letter(AMOUNT_COLUMN)?,
    ]))
}

/// A copy of all blocks that SQLite has in use.
struct Memory {
    blocks: Vec<(usize, Vec<u8>)>,
}

impl Memory {
    fn read() -> io::Result<Self> {
        let file = File::open("/proc/self/mem")?;
        let copy = |(start, len_bytes): (usize, usize)| {
            let mut bytes = vec![0; len_bytes];
            file.read_exact_at(&mut bytes, start as u64)?;
            Ok((start, bytes))
        };
        let blocks = memory::blocks()
            .into_iter()
            .map(copy)
            .collect::<io::Result<_>>()?;
        Ok(Self { blocks })
    }

    /// The byte of a cell, where one page in the cache has it and no other.
    fn cell(&self, cell: &Cell) -> Option<usize> {
        let in_block = |(start, bytes): &(usize, Vec<u8>)| {
            cell.places_in(bytes)
                .into_iter()
                .map(|at| start + at)
                .collect::<Vec<_>>()
        };
        match self.blocks.iter().flat_map(in_block).collect::<Vec<_>>()[..] {
            [place] => Some(place),
            _ => None,
        }
    }

    /// A letter of a word that is a block of its own, the first made.
    fn letter(&self, word: &'static str) -> Result<usize, AimError> {
        let text = format!("{word}\0");
        let block = self
            .blocks
            .iter()
            .find(|(_, bytes)| bytes.starts_with(text.as_bytes()));
        let (start, _) = block.ok_or(AimError::NotFound(word))?;
        Ok(start + LETTER)
    }
}

/// The demo could not find out where to point.
#[derive(Debug)]
pub(crate) enum AimError {
    /// The process cannot read its own memory.
    Read(io::Error),
    /// The bytes that were looked for are nowhere.
    NotFound(&'static str),
}

impl fmt::Display for AimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read /proc/self/mem: {error}"),
            Self::NotFound(word) => write!(f, "cannot find {word:?} in SQLite's memory"),
        }
    }
}

impl core::error::Error for AimError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hit_makes_of_an_amount() {
        assert_eq!(hit_amount(0x01_22_33), 0x01_2A_33);
    }
}
