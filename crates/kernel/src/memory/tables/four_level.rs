//! Four levels of page tables in physical memory, with leaves of all three sizes.
//!
//! Tables are made when a leaf needs them and taken out with the last mapping that could use them, which the caller knows
//! ([`Tables::unmap`]), so that no table is ever searched for being empty. Beside the tables themselves two things are
//! kept: how many there are, and whether a leaf larger than 4 KiB was ever made, since only those can be split.

use pkeys_core::{LeafSize, Level};

use super::entry::{self, Entry};
use super::{Flush, Leaf, NoTable, OldFrame, Tables};
use crate::hardware::{PhysAddr, PhysMemory};
use crate::memory::layout::{Addresses, align_down, is_aligned};

/// Four levels of page tables.
#[derive(Debug)]
pub struct FourLevel<M: PhysMemory> {
    memory: M,
    root: PhysAddr,
    /// How many tables there are, the root among them.
    nr_tables: usize,
    has_large: bool,
}

const ROOT_LEVEL: Level = Level::Pml4;

/// A table on the way: where it is, its level, and the first address that it maps.
#[derive(Clone, Copy)]
struct Table {
    at: PhysAddr,
    level: Level,
    base: u64,
}

impl Table {
    fn end(&self) -> u64 {
        self.base + entry::span(self.level) * 512
    }
}

impl<M: PhysMemory> FourLevel<M> {
    fn root_table(&self) -> Table {
        Table {
            at: self.root,
            level: ROOT_LEVEL,
            base: 0,
        }
    }

    /// The entry for an address on the lowest level that has one, and where it stands.
    fn lowest(&self, addr: u64) -> (PhysAddr, Level, Entry) {
        let mut at = self.root;
        let mut level = ROOT_LEVEL;
        loop {
            let slot = entry::slot(at, level, addr);
            let found = entry::decode(level, self.memory.read_entry(slot));
            match (found, level.lower()) {
                (Entry::Table(next), Some(lower)) => {
                    at = next;
                    level = lower;
                }
                _ => return (slot, level, found),
            }
        }
    }

    fn new_table(&mut self) -> Result<PhysAddr, NoTable> {
        let table = self.memory.allocate(LeafSize::Size4K).ok_or(NoTable)?;
        self.nr_tables += 1;
        Ok(table)
    }

    /// Splits the leaf across an address until a page begins there.
    fn split_at(&mut self, addr: u64) -> Result<(), NoTable> {
        loop {
            let (slot, _, found) = self.lowest(addr);
            let Entry::Leaf(leaf) = found else {
                return Ok(());
            };
            if is_aligned(addr, leaf.size.bytes()) {
                return Ok(());
            }
            let Some(size) = entry::smaller(leaf.size) else {
                return Ok(());
            };
            let table = self.new_table()?;
            for index in 0..512 {
                let part = Leaf {
                    frame: PhysAddr(leaf.frame.0 + index * size.bytes()),
                    size,
                    ..leaf
                };
                let at = PhysAddr(table.0 + index * 8);
                self.memory.write_entry(at, entry::encode(&part));
            }
            // The same addresses with the same rights as before: TLBs need not know.
            self.memory.write_entry(slot, entry::table(table));
        }
    }

    fn split_edges(&mut self, range: &Addresses) -> Result<(), NoTable> {
        if self.has_large {
            self.split_at(range.start)?;
            self.split_at(range.end)?;
        }
        Ok(())
    }

    /// The entries of a table that map any of a range: their first addresses.
    fn entries(table: Table, range: &Addresses) -> impl Iterator<Item = u64> + use<M> {
        let span = entry::span(table.level);
        let start = align_down(range.start, span).max(table.base);
        let end = range.end.min(table.end());
        (start..end.max(start)).step_by(usize::try_from(span).unwrap_or(usize::MAX))
    }

    /// Calls a function for each leaf in a range, with its slot, until it answers something.
    fn visit<R>(
        &self,
        table: Table,
        range: &Addresses,
        f: &mut impl FnMut(PhysAddr, u64, Leaf) -> Option<R>,
    ) -> Option<R> {
        for base in Self::entries(table, range) {
            let slot = entry::slot(table.at, table.level, base);
            let answer = match entry::decode(table.level, self.memory.read_entry(slot)) {
                Entry::Empty => None,
                Entry::Leaf(leaf) => f(slot, base, leaf),
                Entry::Table(at) => table.level.lower().and_then(|level| {
                    let lower = Table { at, level, base };
                    self.visit(lower, range, f)
                }),
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Takes the leaves of a range out, and the tables that serve nothing outside of `empty`.
    fn clear(&mut self, table: Table, range: &Addresses, empty: &Addresses, flush: &mut Flush) {
        let span = entry::span(table.level);
        for base in Self::entries(table, range) {
            let slot = entry::slot(table.at, table.level, base);
            match entry::decode(table.level, self.memory.read_entry(slot)) {
                Entry::Empty => {}
                Entry::Leaf(leaf) => {
                    self.memory.write_entry(slot, 0);
                    if leaf.mode.is_present {
                        flush.add_range(base, base + span);
                    }
                    flush.add_frame(leaf.old_frame());
                }
                Entry::Table(at) => {
                    let Some(level) = table.level.lower() else {
                        continue;
                    };
                    self.clear(Table { at, level, base }, range, empty, flush);
                    if empty.start <= base && base + span <= empty.end {
                        self.memory.write_entry(slot, 0);
                        self.nr_tables -= 1;
                        // A CPU may know the way to the table without knowing any of its leaves; forgetting one
                        // address makes it forget the way.
                        flush.add_range(base, base + span);
                        flush.add_frame(OldFrame {
                            at,
                            size: LeafSize::Size4K,
                            is_shared: false,
                        });
                    }
                }
            }
        }
    }

    fn destroy_below(&self, table: Table) {
        for base in Self::entries(table, &(table.base..table.end())) {
            let slot = entry::slot(table.at, table.level, base);
            let found = entry::decode(table.level, self.memory.read_entry(slot));
            if let (Entry::Table(at), Some(level)) = (found, table.level.lower()) {
                self.destroy_below(Table { at, level, base });
            }
        }
        self.memory.free(table.at, LeafSize::Size4K);
    }
}

impl<M: PhysMemory> Tables for FourLevel<M> {
    type Memory = M;

    fn new(memory: M) -> Option<Self> {
        let root = memory.allocate(LeafSize::Size4K)?;
        Some(Self {
            memory,
            root,
            nr_tables: 1,
            has_large: false,
        })
    }

    fn root(&self) -> PhysAddr {
        self.root
    }

    fn look_up(&self, addr: u64) -> Option<Leaf> {
        match self.lowest(addr) {
            (_, _, Entry::Leaf(leaf)) => Some(leaf),
            _ => None,
        }
    }

    fn next(&self, range: Addresses) -> Option<(u64, Leaf)> {
        self.visit(self.root_table(), &range, &mut |_, base, leaf| {
            Some((base, leaf))
        })
    }

    fn map(&mut self, addr: u64, leaf: Leaf) -> Result<(), NoTable> {
        self.has_large |= leaf.size != LeafSize::Size4K;
        let target = entry::level_of(leaf.size);
        let mut at = self.root;
        let mut level = ROOT_LEVEL;
        while level != target {
            let Some(lower) = level.lower() else {
                return Err(NoTable);
            };
            let slot = entry::slot(at, level, addr);
            at = match entry::decode(level, self.memory.read_entry(slot)) {
                Entry::Table(next) => next,
                Entry::Empty => {
                    let table = self.new_table()?;
                    self.memory.write_entry(slot, entry::table(table));
                    table
                }
                // A larger page is there: the caller's contract says that nothing is.
                Entry::Leaf(_) => return Err(NoTable),
            };
            level = lower;
        }
        let slot = entry::slot(at, level, addr);
        self.memory.write_entry(slot, entry::encode(&leaf));
        Ok(())
    }

    fn replace(&mut self, addr: u64, leaf: Leaf) -> Flush {
        let mut flush = Flush::nothing();
        if let (slot, _, Entry::Leaf(old)) = self.lowest(addr)
            && old.size == leaf.size
        {
            self.memory.write_entry(slot, entry::encode(&leaf));
            if old.mode.is_present {
                let start = align_down(addr, old.size.bytes());
                flush.add_range(start, start + old.size.bytes());
            }
            if old.frame != leaf.frame {
                flush.add_frame(old.old_frame());
            }
        }
        flush
    }

    fn change(
        &mut self,
        range: Addresses,
        change: &mut dyn FnMut(u64, &mut Leaf),
    ) -> Result<Flush, NoTable> {
        self.split_edges(&range)?;
        let mut flush = Flush::nothing();
        self.visit(self.root_table(), &range, &mut |slot, base, old| {
            let mut leaf = old;
            change(base, &mut leaf);
            if leaf != old {
                self.memory.write_entry(slot, entry::encode(&leaf));
                if old.mode.is_present && leaf.mode != old.mode {
                    flush.add_range(base, base + old.size.bytes());
                }
            }
            None::<()>
        });
        Ok(flush)
    }

    fn unmap(&mut self, range: Addresses, empty: Addresses) -> Result<Flush, NoTable> {
        self.split_edges(&range)?;
        let mut flush = Flush::nothing();
        self.clear(self.root_table(), &range, &empty, &mut flush);
        Ok(flush)
    }

    fn take(&mut self, addr: u64) -> Option<(Leaf, Flush)> {
        let (slot, _, Entry::Leaf(leaf)) = self.lowest(addr) else {
            return None;
        };
        self.memory.write_entry(slot, 0);
        let mut flush = Flush::nothing();
        if leaf.mode.is_present {
            let start = align_down(addr, leaf.size.bytes());
            flush.add_range(start, start + leaf.size.bytes());
        }
        Some((leaf, flush))
    }

    fn destroy(&mut self) {
        if self.nr_tables > 1 {
            self.destroy_below(self.root_table());
        } else {
            self.memory.free(self.root, LeafSize::Size4K);
        }
    }
}
