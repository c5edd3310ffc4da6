//! Keys in large leaf entries: huge pages of hugetlb, and those that the kernel makes by itself.
//!
//! Whether memory under `MADV_HUGEPAGE` really has large entries is the kernel's choice; what a program sees is the same
//! with and without.

use libc::EINVAL;

use crate::calls::{
    self, ANONYMOUS, DISABLE_ACCESS, DISABLE_WRITE, FIXED, HUGE, MADV_HUGEPAGE, PAGE, PRIVATE, R,
    RW,
};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::check::{allowed, err, faults, gives, pkuerr, reads, refused, value};
use crate::fixture::{BYTE, at, is_tagged, open_key, set_rights};
use crate::system::System;

const SPLIT: &str = "mm/huge_memory.c, change_huge_pmd; mm/mprotect.c, change_pmd_range (split)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "huge.transparent",
        "A key governs every byte of memory that may be in huge pages.",
        "selftest protection_keys.c, malloc_pkey_anon_huge",
        transparent,
    ),
    Case::new(
        "huge.transparent_split",
        "One small page in the middle of a huge one can have a key of its own, and the others keep theirs.",
        SPLIT,
        transparent_split,
    ),
    Case::new(
        "huge.transparent_absent",
        "A large page that was never touched is denied as absent, at any of its bytes.",
        "arch/x86/mm/fault.c, access_error",
        transparent_absent,
    ),
    Case::new(
        "huge.hugetlb",
        "A key governs every byte of a page of hugetlb, present or absent.",
        "selftest protection_keys.c, malloc_pkey_hugetlb",
        hugetlb,
    )
    .needs(&[Need::Hugetlb]),
    Case::new(
        "huge.hugetlb_is_not_split",
        "A part of a page of hugetlb cannot get a key of its own: EINVAL.",
        "mm/hugetlb.c, hugetlb_vm_op_split",
        hugetlb_is_not_split,
    )
    .needs(&[Need::Hugetlb]),
];

/// Two aligned huge pages' worth of private memory under `MADV_HUGEPAGE`, with a key.
fn advised(sys: &mut dyn System) -> Result<(u64, u64), Mismatch> {
    let start = at(sys, 0);
    let flags = PRIVATE | ANONYMOUS | FIXED;
    value("mmap", calls::mmap(sys, start, 2 * HUGE, RW, flags, -1))?;
    // EINVAL from a kernel that was built without; small pages will do as well.
    let found = calls::madvise(sys, start, 2 * HUGE, MADV_HUGEPAGE);
    if found != -i64::from(EINVAL) {
        gives("MADV_HUGEPAGE", 0, found)?;
    }
    let key = open_key(sys)?;
    let found = calls::pkey_mprotect(sys, start, 2 * HUGE, RW, key.cast_signed());
    gives("pkey_mprotect", 0, found)?;
    Ok((start, key))
}

/// Bytes at the ends and in the middle of a huge page.
const OFFSETS: [u64; 5] = [0, PAGE, HUGE / 2 + 77, HUGE - PAGE, HUGE - 1];

fn touch(sys: &mut dyn System, start: u64) -> Verdict {
    for offset in OFFSETS {
        allowed("a write with the key open", sys.write(start + offset, BYTE))?;
    }
    Ok(())
}

fn denied(sys: &mut dyn System, start: u64, key: u64, codes: (u64, u64)) -> Verdict {
    for offset in OFFSETS {
        let addr = start + offset;
        let found = sys.read(addr);
        faults(
            sys,
            "a read with the key closed",
            pkuerr(addr, key, codes.0),
            found,
        )?;
        let found = sys.write(addr, 1);
        faults(
            sys,
            "a write with the key closed",
            pkuerr(addr, key, codes.1),
            found,
        )?;
    }
    Ok(())
}

const PRESENT: (u64, u64) = (err::READ_KEY, err::WRITE_KEY);
const ABSENT: (u64, u64) = (err::READ_ABSENT, err::WRITE_ABSENT);

fn transparent(sys: &mut dyn System) -> Verdict {
    let (start, key) = advised(sys)?;
    touch(sys, start)?;
    set_rights(sys, key, DISABLE_ACCESS);
    denied(sys, start, key, PRESENT)?;
    set_rights(sys, key, DISABLE_WRITE);
    for offset in OFFSETS {
        reads("a read with writes denied", BYTE, sys.read(start + offset))?;
        let addr = start + offset;
        let found = sys.write(addr, 1);
        faults(
            sys,
            "a write with writes denied",
            pkuerr(addr, key, err::WRITE_KEY),
            found,
        )?;
    }
    let found = calls::pkey_mprotect(sys, start, 2 * HUGE, RW, 0);
    gives("pkey_mprotect with key 0", 0, found)?;
    touch(sys, start)
}

fn transparent_split(sys: &mut dyn System) -> Verdict {
    let (start, key) = advised(sys)?;
    for page in (start..start + HUGE).step_by(4096) {
        allowed("a write with the key open", sys.write(page, BYTE))?;
    }
    let other = open_key(sys)?;
    let middle = start + HUGE / 2;
    let found = calls::pkey_mprotect(sys, middle, PAGE, RW, other.cast_signed());
    gives("pkey_mprotect of a small page", 0, found)?;
    is_tagged(sys, "the small page", middle, RW, other)?;
    for beside in [start, middle - 1, middle + PAGE, start + HUGE] {
        is_tagged(sys, "beside it", beside, RW, key)?;
    }
    set_rights(sys, other, DISABLE_ACCESS);
    let found = sys.read(middle);
    faults(
        sys,
        "a read of the small page",
        pkuerr(middle, other, err::READ_KEY),
        found,
    )?;
    for beside in [start, middle - PAGE, middle + PAGE, start + HUGE - PAGE] {
        reads("a read beside it", BYTE, sys.read(beside))?;
    }
    set_rights(sys, other, 0);
    set_rights(sys, key, DISABLE_ACCESS);
    reads("a read of the small page", BYTE, sys.read(middle))?;
    for beside in [start, middle - PAGE, middle + PAGE, start + HUGE - PAGE] {
        let found = sys.read(beside);
        faults(
            sys,
            "a read beside it",
            pkuerr(beside, key, err::READ_KEY),
            found,
        )?;
    }
    Ok(())
}

fn transparent_absent(sys: &mut dyn System) -> Verdict {
    let (start, key) = advised(sys)?;
    set_rights(sys, key, DISABLE_ACCESS | DISABLE_WRITE);
    denied(sys, start, key, ABSENT)
}

fn hugetlb(sys: &mut dyn System) -> Verdict {
    let start = at(sys, 0);
    value("mmap with MAP_HUGETLB", calls::mmap_hugetlb(sys, start, 0))?;
    let key = open_key(sys)?;
    let found = calls::pkey_mprotect(sys, start, HUGE, RW, key.cast_signed());
    gives("pkey_mprotect", 0, found)?;
    set_rights(sys, key, DISABLE_ACCESS);
    denied(sys, start, key, ABSENT)?;
    set_rights(sys, key, 0);
    touch(sys, start)?;
    set_rights(sys, key, DISABLE_ACCESS);
    denied(sys, start, key, PRESENT)
}

fn hugetlb_is_not_split(sys: &mut dyn System) -> Verdict {
    let start = at(sys, 0);
    value("mmap with MAP_HUGETLB", calls::mmap_hugetlb(sys, start, 0))?;
    let key = open_key(sys)?;
    for (addr, len) in [
        (start, PAGE),
        (start + PAGE, HUGE - PAGE),
        (start, HUGE / 2),
    ] {
        let found = calls::pkey_mprotect(sys, addr, len, R, key.cast_signed());
        refused("pkey_mprotect of a part", EINVAL, found)?;
        is_tagged(sys, "after it", start, RW, 0)?;
    }
    Ok(())
}
