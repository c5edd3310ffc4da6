//! `mseal(2)`: a sealed mapping keeps its key.

use libc::EPERM;

use crate::calls::{
    self, DISABLE_ACCESS, DISABLE_WRITE, MADV_DONTNEED, MAYMOVE, MREMAP_FIXED, PAGE, R, RW,
};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::check::{err, faults, gives, pkuerr, reads, refused};
use crate::fixture::{BYTE, Keyed, at, is_tagged, keyed, open_key, set_rights};
use crate::system::System;

const SEAL: &str = "mseal(2); Documentation/userspace-api/mseal.rst";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "seal.key_cannot_be_changed",
        "pkey_mprotect and mprotect of sealed memory fail with EPERM, and protection and key stay.",
        SEAL,
        key_cannot_be_changed,
    )
    .since(6, 10)
    .needs(&[Need::Mseal]),
    Case::new(
        "seal.mapping_cannot_go",
        "munmap, mremap and a mapping in its place fail with EPERM.",
        SEAL,
        mapping_cannot_go,
    )
    .since(6, 10)
    .needs(&[Need::Mseal]),
    Case::new(
        "seal.register_is_not_sealed",
        "PKRU goes on to govern sealed memory.",
        SEAL,
        register_is_not_sealed,
    )
    .since(6, 10)
    .needs(&[Need::Mseal]),
    Case::new(
        "seal.contents_are_kept_by_the_key",
        "MADV_DONTNEED of sealed memory fails with EPERM where the caller's key denies writes, and succeeds where not.",
        "mm/mseal.c, is_ro_anon (arch_vma_access_permitted)",
        contents_are_kept_by_the_key,
    )
    .since(6, 10)
    .needs(&[Need::Mseal]),
];

fn sealed(sys: &mut dyn System) -> Result<Keyed, Mismatch> {
    let fixture = keyed(sys)?;
    gives("mseal", 0, calls::mseal(sys, fixture.page, PAGE, 0))?;
    Ok(fixture)
}

fn key_cannot_be_changed(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = sealed(sys)?;
    let other = open_key(sys)?;
    for (prot, wanted) in [(R, key), (RW, other), (RW, 0)] {
        let found = calls::pkey_mprotect(sys, page, PAGE, prot, wanted.cast_signed());
        refused("pkey_mprotect", EPERM, found)?;
    }
    refused("mprotect", EPERM, calls::mprotect(sys, page, PAGE, R))?;
    is_tagged(sys, "the page", page, RW, key)
}

fn mapping_cannot_go(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = sealed(sys)?;
    refused("munmap", EPERM, calls::munmap(sys, page, PAGE))?;
    let to = at(sys, 8);
    let found = calls::mremap(sys, page, PAGE, PAGE, MAYMOVE | MREMAP_FIXED, to);
    refused("mremap", EPERM, found)?;
    let flags = calls::PRIVATE | calls::ANONYMOUS | calls::FIXED;
    refused(
        "mmap over it",
        EPERM,
        calls::mmap(sys, page, PAGE, RW, flags, -1),
    )?;
    is_tagged(sys, "the page", page, RW, key)?;
    reads("what it contains", BYTE, sys.read(page))
}

fn register_is_not_sealed(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = sealed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read with the key closed",
        pkuerr(page, key, err::READ_KEY),
        found,
    )?;
    set_rights(sys, key, 0);
    reads("a read with the key open", BYTE, sys.read(page))
}

fn contents_are_kept_by_the_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = sealed(sys)?;
    let dontneed = |sys: &mut dyn System| calls::madvise(sys, page, PAGE, MADV_DONTNEED);
    for rights in [DISABLE_WRITE, DISABLE_ACCESS] {
        set_rights(sys, key, rights);
        refused(
            format_args!("MADV_DONTNEED with rights {rights}"),
            EPERM,
            dontneed(sys),
        )?;
    }
    set_rights(sys, key, 0);
    reads("what it contains", BYTE, sys.read(page))?;
    gives("MADV_DONTNEED with the key open", 0, dontneed(sys))?;
    reads("what it contains after it", 0, sys.read(page))
}
