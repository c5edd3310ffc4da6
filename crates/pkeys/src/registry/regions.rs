//! The index from addresses to regions: what a fault handler asks to name the data behind an address.

use core::convert::Infallible;

use crate::domain::DomainRecord;
use crate::registry::registry;

/// One region as a fault handler sees it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Record {
    /// First address.
    pub(crate) start: usize,
    /// First address behind the region; a multiple of the page size.
    pub(crate) end: usize,
    /// What the region is called in a report.
    pub(crate) label: &'static str,
    /// Whether its pages may be written at all.
    pub(crate) is_writable: bool,
    /// Whose it is. The record outlives the domain (it is used again, never freed); `serial` tells.
    pub(crate) domain: &'static DomainRecord,
    /// The serial number of the domain when the region was made.
    pub(crate) serial: u32,
}

/// Adds a region. Regions never overlap: the kernel gave each its own pages.
pub(crate) fn insert(record: Record) {
    let result = registry().regions.update(|list| {
        let at = list.partition_point(|other| other.start < record.start);
        list.insert(at, record);
        Ok::<_, Infallible>(())
    });
    match result {
        Ok(()) => {}
    }
}

/// Removes the region that starts at `start`; to be called before its pages are unmapped, so that the range is never
/// somebody else's and still ours.
pub(crate) fn remove(start: usize) {
    let result = registry().regions.update(|list| {
        list.retain(|record| record.start != start);
        Ok::<_, Infallible>(())
    });
    match result {
        Ok(()) => {}
    }
}

/// The region that contains an address. Lock-free: for fault handlers.
pub(crate) fn find(addr: usize) -> Option<Record> {
    registry().regions.read(|list| find_in(list, addr))
}

fn find_in(list: &[Record], addr: usize) -> Option<Record> {
    let after = list.partition_point(|record| record.start <= addr);
    let record = list.get(after.checked_sub(1)?)?;
    (addr < record.end && record.serial == record.domain.serial()).then_some(*record)
}

/// All regions of the domain with that serial number.
pub(crate) fn of_domain(serial: u32) -> Vec<Record> {
    registry().regions.read(|list| {
        list.iter()
            .filter(|record| record.serial == serial)
            .copied()
            .collect()
    })
}
