//! The order in which `pkey_mprotect(2)` looks at its arguments, and what it says of each.
//!
//! With two arguments wrong, the error tells which was looked at first. Checks that answer alike cannot be told apart:
//! both growth flags and an address that is not aligned are EINVAL, a bad protection and a bad key as well.
//!
//! | step | answer |
//! |---|---|
//! | both `PROT_GROWSDOWN` and `PROT_GROWSUP` | EINVAL |
//! | address not a multiple of a page | EINVAL |
//! | length 0 | 0 |
//! | the rounded length is 0, or the end not behind the start | ENOMEM |
//! | unknown protection bits | EINVAL |
//! | the key is not allocated | EINVAL |
//! | nothing mapped at the start | ENOMEM |
//! | each mapping in turn: what it may never have | EACCES |

use libc::{EACCES, EINVAL, ENOMEM};

use crate::calls::{self, FIXED, GROWSDOWN, GROWSUP, PAGE, R, RW, SEM, SHARED};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::catalogue::free::NO_KEYS;
use crate::catalogue::mprotect::read_only;
use crate::check::{gives, refused, value};
use crate::fixture::{Keyed, at, is_tagged, keyed_absent, map, open_key};
use crate::system::System;

const CALL: &str = "mm/mprotect.c, do_mprotect_pkey";

/// A key that nobody allocated.
const BAD_KEY: i64 = 9;
/// A protection bit that nobody knows.
const BAD_PROT: u64 = 0x10;
/// A length that leads around the end of the address space.
const WRAPS: u64 = u64::MAX - 2 * PAGE;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "order.growth_before_length",
        "Both growth flags are refused with EINVAL although the length is 0.",
        CALL,
        |sys| answers(sys, (0, 0, R | GROWSDOWN | GROWSUP, 0), -EINVAL),
    ),
    Case::new(
        "order.alignment_before_length",
        "An address inside a page is refused with EINVAL although the length is 0.",
        CALL,
        |sys| answers(sys, (1, 0, R, 0), -EINVAL),
    ),
    Case::new(
        "order.alignment_before_wrap",
        "An address inside a page is refused with EINVAL although the length wraps.",
        CALL,
        |sys| answers(sys, (1, WRAPS, R, 0), -EINVAL),
    ),
    Case::new(
        "order.length_before_protection",
        "With length 0 a bad protection is not looked at: success.",
        CALL,
        |sys| answers(sys, (0, 0, BAD_PROT, 0), 0),
    ),
    Case::new(
        "order.length_before_key",
        "With length 0 a bad key is not looked at: success.",
        CALL,
        length_before_key,
    ),
    Case::new(
        "order.length_before_mapping",
        "With length 0 nothing has to be mapped: success.",
        CALL,
        |sys| answers(sys, (100 * PAGE, 0, R, 0), 0),
    ),
    Case::new(
        "order.wrap_before_protection",
        "A length that wraps is refused with ENOMEM although the protection is bad.",
        CALL,
        |sys| answers(sys, (0, WRAPS, BAD_PROT, 0), -ENOMEM),
    ),
    Case::new(
        "order.wrap_before_key",
        "A length that wraps is refused with ENOMEM although the key is bad.",
        CALL,
        |sys| answers(sys, (0, WRAPS, R, BAD_KEY), -ENOMEM),
    ),
    Case::new(
        "order.protection_before_mapping",
        "A bad protection is refused with EINVAL although nothing is mapped.",
        CALL,
        |sys| answers(sys, (100 * PAGE, PAGE, BAD_PROT, 0), -EINVAL),
    ),
    Case::new(
        "order.key_before_mapping",
        "A bad key is refused with EINVAL although nothing is mapped.",
        CALL,
        |sys| answers(sys, (100 * PAGE, PAGE, R, BAD_KEY), -EINVAL),
    ),
    Case::new(
        "order.key_before_hole",
        "A bad key is refused with EINVAL before anything in front of a hole is changed.",
        CALL,
        |sys| {
            answers(sys, (0, 3 * PAGE, R, BAD_KEY), -EINVAL)?;
            let page = at(sys, 0);
            is_tagged(sys, "the page in front of the hole", page, RW, 1)
        },
    ),
    Case::new(
        "order.key_before_what_a_file_allows",
        "A bad key is refused with EINVAL although the mapping's file would refuse with EACCES.",
        CALL,
        key_before_what_a_file_allows,
    )
    .needs(&[Need::Memfd]),
    Case::new(
        "order.mappings_in_turn",
        "What a mapping may never have is found when its turn comes: those before it are changed, and a hole behind it \
         is never met.",
        CALL,
        mappings_in_turn,
    )
    .needs(&[Need::Memfd]),
    Case::new(
        "order.growth_direction_of_the_mapping",
        "PROT_GROWSDOWN or PROT_GROWSUP on a mapping that does not grow that way is refused with EINVAL.",
        CALL,
        |sys| {
            answers(sys, (0, PAGE, R | GROWSDOWN, 1), -EINVAL)?;
            answers(sys, (0, PAGE, R | GROWSUP, 1), -EINVAL)
        },
    ),
    Case::new(
        "order.unaligned_address",
        "Every address that is not a multiple of a page is refused with EINVAL.",
        CALL,
        |sys| {
            [1, 8, 2048, PAGE - 1, PAGE + 1]
                .into_iter()
                .try_for_each(|offset| answers(sys, (offset, PAGE, R, 1), -EINVAL))
        },
    ),
    Case::new(
        "order.wrapping_lengths",
        "Lengths whose rounding or whose end wraps are refused with ENOMEM.",
        CALL,
        |sys| {
            [u64::MAX, u64::MAX - PAGE + 2, u64::MAX - PAGE, WRAPS]
                .into_iter()
                .try_for_each(|len| answers(sys, (0, len, R, 1), -ENOMEM))
        },
    ),
    Case::new(
        "order.unknown_protections",
        "Unknown protection bits are refused with EINVAL, in all 64 bits, by both calls.",
        "mm/mprotect.c, do_mprotect_pkey; include/linux/mman.h, arch_validate_prot",
        unknown_protections,
    ),
    Case::new(
        "order.prot_sem",
        "PROT_SEM is accepted and changes nothing.",
        "include/linux/mman.h, arch_validate_prot",
        prot_sem,
    ),
    Case::new(
        "order.numbers_that_are_no_keys",
        "Numbers that are no keys are refused with EINVAL; -1 alone is not one of them.",
        "selftest protection_keys.c, test_pkey_syscalls_bad_args",
        |sys| {
            NO_KEYS
                .into_iter()
                .try_for_each(|key| answers(sys, (0, PAGE, R, key), -EINVAL))
        },
    ),
    Case::new(
        "order.nothing_mapped",
        "Where nothing is mapped, both calls fail with ENOMEM.",
        CALL,
        |sys| {
            answers(sys, (100 * PAGE, PAGE, R, 1), -ENOMEM)?;
            let nothing = at(sys, 100);
            refused("mprotect of nothing", ENOMEM, calls::mprotect(sys, nothing, PAGE, R))
        },
    ),
];

/// With one page of key 1 mapped at the start of the arena: the call with these arguments (offset in the arena, length,
/// protection, key) answers so. An answer is what the page was left as, too.
fn answers(
    sys: &mut dyn System,
    (offset, len, prot, key): (u64, u64, u64, i64),
    expected: i32,
) -> Verdict {
    if sys.smaps(at(sys, 0)).is_none() {
        keyed_absent(sys)?;
    }
    let start = at(sys, 0);
    let found = calls::pkey_mprotect(sys, start + offset, len, prot, key);
    gives(
        format_args!(
            "pkey_mprotect({:#x}, {len:#x}, {prot:#x}, {key})",
            start + offset
        ),
        expected.into(),
        found,
    )?;
    is_tagged(sys, "after it", start, RW, 1)
}

fn length_before_key(sys: &mut dyn System) -> Verdict {
    for key in NO_KEYS.into_iter().chain([BAD_KEY]) {
        answers(sys, (0, 0, R, key), 0)?;
    }
    Ok(())
}

/// A shared mapping of a file that was opened for reading, at this page of the arena; its address.
fn of_a_file(sys: &mut dyn System, page: u64) -> Result<u64, Mismatch> {
    let fd = value("memfd_create", calls::memfd(sys))?;
    gives("ftruncate", 0, calls::ftruncate(sys, fd, PAGE))?;
    let reader = read_only(sys, fd)?;
    let addr = at(sys, page);
    let found = calls::mmap(sys, addr, PAGE, R, SHARED | FIXED, reader.cast_signed());
    value("mmap of the file", found)
}

fn key_before_what_a_file_allows(sys: &mut dyn System) -> Verdict {
    let page = of_a_file(sys, 0)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, BAD_KEY);
    refused("pkey_mprotect with PROT_WRITE and a bad key", EINVAL, found)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, 0);
    refused(
        "pkey_mprotect with PROT_WRITE and a good key",
        EACCES,
        found,
    )
}

fn mappings_in_turn(sys: &mut dyn System) -> Verdict {
    let first = map(sys, 0, 1, R)?;
    let second = of_a_file(sys, 1)?;
    let key = open_key(sys)?;
    let found = calls::pkey_mprotect(sys, first, 3 * PAGE, RW, key.cast_signed());
    refused(
        "pkey_mprotect of a page, the file and a hole",
        EACCES,
        found,
    )?;
    is_tagged(sys, "the page before the file", first, RW, key)?;
    is_tagged(sys, "the file", second, R, 0)
}

fn unknown_protections(sys: &mut dyn System) -> Verdict {
    for prot in [
        0x10,
        0x20,
        0x8000,
        1 << 31,
        1 << 32,
        1 << 63,
        !(GROWSDOWN | GROWSUP),
    ] {
        answers(sys, (0, PAGE, prot, 1), -EINVAL)?;
        answers(sys, (0, PAGE, prot | R, -1), -EINVAL)?;
        let page = at(sys, 0);
        let found = calls::mprotect(sys, page, PAGE, prot);
        refused(
            format_args!("mprotect with protection {prot:#x}"),
            EINVAL,
            found,
        )?;
    }
    Ok(())
}

fn prot_sem(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, R | SEM, key.cast_signed());
    gives("pkey_mprotect with PROT_SEM", 0, found)?;
    is_tagged(sys, "after it", page, R, key)
}
