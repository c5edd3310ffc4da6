//! Windows: open, store and close; a nested window; beside other gates that keep other keys' bits and nest.

use pkeys::{Domain, Rights};
use pkeys_arch::Pku;
use pkeys_core::AccessBits;

use crate::figure::Figure;
use crate::sample::{Effort, compare};

pub(crate) const NAMES: &[&str] = &["window", "window-glibc", "window-inline", "nested"];

unsafe extern "C" {
    /// `int pkey_set(int key, unsigned int access_rights)`, `pkey_set(3)`.
    fn pkey_set(key: i32, access_rights: u32) -> i32;
    /// `int pkey_get(int key)`, `pkey_get(3)`.
    fn pkey_get(key: i32) -> i32;
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let domain = Domain::builder("bars").create().expect("a domain");
    let rows = domain.map::<u64>(512).expect("a region");
    let addr = rows.as_ptr();
    let pkey = domain.pkey().expect("a key");
    let (pku, _) = Pku::probe().expect("keys");
    let closed = pku.read();
    let open = closed.with(pkey, AccessBits::UNRESTRICTED);

    let mut bare_pair = |iterations| {
        for _ in 0..iterations {
            // SAFETY: the key is the domain's, opened and closed here.
            unsafe { pku.write(open) };
            // SAFETY: as above.
            unsafe { pku.write(closed) };
        }
    };
    let mut bare_one = |iterations| {
        for _ in 0..iterations {
            // SAFETY: the value that the register has.
            unsafe { pku.write(closed) };
        }
    };
    let mut window = |iterations| {
        for value in 0..iterations {
            let _window = domain.open(Rights::ReadWrite).expect("a window");
            // SAFETY: the region's first element, open.
            unsafe { addr.write_volatile(u64::from(value)) };
        }
    };
    // Saves what the key had, opens, and puts it back: nests in order, and leaves other keys alone.
    let mut glibc = |iterations| {
        let number = i32::from(pkey.get());
        for value in 0..iterations {
            // SAFETY: the domain's key, opened and put back here.
            let before = unsafe { pkey_get(number) };
            // SAFETY: as above.
            unsafe { pkey_set(number, 0) };
            // SAFETY: the region's first element, open.
            unsafe { addr.write_volatile(u64::from(value)) };
            // SAFETY: as above.
            unsafe { pkey_set(number, before.cast_unsigned()) };
        }
    };
    // The same without calls: the least that such a gate can cost.
    let mut inline = |iterations| {
        for value in 0..iterations {
            let now = pku.read();
            let before = now.get(pkey);
            // SAFETY: the domain's key, opened and put back here.
            unsafe { pku.write(now.with(pkey, AccessBits::UNRESTRICTED)) };
            // SAFETY: the region's first element, open.
            unsafe { addr.write_volatile(u64::from(value)) };
            let now = pku.read();
            // SAFETY: as above.
            unsafe { pku.write(now.with(pkey, before)) };
        }
    };
    let rounds = compare(
        effort.rounds(201),
        effort.iterations(2_000),
        &mut [
            &mut bare_pair,
            &mut bare_one,
            &mut window,
            &mut glibc,
            &mut inline,
        ],
    );

    let outer = domain.open(Rights::ReadWrite).expect("a window");
    let mut nested = |iterations| {
        for _ in 0..iterations {
            drop(domain.open(Rights::ReadWrite).expect("a window"));
        }
    };
    // The register as it is now: the outer window is open.
    let now = pku.read();
    let mut bare_one = |iterations| {
        for _ in 0..iterations {
            // SAFETY: the value that the register has.
            unsafe { pku.write(now) };
        }
    };
    let nesting = compare(
        effort.rounds(201),
        effort.iterations(2_000),
        &mut [&mut nested, &mut bare_one],
    );
    drop(outer);

    vec![
        Figure::at_most(
            "window",
            "window open + store + close, against two bare WRPKRU",
            1.5,
            rounds.ratio(2, 0),
            (rounds.cycles(2), rounds.cycles(0)),
        ),
        Figure::at_most(
            "window-glibc",
            "the same, against a gate of glibc's pkey_get and pkey_set",
            1.0,
            rounds.ratio(2, 3),
            (rounds.cycles(2), rounds.cycles(3)),
        ),
        Figure::at_most(
            "window-inline",
            "the same, against an inline save, open and restore without counts",
            1.0,
            rounds.ratio(2, 4),
            (rounds.cycles(2), rounds.cycles(4)),
        ),
        Figure::at_most(
            "nested",
            "nested window that changes nothing, against one WRPKRU",
            0.5,
            nesting.ratio(0, 1),
            (nesting.cycles(0), nesting.cycles(1)),
        ),
    ]
}
