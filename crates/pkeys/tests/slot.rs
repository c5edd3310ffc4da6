//! Single values on pages of their own.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::panic::{catch_unwind, resume_unwind};

use common::{alone, domain, is_closed, leaves_nothing_behind, limited};
use pkeys::{MapError, OpenError, PlaceError, Rights, Slot};
use zerocopy::{FromZeros, Immutable};

#[test]
fn a_value_is_placed_read_and_written() {
    let domain = domain("vault");
    let mut slot: Slot<[u8; 32]> = domain.place([7; 32]).unwrap();
    assert_eq!(*slot.read().unwrap(), [7; 32]);
    slot.write().unwrap()[31] = 8;
    let window = domain.open(Rights::ReadWrite).unwrap();
    assert_eq!(slot.get(&window).unwrap()[31], 8);
    slot.get_mut(&window).unwrap()[0] = 9;
    assert_eq!(slot.get(&window).unwrap()[0], 9);
}

#[test]
fn a_value_is_made_in_its_place_from_zeros() {
    let domain = domain("in place");
    let slot = domain
        .place_with(|value: &mut [u64; 1_000]| {
            assert_eq!(*value, [0; 1_000]);
            value[999] = 1;
        })
        .unwrap();
    assert_eq!(slot.read().unwrap()[999], 1);
}

#[test]
fn a_value_is_closed_without_a_window() {
    let domain = domain("closed");
    let slot = domain.place(7_u64).unwrap();
    let addr = slot.as_ptr().addr();
    assert!(is_closed(addr));
    let guard = slot.read().unwrap();
    assert!(!is_closed(addr));
    drop(guard);
    assert!(is_closed(addr));
}

#[test]
fn a_panic_in_the_making_closes_the_window() {
    let domain = domain("panic");
    let probe = domain.place(1_u8).unwrap();
    let made = catch_unwind(AssertUnwindSafe(|| {
        domain.place_with(|_: &mut u64| panic!("in the closure"))
    }));
    assert!(made.is_err() && is_closed(probe.as_ptr().addr()));
}

#[test]
fn a_window_must_be_of_the_domain_and_give_the_rights() {
    let (ours, other) = (domain("ours"), domain("other"));
    let mut slot = ours.place(1_u64).unwrap();
    let window = other.open(Rights::ReadWrite).unwrap();
    assert!(matches!(
        slot.get(&window),
        Err(OpenError::WrongDomain { .. })
    ));
    assert!(matches!(
        slot.get_mut(&window),
        Err(OpenError::WrongDomain { .. })
    ));
    let window = ours.open(Rights::ReadOnly).unwrap();
    assert!(slot.get(&window).is_ok());
    assert!(matches!(
        slot.get_mut(&window),
        Err(OpenError::InsufficientRights { .. })
    ));
}

/// `dd`: not dumped. `wf`: wiped on fork. The kernel lists both for the slot's pages (`proc_pid_smaps(5)`).
#[test]
fn a_value_is_not_dumped_and_not_inherited() {
    let domain = domain("secret");
    let slot = domain.place([7_u8; 64]).unwrap();
    let flags = vm_flags(slot.as_ptr().addr());
    for flag in ["dd", "wf"] {
        assert!(flags.split_whitespace().any(|have| have == flag), "{flags}");
    }
    // SAFETY: the child opens a window, looks, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let is_wiped = slot.read().is_ok_and(|value| *value == [0; 64]);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!is_wiped)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child that was made above.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child found zeros");
        }
    }
    assert_eq!(*slot.read().unwrap(), [7; 64], "the parent has its value");
}

/// The flags that the kernel lists for the mapping of an address.
fn vm_flags(addr: usize) -> String {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_here = false;
    for line in smaps.lines() {
        if let Some((start, rest)) = line.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(rest.split(' ').next().unwrap(), 16),
            )
        {
            is_here = (start..end).contains(&addr);
        } else if is_here && let Some(flags) = line.strip_prefix("VmFlags:") {
            return flags.to_owned();
        }
    }
    panic!("{addr:#x} is in no mapping");
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Counts how many values that somebody made are dropped: a value of zeros is nobody's.
#[derive(FromZeros, Immutable)]
struct Counted([u64; 4]);

impl Drop for Counted {
    fn drop(&mut self) {
        assert_eq!(self.0, [7; 4], "a value that somebody made");
        DROPPED.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_value_is_dropped_once_and_an_unplaced_one_too() {
    let test = "a_value_is_dropped_once_and_an_unplaced_one_too";
    alone(test, limited(512), || {
        let domain = domain("drops");
        let slot = domain.place(Counted([7; 4])).unwrap();
        assert_eq!(DROPPED.load(Relaxed), 0);
        drop(slot);
        assert_eq!(DROPPED.load(Relaxed), 1);
        // Takes all of the address space that a slot could have.
        let mut taken = Vec::new();
        for len in [64 << 20, 1 << 20, 1] {
            while let Ok(region) = domain.map::<u8>(len) {
                taken.push(region);
            }
        }
        let error = domain.place(Counted([7; 4])).unwrap_err();
        assert!(
            matches!(error, PlaceError::Map(MapError::Os { call: "mmap", .. })),
            "{error:?}"
        );
        assert_eq!(DROPPED.load(Relaxed), 2);
    });
}

#[test]
fn what_cannot_be_placed_is_refused_by_name() {
    let domain = domain("refused");
    let error = domain.place(()).unwrap_err();
    assert!(
        matches!(error, PlaceError::Map(MapError::ZeroLength)),
        "{error:?}"
    );

    #[derive(Debug, FromZeros)]
    #[repr(align(4194304))]
    struct Aligned;
    let error = domain.place_with(|_: &mut Aligned| {}).unwrap_err();
    let PlaceError::Map(MapError::Alignment { align_bytes }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(align_bytes, 4 << 20);
}

#[test]
fn slots_leave_nothing_behind() {
    alone(
        "slots_leave_nothing_behind",
        |_| {},
        || {
            leaves_nothing_behind(|| {
                let domain = domain("slots");
                let _slots: Vec<_> = (0..20_u64).map(|n| domain.place(n).unwrap()).collect();
                domain.place(()).unwrap_err();
                let made = catch_unwind(AssertUnwindSafe(|| {
                    domain.place_with(|_: &mut u64| resume_unwind(Box::new(())))
                }));
                assert!(made.is_err());
            });
        },
    );
}
