//! Reading and writing through guards, and not otherwise.

use pkeys_core::{Access, PageFaultErrorCode, Rights};
use pkeys_kernel::pks::region::{AccessError, KeyedMemory};

use crate::memory::{MachineMemory, bytes_of, region, regions};
use crate::rig::{CATALOGUE, LEDGER, Rig, VAULT};

const READ: u32 = PageFaultErrorCode::P | PageFaultErrorCode::PK;
const WRITE: u32 = READ | PageFaultErrorCode::W;

/// What a CPU may do with a page right now.
fn rights(rig: &Rig, cpu: u32, page: usize) -> Rights {
    let read = rig.access(cpu, page, Access::Read);
    let write = rig.access(cpu, page, Access::Write);
    for (result, code) in [(read, READ), (write, WRITE)] {
        if let Err(error) = result {
            assert_eq!(error.bits(), code);
        }
    }
    match (read, write) {
        (Err(_), Err(_)) => Rights::NoAccess,
        (Ok(()), Err(_)) => Rights::ReadOnly,
        (Ok(()), Ok(())) => Rights::ReadWrite,
        (Err(_), Ok(())) => panic!("writable and not readable"),
    }
}

#[test]
fn a_guard_opens_for_what_it_is_and_closes_behind_itself() {
    let rig = Rig::new(2, 2, 3);
    let regions = regions(rig);
    let mut ledger = region(regions, rig, 0, 2, LEDGER);
    assert_eq!((ledger.len_bytes(), ledger.key()), (8192, Some(LEDGER)));
    let now = || [0, 1, 2].map(|page| rights(rig, 0, page));
    let closed = [Rights::NoAccess, Rights::NoAccess, Rights::ReadWrite];
    assert_eq!(now(), closed);
    let guard = ledger.write();
    assert_eq!(now(), [Rights::ReadWrite; 3]);
    // Another CPU runs another thread.
    assert_eq!(rights(rig, 1, 0), Rights::NoAccess);
    drop(guard);
    assert_eq!(now(), closed);
    let guard = ledger.read();
    assert_eq!(
        now(),
        [Rights::ReadOnly, Rights::ReadOnly, Rights::ReadWrite]
    );
    drop(guard);
    assert_eq!(now(), closed);
}

#[test]
fn bytes_come_back_from_where_they_were_written() {
    let rig = Rig::new(1, 1, 3);
    let regions = regions(rig);
    let mut ledger = region(regions, rig, 1, 2, LEDGER);
    // Across the boundary of two pages, and the last bytes.
    ledger.write_at(4094, &[1, 2, 3, 4]).unwrap();
    let mut guard = ledger.write();
    guard.write(8190, &[5, 6]).unwrap();
    let mut bytes = [0; 6];
    guard.read(4093, &mut bytes).unwrap();
    drop(guard);
    assert_eq!(bytes, [0, 1, 2, 3, 4, 0]);
    let mut last = [0; 2];
    ledger.read_at(8190, &mut last).unwrap();
    assert_eq!(last, [5, 6]);
    assert_eq!(bytes_of(rig, 1)[4094..], [1, 2]);
    assert_eq!(bytes_of(rig, 2)[..2], [3, 4]);
    assert_eq!(bytes_of(rig, 0), [0; 4096]);
}

#[test]
fn a_guard_for_reading_stops_a_write() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let ledger = region(regions, rig, 0, 1, LEDGER);
    let guard = ledger.read();
    let error = guard.memory().write_nevertheless(7, 9).unwrap_err();
    assert_eq!(error.bits(), WRITE);
    drop(guard);
    assert_eq!(bytes_of(rig, 0), [0; 4096]);
}

#[test]
fn accesses_beyond_the_region_are_not_made() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    let mut ledger = region(regions, rig, 0, 1, LEDGER);
    let walks = rig.machine.cpu(0).counters().walks;
    for (at, len_bytes) in [
        (4096, 1),
        (4095, 2),
        (0, 4097),
        (usize::MAX, 1),
        (usize::MAX, 2),
    ] {
        let refused = AccessError::OutOfRange {
            at,
            len_bytes,
            of: 4096,
        };
        assert_eq!(ledger.read_at(at, &mut vec![0; len_bytes]), Err(refused));
        assert_eq!(ledger.write_at(at, &vec![1; len_bytes]), Err(refused));
        assert_eq!(
            ledger.write().read(at, &mut vec![0; len_bytes]),
            Err(refused)
        );
    }
    assert_eq!(rig.machine.cpu(0).counters().walks, walks);
    assert_eq!(ledger.read_at(4096, &mut []), Ok(()));
    let refused: AccessError<core::convert::Infallible> = AccessError::OutOfRange {
        at: 4095,
        len_bytes: 2,
        of: 4096,
    };
    assert_eq!(
        refused.to_string(),
        "2 bytes at 4095 are not in a region of 4096"
    );
}

/// The thread is preempted while it has a guard, runs elsewhere, and ends it there.
#[test]
fn a_guard_goes_with_its_thread_to_another_cpu() {
    let rig = Rig::new(2, 3, 1);
    let regions = regions(rig);
    let ledger = region(regions, rig, 0, 1, LEDGER);
    let guard = ledger.read();
    rig.switch(0, 2);
    assert_eq!(
        [rights(rig, 0, 0), rights(rig, 1, 0)],
        [Rights::NoAccess; 2]
    );
    rig.switch(1, 0);
    assert_eq!(rights(rig, 0, 0), Rights::NoAccess);
    assert_eq!(rights(rig, 1, 0), Rights::ReadOnly);
    rig.on(1, || drop(guard));
    assert_eq!(
        [rights(rig, 0, 0), rights(rig, 1, 0)],
        [Rights::NoAccess; 2]
    );
}

#[test]
fn guards_of_two_regions_end_in_any_order() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    let ledger = region(regions, rig, 0, 1, LEDGER);
    let mut vault = region(regions, rig, 1, 1, VAULT);
    let now = || [rights(rig, 0, 0), rights(rig, 0, 1)];
    let first = ledger.read();
    let second = vault.write();
    let third = ledger.read();
    drop(first);
    assert_eq!(now(), [Rights::ReadOnly, Rights::ReadWrite]);
    drop(second);
    assert_eq!(now(), [Rights::ReadOnly, Rights::NoAccess]);
    drop(third);
    assert_eq!(now(), [Rights::NoAccess; 2]);
}

#[test]
fn a_region_that_everybody_may_read_is_written_by_its_guards_alone() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let mut catalogue = region(regions, rig, 0, 1, CATALOGUE);
    assert_eq!(
        [rights(rig, 0, 0), rights(rig, 1, 0)],
        [Rights::ReadOnly; 2]
    );
    let writes = rig.machine.cpu(0).counters().msr_writes;
    drop(catalogue.read());
    assert_eq!(rig.machine.cpu(0).counters().msr_writes, writes);
    let guard = catalogue.write();
    assert_eq!(rights(rig, 0, 0), Rights::ReadWrite);
    assert_eq!(rights(rig, 1, 0), Rights::ReadOnly);
    drop(guard);
    assert_eq!(rights(rig, 0, 0), Rights::ReadOnly);
}

/// A region that is closed gives its memory back as it is, and the pages have no key on any CPU.
#[test]
fn a_region_that_is_closed_is_memory_like_any() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let mut ledger = region(regions, rig, 0, 1, LEDGER);
    ledger.write_at(3, &[7]).unwrap();
    for cpu in 0..2 {
        assert_eq!(rights(rig, cpu, 0), Rights::NoAccess);
    }
    // So that a TLB has the page with its key.
    rig.on(1, || ledger.read_at(0, &mut [0]).unwrap());
    let memory: MachineMemory = ledger.close().unwrap();
    for cpu in 0..2 {
        assert_eq!(rights(rig, cpu, 0), Rights::ReadWrite);
    }
    let mut byte = [0];
    memory.read(3, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    assert!(regions.is_empty());
    assert_eq!(rig.keys().nr_pages(LEDGER), 0);
}
