//! Where a new mapping goes: at the address that is given, near it, or wherever there is room.
//!
//! Source: Linux 6.12 `mm/mmap.c` (`__get_unmapped_area`, `round_hint_to_min`).

use pkeys_core::LeafSize;

use crate::abi::Errno;
use crate::memory::layout::{MMAP_MIN_ADDR, PAGE_SIZE, TASK_SIZE, align_down, is_aligned};
use crate::memory::vmas::Vmas;

/// A hint below the lowest address becomes the lowest address: `round_hint_to_min`.
pub(super) fn round_hint(addr: u64) -> u64 {
    let addr = align_down(addr, PAGE_SIZE);
    if addr != 0 && addr < MMAP_MIN_ADDR {
        MMAP_MIN_ADDR
    } else {
        addr
    }
}

/// Where a mapping goes: `__get_unmapped_area`. `len` is a multiple of the page and not zero.
pub(super) fn place<O>(
    vmas: &Vmas<O>,
    addr: u64,
    len: u64,
    page: LeafSize,
    is_fixed: bool,
) -> Result<u64, Errno> {
    if len > TASK_SIZE {
        return Err(Errno::NoMemory);
    }
    let align = page.bytes();
    let addr = if is_fixed {
        if align > PAGE_SIZE && !is_aligned(addr, align) {
            return Err(Errno::Invalid);
        }
        addr
    } else {
        let hint = align_down(addr, align);
        let is_usable = hint != 0 && hint <= TASK_SIZE - len && vmas.is_free_for(hint, len);
        if is_usable {
            hint
        } else {
            vmas.find_gap(len, align).ok_or(Errno::NoMemory)?
        }
    };
    if addr > TASK_SIZE - len {
        Err(Errno::NoMemory)
    } else if !is_aligned(addr, PAGE_SIZE) {
        Err(Errno::Invalid)
    } else if addr < MMAP_MIN_ADDR {
        Err(Errno::Perm)
    } else {
        Ok(addr)
    }
}
