//! While nothing is protected, mappings are addresses.

use core::cell::Cell;

use pkeys_core::{Access, Knobs, Mode, Rights};
use pkeys_kernel::pks::kmap::{Kmap, Mark, Marks, NoRoom, SharedKeys};
use pkeys_kernel::pks::region::{Openers, Page, Protected};
use pkeys_machine::Counters;

use crate::rig::{Kernel, LEDGER, Rig, SHARED, TestRegions, page, pages};

/// Marks that nobody may look at.
#[derive(Debug, Default)]
struct Untouched(Cell<u64>);

impl Marks for Untouched {
    fn get(&self, _: Page) -> Mark {
        self.0.set(self.0.get() + 1);
        Mark::NONE
    }

    fn set(&self, _: Page, _: Mark) -> Result<(), NoRoom> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

/// Everything that can be done with a page. Gives how often the kernel, the CPU and the marks were called, and what the
/// machine did.
fn cost(regions: &'static TestRegions, rig: &'static Rig) -> (u64, Counters, u64) {
    let keys = SharedKeys {
        no_access: Some(SHARED),
        read_only: None,
    };
    let kmap = Kmap::new(regions, keys, Untouched::default());
    let (calls, machine) = (rig.nr_calls.get(), rig.machine.cpu(0).counters());
    let shared = kmap.kmap(page(0)).unwrap();
    let again = kmap.kmap(page(0)).unwrap();
    let local = kmap.kmap_local_page(page(0), Rights::ReadWrite).unwrap();
    let handed = kmap.hand_over(&local);
    drop(shared);
    let received = handed.map(Rights::ReadWrite).unwrap();
    drop(local);
    assert!(!kmap.is_shared(page(0)));
    drop((received, handed, again));
    let machine = rig.machine.cpu(0).counters() - machine;
    let marks = kmap_marks(&kmap);
    (rig.nr_calls.get() - calls, machine, marks)
}

fn kmap_marks(kmap: &Kmap<'_, Kernel, crate::rig::Lock, Untouched>) -> u64 {
    kmap.marks().0.get()
}

fn regions(rig: &'static Rig) -> &'static TestRegions {
    Box::leak(Box::new(TestRegions::new(rig.keys(), Kernel::of(rig))))
}

#[test]
fn nothing_is_called_or_written_while_there_is_no_region() {
    let rig = Rig::new(2, 2, 1);
    assert_eq!(cost(regions(rig), rig), (0, Counters::default(), 0));
    assert_eq!(rig.access(0, 0, Access::Write), Ok(()));
}

#[test]
fn the_same_where_the_mode_is_off() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    rig.turn(Knobs {
        stray: Mode::Off,
        ..Knobs::DEFAULT
    });
    let calls = rig.nr_calls.get();
    let protected = Protected::new(regions, pages(0, 1), LEDGER, Openers::Anybody).unwrap();
    assert_eq!((protected.key(), rig.nr_calls.get()), (None, calls));
    assert!(regions.is_empty());
    assert_eq!(rig.keys().nr_pages(LEDGER), 0);
    assert_eq!(rig.access(0, 0, Access::Write), Ok(()));
    assert_eq!(cost(regions, rig), (0, Counters::default(), 0));
}

#[test]
fn the_same_again_when_the_last_region_has_gone() {
    let rig = Rig::new(2, 2, 1);
    let regions = regions(rig);
    let protected = Protected::new(regions, pages(0, 1), LEDGER, Openers::Anybody).unwrap();
    let with_region = cost(regions, rig);
    assert!(with_region.0 > 0 && with_region.1.msr_writes > 0 && with_region.2 > 0);
    drop(protected);
    assert_eq!(cost(regions, rig), (0, Counters::default(), 0));
}

#[test]
fn a_page_of_no_region_costs_no_register_either() {
    let rig = Rig::new(2, 2, 2);
    let regions = regions(rig);
    let _protected = Protected::new(regions, pages(1, 1), LEDGER, Openers::Anybody).unwrap();
    let (calls, machine, _) = cost(regions, rig);
    assert_eq!((calls, machine), (0, Counters::default()));
}

/// A local mapping of a page that is mapped already, by the same thread for the same, writes no register.
#[test]
fn a_nested_mapping_costs_no_write_of_the_register() {
    let rig = Rig::new(1, 1, 1);
    let regions = regions(rig);
    let _protected = Protected::new(regions, pages(0, 1), LEDGER, Openers::Anybody).unwrap();
    let kmap = Kmap::new(regions, SharedKeys::default(), Untouched::default());
    let writes = || rig.machine.cpu(0).counters().msr_writes;
    let before = writes();
    let outer = kmap.kmap_local_page(page(0), Rights::ReadWrite).unwrap();
    assert_eq!(writes() - before, 1);
    for rights in [Rights::ReadOnly, Rights::ReadWrite] {
        drop(kmap.kmap_local_page(page(0), rights).unwrap());
    }
    assert_eq!(writes() - before, 1);
    drop(outer);
    assert_eq!(writes() - before, 2);
}
