//! Keys on mappings of every kind: private and shared, anonymous and of a file, small pages and huge ones.
//!
//! One walk for all of them: every protection, both rights, reads and writes; after the model of the Linux Test
//! Project's `pkey01`, with the whole signal compared.

use crate::calls::{
    self, ANONYMOUS, DISABLE_ACCESS, DISABLE_WRITE, FIXED, HUGE, HUGETLB, PAGE, PRIVATE, R, RW,
    RWX, RX, SHARED,
};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::check::{allowed, err, faults, gives, pkuerr, reads, value};
use crate::fixture::{BYTE, at, open_key, set_rights};
use crate::system::System;
use crate::tasks;

const LTP: &str = "Linux Test Project, pkeys/pkey01.c";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "map_kinds.private_anonymous",
        "Keys govern private anonymous memory, with every protection.",
        LTP,
        |sys| walk(sys, PAGE, PRIVATE | ANONYMOUS, None),
    ),
    Case::new(
        "map_kinds.shared_anonymous",
        "Keys govern shared anonymous memory, with every protection.",
        LTP,
        |sys| walk(sys, PAGE, SHARED | ANONYMOUS, None),
    ),
    Case::new(
        "map_kinds.shared_file",
        "Keys govern a shared mapping of a file in memory, with every protection.",
        LTP,
        |sys| walk(sys, PAGE, SHARED, Some(0)),
    )
    .needs(&[Need::Memfd]),
    Case::new(
        "map_kinds.private_file",
        "Keys govern a private mapping of a file in memory, with every protection.",
        LTP,
        |sys| walk(sys, PAGE, PRIVATE, Some(0)),
    )
    .needs(&[Need::Memfd]),
    Case::new(
        "map_kinds.private_hugetlb",
        "Keys govern private huge pages, with every protection.",
        LTP,
        |sys| walk(sys, HUGE, PRIVATE | ANONYMOUS | HUGETLB, None),
    )
    .needs(&[Need::Hugetlb]),
    Case::new(
        "map_kinds.shared_hugetlb",
        "Keys govern shared huge pages, with every protection.",
        LTP,
        |sys| walk(sys, HUGE, SHARED | ANONYMOUS | HUGETLB, None),
    )
    .needs(&[Need::Hugetlb]),
    Case::new(
        "map_kinds.shared_between_processes",
        "A key is the mapping's: a child gives shared memory another one, and the parent's stays.",
        "pkeys(7); mm/mprotect.c, mprotect_fixup",
        shared_between_processes,
    ),
    Case::new(
        "map_kinds.two_mappings_of_one_file",
        "Two mappings of one file have keys of their own: data closed in one is open in the other.",
        "pkeys(7)",
        two_mappings_of_one_file,
    )
    .needs(&[Need::Memfd]),
];

/// Maps memory of a kind, gives it a key, and tries it with every protection and every rights.
fn walk(sys: &mut dyn System, len: u64, flags: u64, file: Option<u64>) -> Verdict {
    let start = at(sys, 0);
    let fd = match file {
        None => -1,
        Some(_) => file_of(sys, len)?,
    };
    let mapped = calls::mmap(sys, start, len, RW, flags | FIXED, fd);
    value("mmap", mapped)?;
    allowed("a write", sys.write(start, BYTE))?;
    let key = open_key(sys)?;
    for prot in [R, RW, RX, RWX] {
        set_rights(sys, key, 0);
        let found = calls::pkey_mprotect(sys, start, len, prot, key.cast_signed());
        gives(
            format_args!("pkey_mprotect with protection {prot}"),
            0,
            found,
        )?;
        if prot & calls::W != 0 {
            // A private page of a file is copied by the first write; from then on it is present.
            allowed("a write with the key open", sys.write(start, BYTE))?;
        }
        reads("a read with the key open", BYTE, sys.read(start))?;
        for rights in [
            DISABLE_ACCESS,
            DISABLE_WRITE,
            DISABLE_ACCESS | DISABLE_WRITE,
        ] {
            set_rights(sys, key, rights);
            let what = format!("protection {prot}, rights {rights}");
            let last = start + len - 1;
            for addr in [start, last] {
                let is_present = addr / PAGE == start / PAGE || len == HUGE;
                let code = |present, absent| if is_present { present } else { absent };
                let found = sys.write(addr, 1);
                let fault = pkuerr(addr, key, code(err::WRITE_KEY, err::WRITE_ABSENT));
                faults(sys, format_args!("a write, {what}"), fault, found)?;
                let found = sys.read(addr);
                if rights & DISABLE_ACCESS == 0 {
                    reads(
                        format_args!("a read, {what}"),
                        if addr == start { BYTE } else { 0 },
                        found,
                    )?;
                } else {
                    let fault = pkuerr(addr, key, code(err::READ_KEY, err::READ_ABSENT));
                    faults(sys, format_args!("a read, {what}"), fault, found)?;
                }
            }
        }
    }
    Ok(())
}

fn file_of(sys: &mut dyn System, len: u64) -> Result<i64, Mismatch> {
    let fd = value("memfd_create", calls::memfd(sys))?;
    gives("ftruncate", 0, calls::ftruncate(sys, fd, len))?;
    Ok(fd.cast_signed())
}

/// Gives page 0 of the arena key 2, which the child allocates.
fn retag(sys: &mut dyn System, page: u64) -> u64 {
    let key = calls::pkey_alloc(sys, 0, DISABLE_ACCESS);
    calls::pkey_mprotect(sys, page, PAGE, RW, key).cast_unsigned()
}

fn shared_between_processes(sys: &mut dyn System) -> Verdict {
    let page = at(sys, 0);
    value(
        "mmap",
        calls::mmap(sys, page, PAGE, RW, SHARED | ANONYMOUS | FIXED, -1),
    )?;
    allowed("a write", sys.write(page, BYTE))?;
    let key = open_key(sys)?;
    gives(
        "pkey_mprotect",
        0,
        calls::pkey_mprotect(sys, page, PAGE, RW, key.cast_signed()),
    )?;
    let child = sys.fork();
    tasks::tells(
        sys,
        "the child gives it another key",
        child,
        (retag, page),
        0,
    )?;
    tasks::tells(
        sys,
        "the child reads",
        child,
        (tasks::read, page),
        tasks::fault(4, key + 1),
    )?;
    reads("a read", BYTE, sys.read(page))?;
    gives(
        "its key",
        key.cast_signed(),
        crate::fixture::key_of(sys, page)?.cast_signed(),
    )
}

fn two_mappings_of_one_file(sys: &mut dyn System) -> Verdict {
    let fd = file_of(sys, PAGE)?;
    let [first, second] = [at(sys, 0), at(sys, 2)];
    for addr in [first, second] {
        value("mmap", calls::mmap(sys, addr, PAGE, RW, SHARED | FIXED, fd))?;
    }
    allowed("a write", sys.write(first, BYTE))?;
    reads("a read of the other", BYTE, sys.read(second))?;
    let key = open_key(sys)?;
    gives(
        "pkey_mprotect",
        0,
        calls::pkey_mprotect(sys, first, PAGE, RW, key.cast_signed()),
    )?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(first);
    faults(
        sys,
        "a read of the closed one",
        pkuerr(first, key, err::READ_KEY),
        found,
    )?;
    allowed("a write to the open one", sys.write(second, 7))?;
    set_rights(sys, key, 0);
    reads("a read of the first", 7, sys.read(first))
}
