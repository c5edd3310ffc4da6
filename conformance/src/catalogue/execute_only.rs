//! Execute-only memory: `PROT_EXEC` alone, kept from being read by a key that the kernel takes for itself.

use libc::{EFAULT, EINVAL, ENOSPC};

use crate::calls::{
    self, DISABLE_ACCESS, DISABLE_WRITE, FIXED, NONE, PAGE, PRIVATE, R, RW, RWX, RX, SEM, X,
};
use crate::case::{Case, Mismatch, Need, Verdict};
use crate::catalogue::alloc;
use crate::check::{
    INIT_PKRU, allowed, equal, err, faults, gives, pkru, pkuerr, reads, refused, value,
};
use crate::fixture::{
    Keyed, RET, at, code, is_tagged, key_of, keyed, map, open_key, pipe, set_rights, tag,
    with_rights,
};
use crate::system::System;
use crate::tasks;

const KEY: &str = "arch/x86/mm/pkeys.c, __execute_only_pkey";
const OVERRIDE: &str = "arch/x86/mm/pkeys.c, __arch_override_mprotect_pkey";
const MMAP: &str = "mm/mmap.c, do_mmap (prot == PROT_EXEC)";
const IS_ALLOCATED: &str = "arch/x86/include/asm/pkeys.h, mm_pkey_is_allocated";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "execute_only.runs_and_cannot_be_read",
        "Memory that mprotect made PROT_EXEC can be called and not be read: SEGV_PKUERR with a key of its own.",
        "selftest protection_keys.c, test_implicit_mprotect_exec_only_memory",
        runs_and_cannot_be_read,
    ),
    Case::new(
        "execute_only.first_use_takes_the_lowest_key",
        "The first use allocates the lowest free key.",
        KEY,
        first_use_takes_the_lowest_key,
    ),
    Case::new(
        "execute_only.by_mmap",
        "mmap with PROT_EXEC alone makes execute-only memory as mprotect does.",
        MMAP,
        by_mmap,
    ),
    Case::new(
        "execute_only.by_minus_one",
        "pkey_mprotect with PROT_EXEC and key -1 does so too.",
        OVERRIDE,
        by_minus_one,
    ),
    Case::new(
        "execute_only.key_is_used_again",
        "All execute-only memory of a process has the same key.",
        KEY,
        key_is_used_again,
    ),
    Case::new(
        "execute_only.key_outlives_the_memory",
        "The key stays taken when the last execute-only mapping is gone, and serves the next one.",
        KEY,
        key_outlives_the_memory,
    ),
    Case::new(
        "execute_only.closes_the_callers_register",
        "The caller's PKRU gets exactly access-disable for the key; other keys' bits stay.",
        KEY,
        closes_the_callers_register,
    ),
    Case::new(
        "execute_only.closed_register_is_left_alone",
        "The first use writes the caller's PKRU; a later one leaves it alone where it denies reading the key already.",
        KEY,
        closed_register_is_left_alone,
    ),
    Case::new(
        "execute_only.closes_again_on_every_use",
        "A later use closes the key in the caller's PKRU again, if it was opened meanwhile.",
        KEY,
        closes_again_on_every_use,
    ),
    Case::new(
        "execute_only.key_is_hidden",
        "The key can be neither freed, nor given to pages, nor allocated: EINVAL, and 14 keys are left.",
        IS_ALLOCATED,
        key_is_hidden,
    ),
    Case::new(
        "execute_only.without_a_free_key",
        "With no key left, PROT_EXEC keeps the pages' key; the memory can be read, and calls succeed.",
        OVERRIDE,
        without_a_free_key,
    ),
    Case::new(
        "execute_only.mmap_without_a_free_key",
        "With no key left, mmap with PROT_EXEC alone gives key 0.",
        MMAP,
        mmap_without_a_free_key,
    ),
    Case::new(
        "execute_only.leaving",
        "Any other protection moves execute-only memory back to key 0 and makes it readable if it says so.",
        "selftest protection_keys.c, test_implicit_mprotect_exec_only_memory",
        leaving,
    ),
    Case::new(
        "execute_only.explicit_key_is_honoured",
        "pkey_mprotect with PROT_EXEC and a key gives that key; mprotect keeps it with other protections.",
        OVERRIDE,
        explicit_key_is_honoured,
    ),
    Case::new(
        "execute_only.takes_pages_from_another_key",
        "mprotect with PROT_EXEC moves pages of any key to the execute-only key; leaving gives them key 0, not the old.",
        OVERRIDE,
        takes_pages_from_another_key,
    ),
    Case::new(
        "execute_only.explicit_key_in_its_place",
        "pkey_mprotect gives execute-only memory another key, with PROT_EXEC alone as well.",
        OVERRIDE,
        explicit_key_in_its_place,
    ),
    Case::new(
        "execute_only.exactly_prot_exec",
        "PROT_EXEC with any other bit, PROT_SEM among them, is not execute-only.",
        OVERRIDE,
        exactly_prot_exec,
    ),
    Case::new(
        "execute_only.other_threads",
        "Other threads are kept out by the initial PKRU, and only by it: one that has the key open reads.",
        KEY,
        other_threads,
    ),
    Case::new(
        "execute_only.can_be_opened_by_hand",
        "WRPKRU opens execute-only memory for reading like any other.",
        "pkeys(7); SDM Vol. 3A, 4.6.2",
        can_be_opened_by_hand,
    ),
    Case::new(
        "execute_only.fork",
        "A child has its parent's execute-only key, hidden as in the parent.",
        "arch/x86/include/asm/mmu_context.h, arch_dup_pkeys",
        fork,
    ),
    Case::new(
        "execute_only.kernel_reads",
        "write(2) from execute-only memory fails with EFAULT.",
        "arch/x86/mm/fault.c, access_error (kernel mode)",
        kernel_reads,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "execute_only.last_free_key",
        "The last free key can become the execute-only one; pkey_alloc then fails with ENOSPC, and more memory can become \
         execute-only.",
        KEY,
        last_free_key,
    ),
];

fn runs_and_cannot_be_read(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    let key = key_of(sys, page)?;
    allowed("a call", sys.call(page))?;
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_KEY), found)?;
    let found = sys.write(page, 0);
    faults(sys, "a write", pkuerr(page, key, err::WRITE_KEY), found)?;
    allowed("a call again", sys.call(page))
}

fn first_use_takes_the_lowest_key(sys: &mut dyn System) -> Verdict {
    gives("pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))?;
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))?;
    gives("pkey_alloc", 3, calls::pkey_alloc(sys, 0, 0))?;
    gives("pkey_free(2)", 0, calls::pkey_free(sys, 2))?;
    let page = code(sys, 0, X)?;
    is_tagged(sys, "execute-only memory", page, X, 2)?;
    gives("pkey_alloc", 4, calls::pkey_alloc(sys, 0, 0))
}

/// A page of execute-only memory by mmap alone, never touched.
fn mapped(sys: &mut dyn System, page: u64) -> Result<u64, Mismatch> {
    map(sys, page, 1, X)
}

fn by_mmap(sys: &mut dyn System) -> Verdict {
    let page = mapped(sys, 0)?;
    is_tagged(sys, "after mmap", page, X, 1)?;
    pkru(sys, "after mmap", with_rights(INIT_PKRU, 1, DISABLE_ACCESS))?;
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, 1, err::READ_ABSENT), found)?;
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))?;
    refused("pkey_free(1)", EINVAL, calls::pkey_free(sys, 1))
}

fn by_minus_one(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, RX)?;
    let found = calls::pkey_mprotect(sys, page, PAGE, X, -1);
    gives("pkey_mprotect with PROT_EXEC and key -1", 0, found)?;
    is_tagged(sys, "after it", page, X, 1)?;
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, 1, err::READ_KEY), found)
}

fn key_is_used_again(sys: &mut dyn System) -> Verdict {
    for page in 0..4 {
        let page = if page % 2 == 0 {
            code(sys, page, X)?
        } else {
            mapped(sys, page)?
        };
        is_tagged(sys, "execute-only memory", page, X, 1)?;
    }
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))
}

fn key_outlives_the_memory(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    gives("munmap", 0, calls::munmap(sys, page, PAGE))?;
    refused("pkey_free(1)", EINVAL, calls::pkey_free(sys, 1))?;
    gives("pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))?;
    let page = code(sys, 0, X)?;
    is_tagged(sys, "new execute-only memory", page, X, 1)
}

fn closes_the_callers_register(sys: &mut dyn System) -> Verdict {
    // Open; and readable but not writable, whose bit has to go.
    for before in [0, DISABLE_WRITE] {
        let page = code(sys, 0, RX)?;
        let pattern = with_rights(0xA5A5_A5A0, 1, before);
        sys.wrpkru(pattern);
        gives(
            "mprotect with PROT_EXEC",
            0,
            calls::mprotect(sys, page, PAGE, X),
        )?;
        pkru(
            sys,
            format_args!("after it, with rights {before} before"),
            with_rights(pattern, 1, DISABLE_ACCESS),
        )?;
    }
    Ok(())
}

fn closed_register_is_left_alone(sys: &mut dyn System) -> Verdict {
    let both = DISABLE_ACCESS | DISABLE_WRITE;
    sys.wrpkru(with_rights(0, 1, both));
    code(sys, 0, X)?;
    pkru(
        sys,
        "after the first use, with both bits set before",
        with_rights(0, 1, DISABLE_ACCESS),
    )?;
    for before in [DISABLE_ACCESS, both] {
        let closed = with_rights(0, 1, before);
        sys.wrpkru(closed);
        code(sys, 1, X)?;
        pkru(
            sys,
            format_args!("after a later use, with rights {before} before"),
            closed,
        )?;
    }
    Ok(())
}

fn closes_again_on_every_use(sys: &mut dyn System) -> Verdict {
    code(sys, 0, X)?;
    sys.wrpkru(0);
    code(sys, 1, X)?;
    pkru(
        sys,
        "after the second use",
        with_rights(0, 1, DISABLE_ACCESS),
    )?;
    sys.wrpkru(0);
    mapped(sys, 2)?;
    pkru(sys, "after mmap", with_rights(0, 1, DISABLE_ACCESS))
}

fn key_is_hidden(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    refused("pkey_free(1)", EINVAL, calls::pkey_free(sys, 1))?;
    for prot in [RX, X, RW] {
        let found = calls::pkey_mprotect(sys, page, PAGE, prot, 1);
        refused("pkey_mprotect with the execute-only key", EINVAL, found)?;
    }
    for key in 2..=15 {
        gives("pkey_alloc", key, calls::pkey_alloc(sys, 0, 0))?;
    }
    refused(
        "pkey_alloc with none left",
        ENOSPC,
        calls::pkey_alloc(sys, 0, 0),
    )?;
    is_tagged(sys, "the memory", page, X, 1)
}

fn without_a_free_key(sys: &mut dyn System) -> Verdict {
    alloc::all(sys)?;
    let page = code(sys, 0, RX)?;
    set_rights(sys, 3, 0);
    tag(sys, page, RX, 3)?;
    gives(
        "mprotect with PROT_EXEC",
        0,
        calls::mprotect(sys, page, PAGE, X),
    )?;
    is_tagged(sys, "after it", page, X, 3)?;
    reads("a read", RET, sys.read(page))?;
    allowed("a call", sys.call(page))
}

fn mmap_without_a_free_key(sys: &mut dyn System) -> Verdict {
    alloc::all(sys)?;
    let before = sys.rdpkru();
    let page = mapped(sys, 0)?;
    is_tagged(sys, "after mmap", page, X, 0)?;
    pkru(sys, "after mmap", before)?;
    reads("a read", 0, sys.read(page))
}

fn leaving(sys: &mut dyn System) -> Verdict {
    for prot in [R, RX, RWX, RW, NONE] {
        let page = code(sys, 0, X)?;
        is_tagged(sys, "execute-only memory", page, X, 1)?;
        gives("mprotect", 0, calls::mprotect(sys, page, PAGE, prot))?;
        is_tagged(sys, "after mprotect", page, prot, 0)?;
        if prot != NONE {
            reads("a read", RET, sys.read(page))?;
        }
    }
    // The selftest's way: over PROT_NONE to something that can be read.
    let page = code(sys, 0, X)?;
    gives(
        "mprotect to PROT_NONE",
        0,
        calls::mprotect(sys, page, PAGE, NONE),
    )?;
    gives("mprotect to R|X", 0, calls::mprotect(sys, page, PAGE, RX))?;
    reads("a read", RET, sys.read(page))
}

fn explicit_key_is_honoured(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, RX)?;
    let key = open_key(sys)?;
    tag(sys, page, X, key)?;
    is_tagged(
        sys,
        "after pkey_mprotect with PROT_EXEC and a key",
        page,
        X,
        key,
    )?;
    reads("a read with the key open", RET, sys.read(page))?;
    gives("the next pkey_alloc", 2, calls::pkey_alloc(sys, 0, 0))?;
    gives("mprotect to R", 0, calls::mprotect(sys, page, PAGE, R))?;
    is_tagged(sys, "after mprotect", page, R, key)
}

fn takes_pages_from_another_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    gives(
        "mprotect with PROT_EXEC",
        0,
        calls::mprotect(sys, page, PAGE, X),
    )?;
    is_tagged(sys, "after it", page, X, key + 1)?;
    gives("mprotect to R|W", 0, calls::mprotect(sys, page, PAGE, RW))?;
    is_tagged(sys, "after leaving", page, RW, 0)
}

fn explicit_key_in_its_place(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    let key = open_key(sys)?;
    tag(sys, page, X, key)?;
    is_tagged(sys, "execute-only memory that got a key", page, X, key)?;
    reads("a read with that key open", RET, sys.read(page))?;
    gives("mprotect to R", 0, calls::mprotect(sys, page, PAGE, R))?;
    is_tagged(sys, "after mprotect", page, R, key)
}

fn exactly_prot_exec(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, RX)?;
    for prot in [X | SEM, RX, RWX] {
        gives("mprotect", 0, calls::mprotect(sys, page, PAGE, prot))?;
        equal("its key", 0, key_of(sys, page)?)?;
    }
    gives("pkey_alloc", 1, calls::pkey_alloc(sys, 0, 0))
}

fn other_threads(sys: &mut dyn System) -> Verdict {
    let [closed, open] = [sys.thread(), sys.thread()];
    tasks::ask(sys, open, tasks::wrpkru, 0)?;
    let page = code(sys, 0, X)?;
    let key = key_of(sys, page)?;
    let denied = tasks::fault(4, key);
    tasks::tells(
        sys,
        "a thread with the initial PKRU reads",
        closed,
        (tasks::read, page),
        denied,
    )?;
    tasks::tells(sys, "it calls", closed, (tasks::call, page), 0)?;
    tasks::tells(
        sys,
        "a thread with all keys open reads",
        open,
        (tasks::read, page),
        RET.into(),
    )?;
    tasks::tells(sys, "its PKRU", open, (tasks::rdpkru, 0), 0)
}

fn can_be_opened_by_hand(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    sys.wrpkru(0);
    reads("a read with all keys open", RET, sys.read(page))
}

fn fork(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    let child = sys.fork();
    tasks::tells(
        sys,
        "the child reads",
        child,
        (tasks::read, page),
        tasks::fault(4, 1),
    )?;
    tasks::tells(sys, "the child calls", child, (tasks::call, page), 0)?;
    let einval = i64::from(-EINVAL).cast_unsigned();
    tasks::tells(
        sys,
        "the child frees the key",
        child,
        (tasks::free, 1),
        einval,
    )?;
    tasks::tells(
        sys,
        "keys that the child can allocate",
        child,
        (tasks::free_keys, 0),
        14,
    )
}

fn kernel_reads(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, X)?;
    let [_, into] = pipe(sys)?;
    refused("write(2) from it", EFAULT, calls::write(sys, into, page, 1))?;
    sys.wrpkru(0);
    gives(
        "write(2) with all keys open",
        1,
        calls::write(sys, into, page, 1),
    )
}

fn last_free_key(sys: &mut dyn System) -> Verdict {
    for key in 1..=14 {
        gives("pkey_alloc", key, calls::pkey_alloc(sys, 0, DISABLE_ACCESS))?;
    }
    let page = code(sys, 0, X)?;
    is_tagged(sys, "execute-only memory", page, X, 15)?;
    refused("pkey_alloc", ENOSPC, calls::pkey_alloc(sys, 0, 0))?;
    let addr = at(sys, 1);
    let flags = PRIVATE | calls::ANONYMOUS | FIXED;
    let found = calls::mmap(sys, addr, PAGE, X, flags, -1);
    value("mmap with PROT_EXEC", found)?;
    is_tagged(sys, "more execute-only memory", addr, X, 15)
}
