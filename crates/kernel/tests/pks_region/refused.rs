//! Regions that are not made, and what is left of them: nothing.

use pkeys_core::{Access, PageState, Rights};
use pkeys_kernel::pks::kmap::{HashedMarks, Kmap, SharedKeys};
use pkeys_kernel::pks::region::{
    Host, Lent, NR_REGIONS, NoPages, Openers, Pages, Protected, Region, RegionError,
};
use pkeys_kernel::pks::{PksKey, ReleaseError};

use crate::memory::{MachineMemory, region, regions};
use crate::rig::{
    BASE, Kernel, LEDGER, Lock, NoMemory, Rig, SHARED, TestRegions, VAULT, page, pages,
};

/// Tries to make a region, and gives the error.
fn refused(regions: &'static TestRegions, pages: Pages, key: PksKey) -> RegionError<NoMemory> {
    Protected::new(regions, pages, key, Openers::Anybody).unwrap_err()
}

#[test]
fn memory_that_is_not_whole_pages_is_refused() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    for len_bytes in [0, 1, 4095, 4097] {
        let memory = MachineMemory::of_bytes(rig, 0, len_bytes);
        let error = Region::new(regions, memory, LEDGER, Openers::Anybody).unwrap_err();
        let expected = NoPages {
            start: BASE,
            len_bytes: len_bytes as u64,
        };
        assert_eq!(error, RegionError::NoPages(expected));
        let told = format!("no region: {len_bytes} bytes at {BASE:#x} are not whole pages");
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn pages_are_in_one_region_only() {
    let rig = Rig::new(1, 1, 4);
    let regions = regions(rig);
    let _ledger = region(regions, rig, 1, 2, LEDGER);
    for (first, nr) in [(0, 2), (1, 1), (1, 2), (2, 2), (0, 4)] {
        let error = refused(regions, pages(first, nr), VAULT);
        assert_eq!(error, RegionError::Overlap { other: pages(1, 2) });
    }
    assert_eq!(rig.keys().nr_pages(VAULT), 0);
    assert_eq!([0, 1, 2, 3].map(|page| rig.pkey(page).get()), [0, 1, 1, 0]);
    let error = refused(regions, pages(1, 1), VAULT);
    let told = "the region at 0xffff888000001000..=0xffff888000002fff has some of these pages";
    assert_eq!(error.to_string(), told);
}

#[test]
fn there_are_so_many_regions() {
    let rig = Rig::new(1, 1, NR_REGIONS + 1);
    let regions = regions(rig);
    let mut all: Vec<_> = (0..NR_REGIONS)
        .map(|first| region(regions, rig, first, 1, LEDGER))
        .collect();
    let one_more = pages(NR_REGIONS, 1);
    let error = refused(regions, one_more, LEDGER);
    assert_eq!(error, RegionError::TooMany { max: 32 });
    assert_eq!(
        error.to_string(),
        "there are 32 regions, and room for no more"
    );
    assert_eq!(rig.keys().nr_pages(LEDGER), NR_REGIONS);
    drop(all.remove(5));
    assert!(Protected::new(regions, one_more, LEDGER, Openers::Anybody).is_ok());
}

#[test]
fn a_key_that_is_nobodys_is_refused() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let key = PksKey::try_from(12).unwrap();
    let error = refused(regions, pages(0, 1), key);
    assert_eq!(error, RegionError::Key(ReleaseError::Free { key }));
    assert_eq!(error.to_string(), "no region: supervisor key 12 is free");
    assert!(regions.is_empty());
}

/// The tables of some pages cannot be changed: those before them have no key afterwards, on no CPU.
#[test]
fn a_region_of_which_some_pages_cannot_be_changed_is_not_made() {
    for failing in 0..3 {
        let rig = Rig::new(2, 2, 3);
        let regions = regions(rig);
        *rig.failing.borrow_mut() = vec![failing];
        let error = refused(regions, pages(0, 3), LEDGER);
        assert_eq!(error, RegionError::Tables(NoMemory));
        assert_eq!(
            error.to_string(),
            "the page tables could not be changed: no memory"
        );
        for number in 0..3 {
            assert_eq!(rig.pkey(number).get(), 0);
            for cpu in 0..2 {
                assert_eq!(rig.access(cpu, number, Access::Write), Ok(()));
            }
        }
        assert!(regions.is_empty());
        assert_eq!(rig.keys().nr_pages(LEDGER), 0);
        let again = Protected::new(regions, pages(0, 3), LEDGER, Openers::Anybody);
        assert!(again.is_ok());
    }
}

/// A key that was given out at run time goes back when its regions have ended, and no earlier.
#[test]
fn a_key_with_a_region_is_not_given_back() {
    let rig = Rig::new(2, 2, 2);
    let regions = regions(rig);
    let key = rig
        .keys()
        .allocate("disk", Rights::ReadOnly, PageState::Stray)
        .unwrap();
    let disk = region(regions, rig, 0, 2, key);
    // Closed rights that are not "no access" reach every CPU before the pages have the key.
    for cpu in 0..2 {
        assert_eq!(rig.access(cpu, 1, Access::Read), Ok(()));
    }
    let in_use = ReleaseError::InUse {
        key,
        name: "disk",
        nr_pages: 2,
    };
    assert_eq!(rig.keys().release(key, []), Err(in_use));
    assert!(disk.close().is_ok());
    // It was open for reading to everybody: every CPU forgets that.
    let refresh = rig.keys().close(key).unwrap();
    refresh.on_every_cpu(|| Host::refresh(&Kernel::of(rig)));
    assert_eq!(rig.keys().release(key, []), Ok(()));
}

#[test]
fn a_region_with_shared_pages_is_not_closed() {
    let rig = Rig::new(1, 1, 2);
    let regions = regions(rig);
    let keys = SharedKeys {
        no_access: Some(SHARED),
        read_only: None,
    };
    let kmap: Kmap<'_, Kernel, Lock, _> = Kmap::new(regions, keys, HashedMarks::<4>::new());
    let mut ledger = region(regions, rig, 0, 2, LEDGER);
    let shared = kmap.kmap(page(1)).unwrap();
    // Its owner reaches all of it nevertheless.
    ledger.write_at(4090, &[1; 12]).unwrap();
    let (ledger, lent) = ledger.close().unwrap_err();
    assert_eq!(lent, Lent { nr_pages: 1 });
    drop(shared);
    assert!(ledger.close().is_ok());
}
