//! `pkey_mprotect(2)` and `mprotect(2)`: which pages get which protection and which key.

use libc::{EACCES, EINVAL};

use crate::calls::{self, DISABLE_ACCESS, FIXED, NONE, PAGE, R, RW, RWX, RX, SHARED, W, X};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::check::{accerr, allowed, err, faults, gives, pkuerr, reads, refused, value};
use crate::fixture::{BYTE, Keyed, at, is_tagged, keyed, map, open_key, set_rights, tag, touched};
use crate::system::System;
use crate::tasks;

const CALL: &str = "pkey_mprotect(2); mm/mprotect.c, do_mprotect_pkey";
const OVERRIDE: &str = "arch/x86/mm/pkeys.c, __arch_override_mprotect_pkey";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "mprotect.sets_protection_and_key",
        "pkey_mprotect gives pages a protection and a key, for every key and protection.",
        "pkey_mprotect(2)",
        sets_protection_and_key,
    ),
    Case::new(
        "mprotect.plain_keeps_the_key",
        "mprotect changes the protection and keeps the key.",
        OVERRIDE,
        plain_keeps_the_key,
    ),
    Case::new(
        "mprotect.minus_one_is_plain",
        "pkey_mprotect with key -1 is mprotect: the key stays.",
        "pkey_mprotect(2); mm/mprotect.c, SYSCALL_DEFINE3(mprotect)",
        minus_one_is_plain,
    ),
    Case::new(
        "mprotect.only_32_bits_of_the_key_count",
        "The key is an int: the upper half of its register is ignored, also for -1.",
        CALL,
        only_32_bits_of_the_key_count,
    ),
    Case::new(
        "mprotect.key_zero_can_be_given",
        "Key 0 can be given with every protection; with PROT_EXEC alone it stays key 0.",
        "selftest protection_keys.c, test_pkey_alloc_free_attach_pkey0",
        key_zero_can_be_given,
    ),
    Case::new(
        "mprotect.back_to_key_zero",
        "Pages of a closed key are accessible again when they get key 0.",
        "selftest protection_keys.c, test_mprotect_with_pkey_0",
        back_to_key_zero,
    ),
    Case::new(
        "mprotect.key_must_be_allocated",
        "Keys that are not allocated are refused with EINVAL, and the pages stay what they were.",
        "selftest protection_keys.c, test_pkey_syscalls_on_non_allocated_pkey",
        key_must_be_allocated,
    ),
    Case::new(
        "mprotect.freed_key",
        "A freed key is refused with EINVAL, even for pages that have it.",
        "arch/x86/include/asm/pkeys.h, mm_pkey_is_allocated",
        freed_key,
    ),
    Case::new(
        "mprotect.other_threads_see_it",
        "A new key applies to other threads' next access, also where they have touched the page before.",
        "mm/mprotect.c, change_protection (TLB flush)",
        other_threads_see_it,
    ),
    Case::new(
        "mprotect.what_a_file_does_not_allow",
        "PROT_WRITE on a shared mapping of a file that was opened for reading fails with EACCES; the key stays too.",
        CALL,
        what_a_file_does_not_allow,
    )
    .needs(&[Need::Memfd]),
    Case::new(
        "mprotect.key_without_access",
        "PROT_NONE with a key: SEGV_ACCERR while the key is open, SEGV_PKUERR while it is closed.",
        "arch/x86/mm/fault.c, bad_area_access_from_pkeys",
        key_without_access,
    ),
    Case::new(
        "mprotect.contents_stay",
        "Changing keys leaves the contents.",
        "pkey_mprotect(2)",
        contents_stay,
    ),
];

fn sets_protection_and_key(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    for expected in 1..=15 {
        gives("pkey_alloc", expected, calls::pkey_alloc(sys, 0, 0))?;
        let key = expected.unsigned_abs();
        for prot in [NONE, R, W, RW, X, RX, RWX] {
            tag(sys, page, prot, key)?;
            is_tagged(sys, "after pkey_mprotect", page, prot, key)?;
        }
    }
    Ok(())
}

fn plain_keeps_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for prot in [R, NONE, RX, RWX, RW] {
        gives("mprotect", 0, calls::mprotect(sys, page, PAGE, prot))?;
        is_tagged(sys, "after mprotect", page, prot, key)?;
    }
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read with the key closed",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn minus_one_is_plain(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, R, -1);
    gives("pkey_mprotect with key -1", 0, found)?;
    is_tagged(sys, "after it", page, R, key)?;
    let plain = touched(sys, 1)?;
    let found = calls::pkey_mprotect(sys, plain, PAGE, R, -1);
    gives("pkey_mprotect with key -1", 0, found)?;
    is_tagged(sys, "a page of key 0 after it", plain, R, 0)
}

fn only_32_bits_of_the_key_count(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for minus_one in [0xFFFF_FFFF, 0x1234_FFFF_FFFF] {
        let found = calls::pkey_mprotect(sys, page, PAGE, R, minus_one);
        gives(
            format_args!("pkey_mprotect with key {minus_one:#x}"),
            0,
            found,
        )?;
        is_tagged(sys, "after it", page, R, key)?;
    }
    let other = open_key(sys)?;
    let wide = other.cast_signed() | (7 << 32);
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, wide);
    gives(format_args!("pkey_mprotect with key {wide:#x}"), 0, found)?;
    is_tagged(sys, "after it", page, RW, other)
}

fn key_zero_can_be_given(sys: &mut dyn System) -> Verdict {
    let Keyed { page, .. } = keyed(sys)?;
    for prot in [R, W, X, RW, RWX] {
        tag(sys, page, prot, 0)?;
        is_tagged(sys, "after pkey_mprotect with key 0", page, prot, 0)?;
    }
    // Nothing of that used a key up for execute-only memory.
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))
}

fn back_to_key_zero(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_KEY), found)?;
    tag(sys, page, RW, 0)?;
    reads("a read with key 0", BYTE, sys.read(page))?;
    allowed("a write with key 0", sys.write(page, 1))
}

fn key_must_be_allocated(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for other in (1..=15).filter(|other| *other != key) {
        let found = calls::pkey_mprotect(sys, page, PAGE, R, other.cast_signed());
        refused(
            format_args!("pkey_mprotect with key {other}"),
            EINVAL,
            found,
        )?;
        is_tagged(sys, "after it", page, RW, key)?;
    }
    Ok(())
}

fn freed_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    gives("pkey_free", 0, calls::pkey_free(sys, key.cast_signed()))?;
    let found = calls::pkey_mprotect(sys, page, PAGE, R, key.cast_signed());
    refused("pkey_mprotect with the freed key", EINVAL, found)?;
    is_tagged(sys, "after it", page, RW, key)
}

fn other_threads_see_it(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    let thread = sys.thread();
    tasks::tells(
        sys,
        "a thread reads",
        thread,
        (tasks::read, page),
        BYTE.into(),
    )?;
    let key = open_key(sys)?;
    tag(sys, page, RW, key)?;
    let denied = tasks::fault(4, key);
    tasks::tells(sys, "it reads again", thread, (tasks::read, page), denied)?;
    tasks::tells(sys, "it writes", thread, (tasks::write, page), denied)?;
    tag(sys, page, RW, 0)?;
    tasks::tells(
        sys,
        "it reads with key 0",
        thread,
        (tasks::read, page),
        BYTE.into(),
    )
}

fn what_a_file_does_not_allow(sys: &mut dyn System) -> Verdict {
    let fd = value("memfd_create", calls::memfd(sys))?;
    gives("ftruncate", 0, calls::ftruncate(sys, fd, PAGE))?;
    let reader = read_only(sys, fd)?;
    let page = at(sys, 0);
    let mapped = calls::mmap(sys, page, PAGE, R, SHARED | FIXED, reader.cast_signed());
    value("mmap of the file", mapped)?;
    let key = open_key(sys)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, key.cast_signed());
    refused("pkey_mprotect with PROT_WRITE", EACCES, found)?;
    is_tagged(sys, "after it", page, R, 0)?;
    tag(sys, page, R, key)?;
    refused(
        "mprotect with PROT_WRITE",
        EACCES,
        calls::mprotect(sys, page, PAGE, RW),
    )?;
    is_tagged(sys, "after it", page, R, key)
}

/// The same file, opened anew for reading.
pub(super) fn read_only(sys: &mut dyn System, fd: u64) -> Result<u64, Mismatch> {
    let at = sys.scratch().start;
    let path = format!("/proc/self/fd/{fd}\0");
    allowed(
        "a write to scratch memory",
        crate::bytes::put(sys, at, path.as_bytes()),
    )?;
    // open(2), O_RDONLY.
    value(
        "open of the file for reading",
        sys.syscall(2, [at, 0, 0, 0, 0, 0]),
    )
}

fn key_without_access(sys: &mut dyn System) -> Verdict {
    let page = map(sys, 0, 1, NONE)?;
    let key = open_key(sys)?;
    tag(sys, page, NONE, key)?;
    let found = sys.read(page);
    faults(
        sys,
        "a read with the key open",
        accerr(page, err::READ_ABSENT),
        found,
    )?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read with the key closed",
        pkuerr(page, key, err::READ_ABSENT),
        found,
    )
}

fn contents_stay(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    for expected in 1..=15_i64 {
        gives("pkey_alloc", expected, calls::pkey_alloc(sys, 0, 0))?;
        tag(sys, page, RW, expected.unsigned_abs())?;
        reads("after a change of key", BYTE, sys.read(page))?;
    }
    tag(sys, page, RW, 0)?;
    reads("with key 0 again", BYTE, sys.read(page))
}
