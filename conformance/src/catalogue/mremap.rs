//! `mremap(2)`: a mapping takes its key along.

use crate::calls::{self, DISABLE_ACCESS, DONTUNMAP, MAYMOVE, MREMAP_FIXED, PAGE, R, RW, X};
use crate::case::{Case, Verdict};
use crate::check::{allowed, equal, err, faults, gives, pkuerr, reads};
use crate::fixture::{BYTE, Keyed, at, code, is_tagged, keyed, set_rights};
use crate::system::System;

const MOVE: &str = "mm/mremap.c, move_vma (copy_vma keeps vm_flags)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "mremap.move_keeps_the_key",
        "A mapping that is moved keeps its key, and what it contains.",
        MOVE,
        move_keeps_the_key,
    ),
    Case::new(
        "mremap.move_of_closed_memory",
        "Memory of a closed key can be moved, and stays closed.",
        MOVE,
        move_of_closed_memory,
    ),
    Case::new(
        "mremap.growth_has_the_key",
        "Pages that a mapping grows by have its key.",
        "mm/mremap.c, expand_vma",
        growth_has_the_key,
    ),
    Case::new(
        "mremap.growth_by_moving",
        "A mapping that has to move to grow has its key in all of its new place.",
        MOVE,
        growth_by_moving,
    ),
    Case::new(
        "mremap.shrinking_keeps_the_key",
        "A mapping that is cut short keeps its key.",
        "mm/mremap.c, mremap",
        shrinking_keeps_the_key,
    ),
    Case::new(
        "mremap.over_another_key",
        "A mapping moved onto pages of another key brings its own.",
        MOVE,
        over_another_key,
    ),
    Case::new(
        "mremap.dontunmap",
        "MREMAP_DONTUNMAP leaves an empty mapping of the same key behind.",
        "mm/mremap.c, move_vma (MREMAP_DONTUNMAP)",
        dontunmap,
    ),
    Case::new(
        "mremap.execute_only",
        "Execute-only memory stays execute-only when it is moved.",
        MOVE,
        execute_only,
    ),
];

/// Moves one page to a page of the arena; its new address.
fn move_to(sys: &mut dyn System, from: u64, page: u64) -> Result<u64, crate::case::Mismatch> {
    let to = at(sys, page);
    let found = calls::mremap(sys, from, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, to);
    gives("mremap", to.cast_signed(), found)?;
    Ok(to)
}

fn move_keeps_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let to = move_to(sys, page, 8)?;
    is_tagged(sys, "in its new place", to, RW, key)?;
    equal("its old place", None, sys.smaps(page))?;
    reads("what it contains", BYTE, sys.read(to))?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(to);
    faults(
        sys,
        "a read with the key closed",
        pkuerr(to, key, err::READ_KEY),
        found,
    )
}

fn move_of_closed_memory(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let to = move_to(sys, page, 8)?;
    let found = sys.read(to);
    faults(sys, "a read", pkuerr(to, key, err::READ_KEY), found)?;
    set_rights(sys, key, 0);
    reads("a read with the key open", BYTE, sys.read(to))
}

fn growth_has_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let found = calls::mremap(sys, page, PAGE, 3 * PAGE, 0, 0);
    gives("mremap", page.cast_signed(), found)?;
    is_tagged(sys, "the new pages", page + 2 * PAGE, RW, key)?;
    allowed("a write to them", sys.write(page + 2 * PAGE, 1))?;
    set_rights(sys, key, DISABLE_ACCESS);
    for (offset, code) in [
        (0, err::READ_KEY),
        (PAGE, err::READ_ABSENT),
        (2 * PAGE, err::READ_KEY),
    ] {
        let found = sys.read(page + offset);
        faults(
            sys,
            "a read with the key closed",
            pkuerr(page + offset, key, code),
            found,
        )?;
    }
    Ok(())
}

fn growth_by_moving(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let to = at(sys, 64);
    let found = calls::mremap(sys, page, PAGE, 4 * PAGE, MAYMOVE | MREMAP_FIXED, to);
    gives("mremap", to.cast_signed(), found)?;
    for number in 0..4 {
        is_tagged(sys, "a page of the new place", to + number * PAGE, RW, key)?;
    }
    reads("what it contains", BYTE, sys.read(to))
}

fn shrinking_keeps_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    gives(
        "mremap",
        page.cast_signed(),
        calls::mremap(sys, page, PAGE, 4 * PAGE, 0, 0),
    )?;
    gives(
        "mremap",
        page.cast_signed(),
        calls::mremap(sys, page, 4 * PAGE, 2 * PAGE, 0, 0),
    )?;
    is_tagged(sys, "what is left", page + PAGE, RW, key)?;
    equal("what was cut off", None, sys.smaps(page + 2 * PAGE))
}

fn over_another_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let other = crate::fixture::touched(sys, 8)?;
    let second = crate::fixture::open_key(sys)?;
    crate::fixture::tag(sys, other, R, second)?;
    let to = move_to(sys, page, 8)?;
    is_tagged(sys, "the place", to, RW, key)?;
    reads("what it contains", BYTE, sys.read(to))
}

fn dontunmap(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let to = at(sys, 8);
    let flags = MAYMOVE | MREMAP_FIXED | DONTUNMAP;
    let found = calls::mremap(sys, page, PAGE, PAGE, flags, to);
    gives("mremap", to.cast_signed(), found)?;
    is_tagged(sys, "the new place", to, RW, key)?;
    is_tagged(sys, "the old place", page, RW, key)?;
    reads("what the new place contains", BYTE, sys.read(to))?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read of the old place",
        pkuerr(page, key, err::READ_ABSENT),
        found,
    )?;
    set_rights(sys, key, 0);
    reads("what the old place contains", 0, sys.read(page))
}

fn execute_only(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    let to = move_to(sys, page, 8)?;
    is_tagged(sys, "the new place", to, X, 1)?;
    allowed("a call", sys.call(to))?;
    let found = sys.read(to);
    faults(sys, "a read", pkuerr(to, 1, err::READ_KEY), found)
}
