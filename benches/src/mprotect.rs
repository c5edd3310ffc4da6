//! A toggle of rights against the pair of `mprotect(2)` that does the same job, a store included.

use core::ffi::c_int;

use pkeys::{Domain, Rights};

use crate::figure::Figure;
use crate::sample::{Effort, compare};

pub(crate) const NAMES: &[&str] = &["mprotect-1", "mprotect-4096"];

const PAGE_BYTES: usize = 4096;

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    vec![
        toggle(
            "mprotect-1",
            "toggle and store on one page: an mprotect pair against a window",
            1,
            50.0,
            effort.rounds(101),
            effort.iterations(200),
        ),
        toggle(
            "mprotect-4096",
            "the same on 4,096 pages, none of them huge",
            4096,
            10_000.0,
            effort.rounds(31),
            effort.iterations(4),
        ),
    ]
}

fn toggle(
    name: &'static str,
    what: &'static str,
    nr_pages: usize,
    bar: f64,
    rounds: usize,
    iterations: u32,
) -> Figure {
    let domain = Domain::builder("bars").create().expect("a domain");
    let mut region = domain.map::<u8>(nr_pages * PAGE_BYTES).expect("a region");
    let plain = Plain::new(nr_pages * PAGE_BYTES);
    // Every page is there on both sides.
    region.write().expect("a window").fill(1);
    plain.fill();
    let keyed = region.as_ptr();
    let mut by_mprotect = |iterations| {
        for value in 0..iterations {
            plain.protect(libc::PROT_READ | libc::PROT_WRITE);
            plain.store(value);
            plain.protect(libc::PROT_NONE);
        }
    };
    // A window is far below what one reading of the counter resolves: a thousand for each iteration.
    const PER_ITERATION: u32 = 1000;
    let mut by_window = |iterations| {
        for value in 0..iterations * PER_ITERATION {
            let _window = domain.open(Rights::ReadWrite).expect("a window");
            #[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
            // SAFETY: the region's first byte, open.
            unsafe {
                keyed.write_volatile(value as u8);
            }
        }
    };
    let rounds = compare(rounds, iterations, &mut [&mut by_mprotect, &mut by_window]);
    let (ratio, mut window) = (rounds.ratio(0, 1), rounds.cycles(1));
    let scale = f64::from(PER_ITERATION);
    window.median /= scale;
    let ratio = crate::sample::Spread {
        low: ratio.low * scale,
        median: ratio.median * scale,
        high: ratio.high * scale,
    };
    Figure::at_least(name, what, bar, ratio, (rounds.cycles(0), window))
}

/// Ordinary pages, no huge ones, that `mprotect(2)` opens and closes.
struct Plain {
    base: *mut u8,
    len_bytes: usize,
}

impl Plain {
    fn new(len_bytes: usize) -> Self {
        // SAFETY: new pages at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "mmap of {len_bytes} bytes");
        // SAFETY: the pages above.
        unsafe { libc::madvise(base, len_bytes, libc::MADV_NOHUGEPAGE) };
        Self {
            base: base.cast(),
            len_bytes,
        }
    }

    fn fill(&self) {
        // SAFETY: pages of this value's own, readable and writable until the first `protect`.
        unsafe { self.base.write_bytes(1, self.len_bytes) };
        self.protect(libc::PROT_NONE);
    }

    fn protect(&self, prot: c_int) {
        // SAFETY: pages of this value's own.
        let result = unsafe { libc::mprotect(self.base.cast(), self.len_bytes, prot) };
        assert_eq!(result, 0, "mprotect");
    }

    #[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
    fn store(&self, value: u32) {
        // SAFETY: the first byte, which the caller has made writable.
        unsafe { self.base.write_volatile(value as u8) };
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // SAFETY: pages of this value's own.
        unsafe { libc::munmap(self.base.cast(), self.len_bytes) };
    }
}
