//! `pkey_free(2)`: what it gives back, and all that it leaves.

use libc::EINVAL;

use crate::calls::{self, DISABLE_ACCESS, PAGE, RW, X};
use crate::case::{Case, Verdict};
use crate::catalogue::alloc;
use crate::check::{allowed, equal, err, faults, gives, pkru, pkuerr, reads, refused};
use crate::fixture::{BYTE, Keyed, code, is_tagged, keyed, open_key, set_rights, tag, touched};
use crate::system::System;
use crate::tasks;

const CALL: &str = "pkey_free(2); mm/mprotect.c, SYSCALL_DEFINE1(pkey_free)";
const IS_ALLOCATED: &str = "arch/x86/include/asm/pkeys.h, mm_pkey_is_allocated";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "free.key_can_be_allocated_again",
        "A freed key is free: the next call that looks for the lowest gets it.",
        CALL,
        key_can_be_allocated_again,
    ),
    Case::new(
        "free.twice",
        "Freeing a key that was freed fails with EINVAL.",
        "selftest protection_keys.c, test_pkey_syscalls_on_non_allocated_pkey",
        twice,
    ),
    Case::new(
        "free.never_allocated",
        "Freeing a key that was never allocated fails with EINVAL, twice in a row as well.",
        "selftest protection_keys.c, test_pkey_syscalls_on_non_allocated_pkey",
        never_allocated,
    ),
    Case::new(
        "free.out_of_range",
        "Numbers that are no keys, negative ones among them, fail with EINVAL.",
        "selftest protection_keys.c, test_pkey_syscalls_bad_args",
        out_of_range,
    ),
    Case::new(
        "free.only_32_bits_count",
        "The argument is an int: the upper half of the register is ignored.",
        CALL,
        only_32_bits_count,
    ),
    Case::new(
        "free.key_zero",
        "Key 0 can be freed; then it can neither be freed nor given to pages, and is the next key allocated.",
        IS_ALLOCATED,
        key_zero,
    ),
    Case::new(
        "free.key_zero_pages_go_on",
        "Pages of key 0 are accessible as before when it is free, and new mappings have key 0.",
        CALL,
        key_zero_pages_go_on,
    ),
    Case::new(
        "free.register_is_left_alone",
        "PKRU keeps the rights to a freed key.",
        "pkeys(7), NOTES; mm/mprotect.c, SYSCALL_DEFINE1(pkey_free)",
        register_is_left_alone,
    ),
    Case::new(
        "free.pages_keep_the_key",
        "A key can be freed while pages have it; they keep it, and PKRU goes on to govern them.",
        CALL,
        pages_keep_the_key,
    ),
    Case::new(
        "free.key_is_handed_out_with_its_pages",
        "A key that was freed in use is allocated again as it is: the new owner's rights govern the old pages.",
        "pkey_free(2), NOTES",
        key_is_handed_out_with_its_pages,
    ),
    Case::new(
        "free.other_threads_rights_survive",
        "A thread that had a key open still has, when the key was freed and allocated again.",
        "pkeys(7), NOTES; glibc tst-pkey.c",
        other_threads_rights_survive,
    ),
    Case::new(
        "free.execute_only_key",
        "The key of execute-only memory cannot be freed: EINVAL.",
        IS_ALLOCATED,
        execute_only_key,
    ),
    Case::new(
        "free.any_order",
        "All keys can be freed in any order and allocated again from the lowest.",
        CALL,
        any_order,
    ),
    Case::new(
        "free.plain_mprotect_keeps_the_freed_key",
        "mprotect on pages whose key was freed succeeds and keeps the key.",
        "arch/x86/mm/pkeys.c, __arch_override_mprotect_pkey",
        plain_mprotect_keeps_the_freed_key,
    ),
];

fn free(sys: &mut dyn System, key: u64) -> Verdict {
    let found = calls::pkey_free(sys, key.cast_signed());
    gives(format_args!("pkey_free({key})"), 0, found)
}

fn key_can_be_allocated_again(sys: &mut dyn System) -> Verdict {
    for _ in 0..100 {
        gives("pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))?;
        gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))?;
        free(sys, 1)?;
        gives("pkey_alloc with 1 freed", 1, calls::pkey_alloc(sys, 0, 0))?;
        free(sys, 2)?;
        free(sys, 1)?;
    }
    Ok(())
}

fn twice(sys: &mut dyn System) -> Verdict {
    let key = open_key(sys)?;
    free(sys, key)?;
    for _ in 0..2 {
        refused(
            "a further pkey_free",
            EINVAL,
            calls::pkey_free(sys, key.cast_signed()),
        )?;
    }
    Ok(())
}

fn never_allocated(sys: &mut dyn System) -> Verdict {
    let own = open_key(sys)?.cast_signed();
    for key in (1..=15).filter(|key| *key != own) {
        for _ in 0..2 {
            refused(
                format_args!("pkey_free({key})"),
                EINVAL,
                calls::pkey_free(sys, key),
            )?;
        }
    }
    gives(
        "pkey_free of the key that is",
        0,
        calls::pkey_free(sys, own),
    )
}

/// Numbers that are no keys.
pub(super) const NO_KEYS: [i64; 10] = [
    16,
    17,
    31,
    115,
    -2,
    -16,
    1 << 16,
    i32::MAX as i64,
    i32::MIN as i64,
    (i32::MIN + 1) as i64,
];

fn out_of_range(sys: &mut dyn System) -> Verdict {
    alloc::all(sys)?;
    for key in NO_KEYS.into_iter().chain([-1]) {
        refused(
            format_args!("pkey_free({key})"),
            EINVAL,
            calls::pkey_free(sys, key),
        )?;
    }
    Ok(())
}

fn only_32_bits_count(sys: &mut dyn System) -> Verdict {
    let key = open_key(sys)?.cast_signed();
    let wide = key | (0x55 << 32);
    gives(
        format_args!("pkey_free({wide:#x})"),
        0,
        calls::pkey_free(sys, wide),
    )?;
    refused(
        format_args!("pkey_free({key}) after it"),
        EINVAL,
        calls::pkey_free(sys, key),
    )
}

fn key_zero(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    free(sys, 0)?;
    refused("pkey_free(0) again", EINVAL, calls::pkey_free(sys, 0))?;
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, 0);
    refused("pkey_mprotect with key 0 freed", EINVAL, found)?;
    gives(
        "pkey_alloc with key 0 freed",
        0,
        calls::pkey_alloc(sys, 0, 0),
    )?;
    gives(
        "pkey_mprotect with key 0",
        0,
        calls::pkey_mprotect(sys, page, PAGE, RW, 0),
    )?;
    gives("the next pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))
}

fn key_zero_pages_go_on(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    free(sys, 0)?;
    reads("a read of an old page", BYTE, sys.read(page))?;
    let new = touched(sys, 1)?;
    is_tagged(sys, "a new page", new, RW, 0)?;
    gives("mprotect", 0, calls::mprotect(sys, page, PAGE, RW))?;
    is_tagged(sys, "an old page", page, RW, 0)
}

fn register_is_left_alone(sys: &mut dyn System) -> Verdict {
    for rights in 0..4 {
        let key = open_key(sys)?;
        set_rights(sys, key, rights);
        let before = sys.rdpkru();
        free(sys, key)?;
        pkru(
            sys,
            format_args!("after the key with rights {rights} was freed"),
            before,
        )?;
    }
    Ok(())
}

fn pages_keep_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    free(sys, key)?;
    is_tagged(sys, "after its key was freed", page, RW, key)?;
    allowed("a write with the freed key open", sys.write(page, BYTE))?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read with it closed",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn key_is_handed_out_with_its_pages(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    free(sys, key)?;
    let again = calls::pkey_alloc(sys, 0, DISABLE_ACCESS);
    gives("pkey_alloc", key.cast_signed(), again)?;
    let found = sys.read(page);
    faults(
        sys,
        "a read of the old page",
        pkuerr(page, key, err::READ_KEY),
        found,
    )?;
    set_rights(sys, key, 0);
    reads("a read with the key open", BYTE, sys.read(page))
}

fn other_threads_rights_survive(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let thread = sys.thread();
    tasks::tells(
        sys,
        "the thread reads",
        thread,
        (tasks::read, page),
        BYTE.into(),
    )?;
    free(sys, key)?;
    let again = calls::pkey_alloc(sys, 0, DISABLE_ACCESS);
    gives("pkey_alloc", key.cast_signed(), again)?;
    tag(sys, page, RW, key)?;
    tasks::tells(
        sys,
        "the thread still reads",
        thread,
        (tasks::read, page),
        BYTE.into(),
    )?;
    let found = sys.read(page);
    faults(
        sys,
        "this thread's read",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn execute_only_key(sys: &mut dyn System) -> Verdict {
    code(sys, 0, X)?;
    for _ in 0..2 {
        refused(
            "pkey_free of the execute-only key",
            EINVAL,
            calls::pkey_free(sys, 1),
        )?;
    }
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))
}

fn any_order(sys: &mut dyn System) -> Verdict {
    alloc::all(sys)?;
    // 7 is prime to 15: each key once.
    for step in 1..=15_u64 {
        free(sys, step * 7 % 15 + 1)?;
    }
    let again = alloc::all(sys)?;
    equal("the number of keys", 15, again.len())
}

fn plain_mprotect_keeps_the_freed_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    free(sys, key)?;
    gives("mprotect", 0, calls::mprotect(sys, page, PAGE, calls::R))?;
    is_tagged(sys, "after mprotect", page, calls::R, key)
}
