//! Ranges: parts of mappings and several of them, holes, and where one mapping ends and the next begins.

use libc::{EFAULT, ENOMEM};

use crate::calls::{
    self, DISABLE_ACCESS, FIXED, GROWSDOWN, MAP_GROWSDOWN, MAYMOVE, PAGE, PRIVATE, R, RW,
};
use crate::case::{Case, Mismatch, Verdict};
use crate::check::{allowed, err, faults, gives, pkuerr, reads, refused, value};
use crate::fixture::{BYTE, Keyed, at, is_tagged, keyed, map, open_key, set_rights, tag};
use crate::system::System;

const CALL: &str = "pkey_mprotect(2); mm/mprotect.c, do_mprotect_pkey";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "range.part_of_a_mapping",
        "Pages beside the range keep protection and key, and the mapping is split.",
        CALL,
        part_of_a_mapping,
    ),
    Case::new(
        "range.across_mappings",
        "A range over mappings of several keys gets one key; mprotect leaves each its own.",
        CALL,
        across_mappings,
    ),
    Case::new(
        "range.length_is_rounded_up",
        "A length is rounded up to whole pages.",
        CALL,
        length_is_rounded_up,
    ),
    Case::new(
        "range.hole_in_the_middle",
        "At a hole the call fails with ENOMEM; what lies before it is changed, what lies behind is not.",
        "mm/mprotect.c, do_mprotect_pkey (for_each_vma_range)",
        hole_in_the_middle,
    ),
    Case::new(
        "range.hole_at_the_start",
        "With a hole at the start the call fails with ENOMEM and changes nothing.",
        CALL,
        hole_at_the_start,
    ),
    Case::new(
        "range.hole_at_the_end",
        "With a hole at the end the call fails with ENOMEM, after it changed all that is mapped.",
        CALL,
        hole_at_the_end,
    ),
    Case::new(
        "range.grows_down",
        "PROT_GROWSDOWN takes in the mapping's beginning where it is one that grows down.",
        CALL,
        grows_down,
    ),
    Case::new(
        "range.different_keys_do_not_merge",
        "Neighbours with different keys are two mappings; with the same key and protection they are one.",
        "mm/vma.c, is_mergeable_vma (vm_flags hold the key)",
        different_keys_do_not_merge,
    ),
    Case::new(
        "range.new_mapping_in_the_place",
        "A mapping that replaces pages with a key has key 0.",
        "mmap(2); mm/mmap.c, do_mmap",
        new_mapping_in_the_place,
    ),
];

fn part_of_a_mapping(sys: &mut dyn System) -> Verdict {
    let start = map(sys, 0, 5, RW)?;
    let key = open_key(sys)?;
    for page in 0..5 {
        allowed("a write", sys.write(start + page * PAGE, BYTE))?;
    }
    let found = calls::pkey_mprotect(sys, start + 2 * PAGE, PAGE, R, key.cast_signed());
    gives("pkey_mprotect of the middle", 0, found)?;
    for page in [0, 1, 3, 4] {
        is_tagged(sys, "a page beside", start + page * PAGE, RW, 0)?;
    }
    is_tagged(sys, "the page", start + 2 * PAGE, R, key)?;
    set_rights(sys, key, DISABLE_ACCESS);
    reads("the byte before", 0, sys.read(start + 2 * PAGE - 1))?;
    let first = start + 2 * PAGE;
    let found = sys.read(first);
    faults(
        sys,
        "the first byte",
        pkuerr(first, key, err::READ_KEY),
        found,
    )?;
    let last = start + 3 * PAGE - 1;
    let found = sys.read(last);
    faults(
        sys,
        "the last byte",
        pkuerr(last, key, err::READ_KEY),
        found,
    )?;
    reads("the byte behind", BYTE, sys.read(last + 1))
}

fn across_mappings(sys: &mut dyn System) -> Verdict {
    let start = map(sys, 0, 3, RW)?;
    let keys = [open_key(sys)?, open_key(sys)?, open_key(sys)?];
    for (page, key) in (0..).zip(keys) {
        tag(sys, start + page * PAGE, RW, key)?;
    }
    gives(
        "mprotect of three keys' pages",
        0,
        calls::mprotect(sys, start, 3 * PAGE, R),
    )?;
    for (page, key) in (0..).zip(keys) {
        is_tagged(sys, "after mprotect", start + page * PAGE, R, key)?;
    }
    let found = calls::pkey_mprotect(sys, start, 3 * PAGE, RW, keys[1].cast_signed());
    gives("pkey_mprotect of them", 0, found)?;
    for page in 0..3 {
        is_tagged(sys, "after pkey_mprotect", start + page * PAGE, RW, keys[1])?;
    }
    Ok(())
}

fn length_is_rounded_up(sys: &mut dyn System) -> Verdict {
    let start = map(sys, 0, 3, RW)?;
    let key = open_key(sys)?;
    let found = calls::pkey_mprotect(sys, start, 1, R, key.cast_signed());
    gives("pkey_mprotect of one byte", 0, found)?;
    is_tagged(sys, "the page of that byte", start, R, key)?;
    is_tagged(sys, "the next page", start + PAGE, RW, 0)?;
    let found = calls::pkey_mprotect(sys, start, PAGE + 1, R, key.cast_signed());
    gives("pkey_mprotect of a page and a byte", 0, found)?;
    is_tagged(sys, "the second page", start + PAGE, R, key)?;
    is_tagged(sys, "the third page", start + 2 * PAGE, RW, 0)
}

fn hole_in_the_middle(sys: &mut dyn System) -> Verdict {
    let Keyed { page: start, key } = with_a_hole(sys)?;
    let found = calls::pkey_mprotect(sys, start, 5 * PAGE, R, key.cast_signed());
    refused("pkey_mprotect over a hole", ENOMEM, found)?;
    for page in [0, 1] {
        is_tagged(sys, "before the hole", start + page * PAGE, R, key)?;
    }
    for page in [3, 4] {
        is_tagged(sys, "behind the hole", start + page * PAGE, RW, 0)?;
    }
    Ok(())
}

fn hole_at_the_start(sys: &mut dyn System) -> Verdict {
    let Keyed { page: start, key } = with_a_hole(sys)?;
    let found = calls::pkey_mprotect(sys, start + 2 * PAGE, 3 * PAGE, R, key.cast_signed());
    refused("pkey_mprotect from a hole on", ENOMEM, found)?;
    for page in [0, 1, 3, 4] {
        is_tagged(sys, "after it", start + page * PAGE, RW, 0)?;
    }
    Ok(())
}

fn hole_at_the_end(sys: &mut dyn System) -> Verdict {
    let Keyed { page: start, key } = with_a_hole(sys)?;
    let found = calls::pkey_mprotect(sys, start + PAGE, 2 * PAGE, R, key.cast_signed());
    refused("pkey_mprotect into a hole", ENOMEM, found)?;
    is_tagged(sys, "the page before", start, RW, 0)?;
    is_tagged(sys, "the page in the range", start + PAGE, R, key)
}

fn grows_down(sys: &mut dyn System) -> Verdict {
    let start = at(sys, 16);
    let flags = PRIVATE | calls::ANONYMOUS | FIXED | MAP_GROWSDOWN;
    value(
        "mmap with MAP_GROWSDOWN",
        calls::mmap(sys, start, 3 * PAGE, RW, flags, -1),
    )?;
    let key = open_key(sys)?;
    let last = start + 2 * PAGE;
    let found = calls::pkey_mprotect(sys, last, PAGE, R | GROWSDOWN, key.cast_signed());
    gives(
        "pkey_mprotect of its last page with PROT_GROWSDOWN",
        0,
        found,
    )?;
    for page in 0..3 {
        is_tagged(sys, "after it", start + page * PAGE, R, key)?;
    }
    Ok(())
}

fn different_keys_do_not_merge(sys: &mut dyn System) -> Verdict {
    let start = map(sys, 0, 2, RW)?;
    let key = open_key(sys)?;
    // Growing a range is possible inside one mapping only, which shows where mappings end.
    let grow = |sys: &mut dyn System| {
        let found = calls::mremap(sys, start, 2 * PAGE, 3 * PAGE, 0, 0);
        if found >= 0 {
            calls::munmap(sys, start + 2 * PAGE, PAGE);
        }
        found
    };
    tag(sys, start + PAGE, RW, key)?;
    refused(
        "mremap of neighbours with different keys",
        EFAULT,
        grow(sys),
    )?;
    tag(sys, start, RW, key)?;
    gives(
        "mremap of neighbours with the same key",
        start.cast_signed(),
        grow(sys),
    )?;
    gives(
        "mprotect of the first",
        0,
        calls::mprotect(sys, start, PAGE, R),
    )?;
    let found = calls::mremap(sys, start, 2 * PAGE, 3 * PAGE, MAYMOVE, 0);
    refused(
        "mremap of neighbours with the same key and different protection",
        EFAULT,
        found,
    )
}

fn new_mapping_in_the_place(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    map(sys, 0, 1, RW)?;
    is_tagged(sys, "a mapping in the place of another", page, RW, 0)?;
    reads("a read of it", 0, sys.read(page))?;
    tag(sys, page, RW, key)?;
    gives("munmap", 0, calls::munmap(sys, page, PAGE))?;
    map(sys, 0, 1, RW)?;
    is_tagged(sys, "a mapping where one was", page, RW, 0)
}

/// Pages 0, 1, 3 and 4 of five, never touched, and a key.
fn with_a_hole(sys: &mut dyn System) -> Result<Keyed, Mismatch> {
    let page = map(sys, 0, 2, RW)?;
    map(sys, 3, 2, RW)?;
    let key = open_key(sys)?;
    Ok(Keyed { page, key })
}
