//! The part of the address space that is the user's, and arithmetic on its addresses.
//!
//! Source: Linux `arch/x86/include/asm/page_64_types.h` (`TASK_SIZE_MAX`), `arch/x86/mm/mmap.c`, `mm/util.c`
//! (`mmap_base`), without the random parts: the same program sees the same addresses.

use core::ops::Range;

/// The size of the smallest page.
pub const PAGE_SIZE: u64 = 1 << 12;

/// The first address that is not the user's: the last page below the canonical boundary is left out.
pub const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// New mappings without an address are placed below this one, from the top down.
pub const MMAP_BASE: u64 = 0x7fff_f7ff_f000;

/// Where the search goes on, from the bottom up, if there is no room below [`MMAP_BASE`].
pub const MMAP_FALLBACK_BASE: u64 = 0x2aaa_aaaa_a000;

/// The lowest address that can be mapped: `vm.mmap_min_addr` as distributions set it.
pub const MMAP_MIN_ADDR: u64 = 1 << 16;

/// How much stays free below a mapping that grows downwards.
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// How many mappings an address space may have: `vm.max_map_count`.
pub const MAX_MAP_COUNT: usize = 65_530;

/// Addresses from a start to behind an end.
pub type Addresses = Range<u64>;

/// Whether an address is a multiple of a page size, which is a power of two.
#[must_use]
#[inline]
pub const fn is_aligned(addr: u64, size: u64) -> bool {
    addr & (size - 1) == 0
}

/// The next lower multiple of a power of two.
#[must_use]
#[inline]
pub const fn align_down(addr: u64, size: u64) -> u64 {
    addr & !(size - 1)
}

/// The next higher multiple of a power of two. As in Linux it wraps to 0 at the top, which its callers look for.
#[must_use]
#[inline]
pub const fn align_up(addr: u64, size: u64) -> u64 {
    addr.wrapping_add(size - 1) & !(size - 1)
}

/// Whether a range of the program lies in the user's part: Linux's `access_ok`.
#[must_use]
#[inline]
pub const fn is_user_range(addr: u64, len: u64) -> bool {
    match addr.checked_add(len) {
        Some(end) => end <= TASK_SIZE,
        None => false,
    }
}
