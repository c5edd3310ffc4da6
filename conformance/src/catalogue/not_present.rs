//! Pages that are not present: a key is looked up in the mapping where the page tables have none.

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, MADV_DONTNEED, PAGE, RW, RWX, RX};
use crate::case::{Case, Verdict};
use crate::check::{accerr, allowed, err, faults, pkuerr, reads};
use crate::fixture::{BYTE, Keyed, RET, at, keyed, keyed_absent, open_key, set_rights, tag};
use crate::system::System;
use crate::{check, tasks};

const FAULT: &str = "arch/x86/mm/fault.c, access_error";
const SDM: &str = "SDM Vol. 3A, 4.6.2";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "not_present.read_with_write_disabled",
        "With write-disable, a first read maps the zero page, and a write after it is SEGV_PKUERR.",
        FAULT,
        read_with_write_disabled,
    ),
    Case::new(
        "not_present.fetch_of_an_absent_page",
        "Code is fetched from a page that is not present and whose key denies everything.",
        "arch/x86/include/asm/mmu_context.h, arch_vma_access_permitted (execute)",
        fetch_of_an_absent_page,
    ),
    Case::new(
        "not_present.fetch_brings_the_page_in",
        "A fetch from an absent page that may be accessed, but not executed, makes the page present before it faults.",
        "arch/x86/mm/fault.c, access_error (a fetch that is not present is checked as a read)",
        fetch_brings_the_page_in,
    ),
    Case::new(
        "not_present.denied_access_maps_nothing",
        "A denied access leaves a page that is not present as it was.",
        FAULT,
        denied_access_maps_nothing,
    ),
    Case::new(
        "not_present.after_dontneed",
        "A page given up with MADV_DONTNEED is absent again, and denied as such.",
        "arch/x86/mm/fault.c, access_error; madvise(2)",
        after_dontneed,
    ),
    Case::new(
        "not_present.populated_page",
        "A page that MAP_POPULATE made present is denied as present.",
        SDM,
        populated_page,
    ),
    Case::new(
        "not_present.copy_on_write_page",
        "A page shared with a child by fork is denied like any other, and copied when the key lets the write through.",
        FAULT,
        copy_on_write_page,
    ),
];

fn read_with_write_disabled(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    set_rights(sys, key, DISABLE_WRITE);
    reads("the first read", 0, sys.read(page))?;
    let found = sys.write(page, 1);
    faults(sys, "a write", pkuerr(page, key, err::WRITE_KEY), found)?;
    set_rights(sys, key, 0);
    allowed("a write with the key open", sys.write(page, 1))?;
    reads("a read of it", 1, sys.read(page))
}

fn fetch_of_an_absent_page(sys: &mut dyn System) -> Verdict {
    // A shared page can be absent here and hold code all the same: a child writes it.
    let page = at(sys, 0);
    let flags = calls::SHARED | calls::ANONYMOUS | calls::FIXED;
    check::value(
        "mmap of shared memory",
        calls::mmap(sys, page, PAGE, RWX, flags, -1),
    )?;
    let child = sys.fork();
    tasks::tells(sys, "the child writes a RET", child, (put_ret, page), 0)?;
    let key = open_key(sys)?;
    tag(sys, page, RX, key)?;
    set_rights(sys, key, DISABLE_ACCESS | DISABLE_WRITE);
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_ABSENT), found)?;
    allowed("a call", sys.call(page))?;
    let found = sys.read(page);
    faults(
        sys,
        "a read after it",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn fetch_brings_the_page_in(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read before",
        pkuerr(page, key, err::READ_ABSENT),
        found,
    )?;
    let found = sys.call(page);
    faults(sys, "a call", accerr(page, err::FETCH_PRESENT), found)?;
    let found = sys.read(page);
    faults(sys, "a read after", pkuerr(page, key, err::READ_KEY), found)
}

fn denied_access_maps_nothing(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    for _ in 0..3 {
        let found = sys.read(page);
        faults(sys, "a read", pkuerr(page, key, err::READ_ABSENT), found)?;
        let found = sys.write(page, 1);
        faults(sys, "a write", pkuerr(page, key, err::WRITE_ABSENT), found)?;
    }
    Ok(())
}

fn after_dontneed(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    check::gives("madvise", 0, calls::madvise(sys, page, PAGE, MADV_DONTNEED))?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_ABSENT), found)
}

fn populated_page(sys: &mut dyn System) -> Verdict {
    let page = at(sys, 0);
    let flags = calls::PRIVATE | calls::ANONYMOUS | calls::FIXED | calls::POPULATE;
    check::value(
        "mmap with MAP_POPULATE",
        calls::mmap(sys, page, PAGE, RW, flags, -1),
    )?;
    let key = open_key(sys)?;
    tag(sys, page, RW, key)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_KEY), found)
}

fn copy_on_write_page(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let child = sys.fork();
    set_rights(sys, key, DISABLE_WRITE);
    let found = sys.write(page, 1);
    faults(sys, "a write", pkuerr(page, key, err::WRITE_KEY), found)?;
    set_rights(sys, key, 0);
    allowed("a write with the key open", sys.write(page, 1))?;
    tasks::tells(
        sys,
        "the child reads",
        child,
        (tasks::read, page),
        BYTE.into(),
    )?;
    tasks::tells(sys, "the child writes", child, (tasks::write, page), 0)?;
    reads("a read", 1, sys.read(page))
}

fn put_ret(sys: &mut dyn System, addr: u64) -> u64 {
    u64::from(sys.write(addr, RET).is_err())
}
