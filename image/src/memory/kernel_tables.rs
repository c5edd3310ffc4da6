//! The kernel's page tables: the upper half of every address space.
//!
//! The direct map is made of large pages; giving a part of one a key of its own breaks it up. The tables of the highest level
//! below the root are made once, before the first address space copies their entries from the root, so that a later change
//! is seen in all of them.
//!
//! A change that takes something away is followed by a flush on every CPU before it counts as made.

#![allow(
    unsafe_code,
    reason = "reads and writes page tables through the direct map"
)]

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use pkeys_core::pte::{self, Level, PAGE_SIZE, PRESENT};
use pkeys_core::{LeafSize, Pkey};

use super::frames;
use super::layout::{
    APIC, DIRECT, KERNEL, LARGE_PAGE, PAGE, Program, STACKS, direct, physical, root_index, to_usize,
};
use crate::cpu::registers::{invalidate_page, write_cr3};
use crate::sync::Spin;

/// R/W: writable.
pub(crate) const WRITABLE: u64 = 1 << 1;
/// PCD and PWT: not cached, for registers of devices.
pub(crate) const UNCACHED: u64 = 1 << 3 | 1 << 4;
/// G: stays in the TLB when another address space is loaded.
pub(crate) const GLOBAL: u64 = 1 << 8;
/// XD: not executable.
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
/// Data of the kernel.
pub(crate) const DATA: u64 = PRESENT | WRITABLE | GLOBAL | NO_EXECUTE;

/// The bits of an entry that are an address.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The physical address of the root, 0 until there is one.
static ROOT: AtomicU64 = AtomicU64::new(0);

/// Held by whoever changes the tables.
static CHANGE: Spin<()> = Spin::new(());

/// There is no frame left for a page table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutOfMemory;

/// The entry of a table, in which the processor reads at any moment.
fn entry(table: u64, index: usize) -> &'static AtomicU64 {
    let at: *mut AtomicU64 = direct(table + index as u64 % 512 * 8);
    // SAFETY: aligned, and inside a frame that is a page table for as long as the kernel runs: tables are not given back.
    unsafe { &*at }
}

/// The index at a level.
const fn index(addr: u64, level: Level) -> usize {
    to_usize(addr >> (3 + 9 * level as u32) & 511)
}

/// The entry that maps an address, with its level; `None` where a table is missing on the way. The entry itself may be not
/// present. Needs no lock.
pub(crate) fn leaf(addr: u64) -> Option<(&'static AtomicU64, Level)> {
    let mut table = root();
    let mut level = Level::Pml4;
    loop {
        let entry = entry(table, index(addr, level));
        let bits = entry.load(Acquire);
        if level == Level::PageTable || (bits & PRESENT != 0 && pte::leaf(level, bits).is_some()) {
            return Some((entry, level));
        }
        if bits & PRESENT == 0 {
            return None;
        }
        table = bits & ADDRESS;
        level = level.lower()?;
    }
}

/// The key of the page at an address, as the tables say now.
pub(crate) fn pkey(addr: u64) -> Option<Pkey> {
    let bits = leaf(addr)?.0.load(Acquire);
    (bits & PRESENT != 0).then(|| pte::get(bits))
}

/// The entry for an address at a level, making the tables that are missing on the way and breaking up large pages.
fn reach(addr: u64, to: Level) -> Result<&'static AtomicU64, OutOfMemory> {
    let mut table = root();
    let mut level = Level::Pml4;
    loop {
        let entry = entry(table, index(addr, level));
        let Some(lower) = level.lower().filter(|_| level > to) else {
            return Ok(entry);
        };
        let bits = entry.load(Relaxed);
        table = if bits & PRESENT == 0 {
            let table = frames::allocate_one().ok_or(OutOfMemory)?;
            entry.store(table | PRESENT | WRITABLE, Release);
            table
        } else if pte::leaf(level, bits).is_some() {
            break_up(entry, bits)?
        } else {
            bits & ADDRESS
        };
        level = lower;
    }
}

/// Replaces a page of 2 MiB by a table of 512 pages that map the same.
fn break_up(large: &AtomicU64, bits: u64) -> Result<u64, OutOfMemory> {
    let table = frames::allocate_one().ok_or(OutOfMemory)?;
    let first = bits & ADDRESS & !(LARGE_PAGE - 1);
    let flags = bits & !ADDRESS & !PAGE_SIZE;
    for index in 0..512 {
        entry(table, index).store((first + index as u64 * PAGE) | flags, Relaxed);
    }
    large.store(table | PRESENT | WRITABLE, Release);
    Ok(table)
}

/// Maps a page of the kernel where none was.
pub(crate) fn map(addr: u64, phys: u64, flags: u64) -> Result<(), OutOfMemory> {
    let _change = CHANGE.lock();
    reach(addr, Level::PageTable)?.store(phys | flags, Release);
    Ok(())
}

/// Takes the mapping of a page away on all CPUs and gives its frame.
pub(crate) fn unmap(addr: u64) -> Option<u64> {
    let old = {
        let _change = CHANGE.lock();
        leaf(addr)?.0.swap(0, Relaxed)
    };
    crate::smp::flush(addr, addr + PAGE);
    (old & PRESENT != 0).then_some(old & ADDRESS)
}

/// Takes the mappings of some pages away on all CPUs and gives their frames back.
pub(crate) fn unmap_and_free(start: u64, nr: usize) {
    let entries = || (start..).step_by(to_usize(PAGE)).take(nr).filter_map(leaf);
    for (entry, _) in entries() {
        entry.fetch_and(!PRESENT, Relaxed);
    }
    crate::smp::flush(start, start + nr as u64 * PAGE);
    for (entry, _) in entries() {
        let frame = entry.swap(0, Relaxed) & ADDRESS;
        if frame != 0 {
            frames::free(frame, 1);
        }
    }
}

/// Gives the pages from `start` to `end`, multiples of 4 KiB in the direct map, a key.
///
/// When it returns, every CPU goes by the new key. Interrupts are let in at the caller's.
pub(crate) fn set_pkey(start: u64, end: u64, pkey: Pkey) -> Result<(), OutOfMemory> {
    change_pkey(start, end, pkey)?;
    crate::smp::flush(start, end);
    Ok(())
}

/// The same in the tables alone: CPUs may go by the old key until they are told.
pub(crate) fn change_pkey(start: u64, end: u64, pkey: Pkey) -> Result<(), OutOfMemory> {
    let _change = CHANGE.lock();
    let mut at = start;
    while at < end {
        let is_large = at.is_multiple_of(LARGE_PAGE) && end - at >= LARGE_PAGE && is_large(at);
        let (level, size) = if is_large {
            (Level::PageDirectory, LeafSize::Size2M)
        } else {
            (Level::PageTable, LeafSize::Size4K)
        };
        let entry = reach(at, level)?;
        entry.store(pte::set(entry.load(Relaxed), pkey), Release);
        at += size.bytes();
    }
    Ok(())
}

fn is_large(addr: u64) -> bool {
    leaf(addr).is_some_and(|(_, level)| level == Level::PageDirectory)
}

/// Builds the tables and loads them on this CPU. `memory` is the end of physical memory.
pub(crate) fn start(memory: u64) -> Result<(), OutOfMemory> {
    let root = frames::allocate_one().ok_or(OutOfMemory)?;
    ROOT.store(root, Release);
    for addr in [DIRECT, STACKS, APIC, KERNEL] {
        let table = frames::allocate_one().ok_or(OutOfMemory)?;
        entry(root, root_index(addr)).store(table | PRESENT | WRITABLE, Relaxed);
    }
    for phys in (0..memory).step_by(to_usize(LARGE_PAGE)) {
        let entry = reach(DIRECT + phys, Level::PageDirectory)?;
        entry.store(phys | PAGE_SIZE | DATA, Relaxed);
    }
    let program = Program::get();
    for addr in (program.text..program.end).step_by(to_usize(PAGE)) {
        let flags = if addr < program.read_only {
            PRESENT | GLOBAL
        } else if addr < program.data {
            PRESENT | GLOBAL | NO_EXECUTE
        } else {
            DATA
        };
        map(addr, physical(addr), flags)?;
    }
    load();
    Ok(())
}

/// Loads them on this CPU, without an address space for user mode.
pub(crate) fn load() {
    // SAFETY: (1) the tables map the kernel's program and the direct map as the boot tables do, to which code and stacks
    // belong; what was at the lower addresses is not used any more.
    unsafe { write_cr3(ROOT.load(Acquire)) }
}

/// The root.
pub(crate) fn root() -> u64 {
    ROOT.load(Acquire)
}

/// Copies the kernel's half into the root of another address space.
pub(crate) fn share_with(other: u64) {
    for index in root_index(DIRECT)..512 {
        entry(other, index).store(entry(root(), index).load(Relaxed), Relaxed);
    }
}

/// Takes the kernel's half out of such a root, which no CPU uses any more.
pub(crate) fn withdraw_from(other: u64) {
    for index in root_index(DIRECT)..512 {
        entry(other, index).store(0, Relaxed);
    }
}

/// Makes this CPU's TLB forget a range of kernel addresses.
pub(crate) fn flush_here(start: u64, end: u64) {
    for addr in (start..end).step_by(to_usize(PAGE)) {
        invalidate_page(addr);
    }
}
