//! The kernel's accesses to a program's memory on its behalf: checked against the caller's PKRU, and failing with EFAULT
//! where the program itself would get a signal.

use libc::{EAGAIN, EFAULT, EINVAL};

use crate::bytes;
use crate::calls::{
    self, DISABLE_ACCESS, DISABLE_WRITE, MADV_DONTNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    PAGE, RW,
};
use crate::case::{Case, Need, Verdict};
use crate::check::{INIT_PKRU, allowed, equal, gives, pkru, reads, refused};
use crate::fixture::{
    BYTE, Keyed, at, is_tagged, keyed, keyed_absent, pipe, put_words, set_rights, touched,
};
use crate::system::{Act, Bare, System};

const USER: &str = "arch/x86/mm/fault.c, do_user_addr_fault (kernel mode), fixup_exception";
const GUP: &str = "mm/gup.c, check_vma_flags; arch_vma_access_permitted (foreign = false)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "kernel_access.read_into_access_disabled",
        "read(2) into memory of a key without access fails with EFAULT, and takes nothing out of the pipe.",
        "selftest protection_keys.c, test_kernel_write_of_access_disabled_region",
        |sys| read_into(sys, DISABLE_ACCESS),
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.read_into_write_disabled",
        "read(2) into memory of a key without write access fails with EFAULT, and takes nothing out of the pipe.",
        "selftest protection_keys.c, test_kernel_write_of_write_disabled_region",
        |sys| read_into(sys, DISABLE_WRITE),
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.write_from_access_disabled",
        "write(2) from memory of a key without access fails with EFAULT.",
        USER,
        write_from_access_disabled,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.write_from_write_disabled",
        "write(2) from memory of a key that denies writes only succeeds.",
        USER,
        write_from_write_disabled,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.absent_pages",
        "Pages that are not present are denied alike, and stay absent.",
        USER,
        absent_pages,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.no_signal",
        "A system call that fails for a key raises no signal and leaves PKRU.",
        USER,
        no_signal,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.key_zero_closed",
        "A key 0 that is closed is denied as well; system calls that touch no memory work.",
        USER,
        key_zero_closed,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.structures",
        "A structure that a call reads or writes is checked like a buffer: pipe2 and rt_sigprocmask fail with EFAULT.",
        USER,
        structures,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.vmsplice",
        "vmsplice from memory of a key without access fails with EFAULT; where only writes are denied it succeeds.",
        "selftest protection_keys.c, test_kernel_gup_of_access_disabled_region",
        vmsplice,
    )
    .needs(&[Need::Pipe]),
    Case::new(
        "kernel_access.futex_wait",
        "FUTEX_WAIT on a word of a key without access fails with EFAULT; where only writes are denied the word is read.",
        "kernel/futex/waitwake.c, futex_wait_setup",
        futex_wait,
    ),
    Case::new(
        "kernel_access.futex_write",
        "FUTEX_WAKE_OP, which changes a word, fails with EFAULT where the key denies writes.",
        "selftest protection_keys.c, test_kernel_gup_write_to_write_disabled_region; mm/gup.c, fixup_user_fault",
        futex_write,
    ),
    Case::new(
        "kernel_access.futex_wake",
        "FUTEX_WAKE of a private futex touches no memory: it succeeds under a closed key.",
        "kernel/futex/core.c, get_futex_key",
        futex_wake,
    ),
    Case::new(
        "kernel_access.populate_read",
        "MADV_POPULATE_READ of memory of a key without access fails with EINVAL, and succeeds where only writes are \
         denied.",
        GUP,
        populate_read,
    )
    .since(5, 14),
    Case::new(
        "kernel_access.populate_write",
        "MADV_POPULATE_WRITE of memory of a key without write access fails with EINVAL.",
        GUP,
        populate_write,
    )
    .since(5, 14),
    Case::new(
        "kernel_access.dontneed",
        "MADV_DONTNEED throws away the contents of memory under a closed key.",
        "madvise(2); mm/madvise.c, madvise_dontneed_free",
        dontneed,
    ),
    Case::new(
        "kernel_access.unmap_and_protect",
        "munmap, mprotect and pkey_mprotect of memory under a closed key succeed.",
        "pkeys(7)",
        unmap_and_protect,
    ),
];

fn read_into(sys: &mut dyn System, rights: u64) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let [out, into] = pipe(sys)?;
    let source = touched(sys, 1)?;
    gives("write(2)", 1, calls::write(sys, into, source, 1))?;
    allowed("a write to the page", sys.write(page, 0))?;
    set_rights(sys, key, rights);
    refused(
        "read(2) into the page",
        EFAULT,
        calls::read(sys, out, page, 1),
    )?;
    set_rights(sys, key, 0);
    reads("the page after it", 0, sys.read(page))?;
    gives(
        "read(2) with the key open",
        1,
        calls::read(sys, out, page, 1),
    )?;
    reads("the byte", BYTE, sys.read(page))
}

fn write_from_access_disabled(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let [out, into] = pipe(sys)?;
    for rights in [DISABLE_ACCESS, DISABLE_ACCESS | DISABLE_WRITE] {
        set_rights(sys, key, rights);
        refused(
            "write(2) from the page",
            EFAULT,
            calls::write(sys, into, page, 1),
        )?;
    }
    set_rights(sys, key, 0);
    refused(
        "read(2) of the empty pipe",
        EAGAIN,
        calls::read(sys, out, page, 1),
    )
}

fn write_from_write_disabled(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let [_, into] = pipe(sys)?;
    set_rights(sys, key, DISABLE_WRITE);
    gives(
        "write(2) from the page",
        100,
        calls::write(sys, into, page, 100),
    )
}

fn absent_pages(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    let [out, into] = pipe(sys)?;
    let source = touched(sys, 1)?;
    gives("write(2)", 1, calls::write(sys, into, source, 1))?;
    set_rights(sys, key, DISABLE_ACCESS);
    refused(
        "write(2) from the page",
        EFAULT,
        calls::write(sys, into, page, 1),
    )?;
    refused(
        "read(2) into the page",
        EFAULT,
        calls::read(sys, out, page, 1),
    )?;
    let found = sys.read(page);
    let fault = crate::check::pkuerr(page, key, crate::check::err::READ_ABSENT);
    crate::check::faults(sys, "a read", fault, found)
}

fn no_signal(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let [_, into] = pipe(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let before = sys.rdpkru();
    let mut signals = 0;
    let mut answer = 0;
    sys.with_handler(
        &mut |_, frame| {
            signals += 1;
            frame.skip();
        },
        &mut |sys| {
            answer = calls::write(sys, into, page, 1);
        },
    );
    refused("write(2)", EFAULT, answer)?;
    equal("signals", 0, signals)?;
    pkru(sys, "after it", before)
}

fn key_zero_closed(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    let [out, into] = pipe(sys)?;
    let syscall = |sys: &mut dyn System, pkru, nr, args| {
        let act = Act::Syscall(nr, args);
        sys.bare(Bare {
            pkru,
            stack: None,
            act,
        })
        .result
    };
    let closed = INIT_PKRU | 1;
    let write = [into, page, 1, 0, 0, 0];
    let efault = Ok(-i64::from(EFAULT));
    equal(
        "write(2) with key 0 closed",
        efault,
        syscall(sys, closed, 1, write),
    )?;
    equal(
        "write(2) with key 0 read-only",
        Ok(1),
        syscall(sys, INIT_PKRU | 2, 1, write),
    )?;
    let read = [out, page, 1, 0, 0, 0];
    equal(
        "read(2) with key 0 read-only",
        efault,
        syscall(sys, INIT_PKRU | 2, 0, read),
    )?;
    // getpid(2).
    let pid = syscall(sys, INIT_PKRU, 39, [0; 6]);
    equal(
        "getpid(2) with key 0 closed",
        pid,
        syscall(sys, closed, 39, [0; 6]),
    )
}

fn structures(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let pipe = |sys: &mut dyn System| sys.syscall(293, [page, 0, 0, 0, 0, 0]);
    // rt_sigprocmask(2): SIG_BLOCK of the set there, the old one not wanted.
    let mask = |sys: &mut dyn System| sys.syscall(14, [0, page, 0, 8, 0, 0]);
    allowed("a write to the page", bytes::put_u64(sys, page, 0))?;
    set_rights(sys, key, DISABLE_WRITE);
    refused("pipe2 with writes denied", EFAULT, pipe(sys))?;
    gives("rt_sigprocmask with writes denied", 0, mask(sys))?;
    set_rights(sys, key, DISABLE_ACCESS);
    refused("pipe2 with access denied", EFAULT, pipe(sys))?;
    refused("rt_sigprocmask with access denied", EFAULT, mask(sys))?;
    set_rights(sys, key, 0);
    gives("pipe2 with the key open", 0, pipe(sys))
}

fn vmsplice(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let [_, into] = pipe(sys)?;
    let iovec = put_words(sys, 64, &[page, PAGE])?;
    set_rights(sys, key, DISABLE_ACCESS);
    refused("vmsplice", EFAULT, calls::vmsplice(sys, into, iovec))?;
    set_rights(sys, key, DISABLE_WRITE);
    gives(
        "vmsplice with writes denied",
        4096,
        calls::vmsplice(sys, into, iovec),
    )
}

/// `FUTEX_PRIVATE_FLAG`.
const PRIVATE_FLAG: u64 = 128;
/// `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAKE_OP` of a private futex.
const WAIT: u64 = PRIVATE_FLAG;
const WAKE: u64 = 1 | PRIVATE_FLAG;
const WAKE_OP: u64 = 5 | PRIVATE_FLAG;

fn futex_wait(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    // A value that the word has not: the call returns at once.
    let wait = |sys: &mut dyn System| calls::futex(sys, page, WAIT, [1, 0, 0, 0]);
    refused("FUTEX_WAIT with the key open", EAGAIN, wait(sys))?;
    set_rights(sys, key, DISABLE_WRITE);
    refused("FUTEX_WAIT with writes denied", EAGAIN, wait(sys))?;
    set_rights(sys, key, DISABLE_ACCESS);
    refused("FUTEX_WAIT with access denied", EFAULT, wait(sys))
}

fn futex_write(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let plain = touched(sys, 1)?;
    // FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0): sets the second word.
    let wake = |sys: &mut dyn System| calls::futex(sys, plain, WAKE_OP, [1, 1, page, 7 << 12]);
    for rights in [DISABLE_WRITE, DISABLE_ACCESS] {
        set_rights(sys, key, rights);
        refused(
            format_args!("FUTEX_WAKE_OP with rights {rights}"),
            EFAULT,
            wake(sys),
        )?;
    }
    set_rights(sys, key, 0);
    reads("the word after it", BYTE, sys.read(page))?;
    gives("FUTEX_WAKE_OP with the key open", 0, wake(sys))?;
    reads("the word after it", 7, sys.read(page))
}

fn futex_wake(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS | DISABLE_WRITE);
    gives("FUTEX_WAKE", 0, calls::futex(sys, page, WAKE, [1, 0, 0, 0]))
}

fn populate_read(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    let populate = |sys: &mut dyn System| calls::madvise(sys, page, PAGE, MADV_POPULATE_READ);
    set_rights(sys, key, DISABLE_ACCESS);
    refused(
        "MADV_POPULATE_READ with access denied",
        EINVAL,
        populate(sys),
    )?;
    set_rights(sys, key, DISABLE_WRITE);
    gives("MADV_POPULATE_READ with writes denied", 0, populate(sys))
}

fn populate_write(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    let populate = |sys: &mut dyn System| calls::madvise(sys, page, PAGE, MADV_POPULATE_WRITE);
    for rights in [DISABLE_ACCESS, DISABLE_WRITE] {
        set_rights(sys, key, rights);
        let what = format!("MADV_POPULATE_WRITE with rights {rights}");
        refused(what, EINVAL, populate(sys))?;
    }
    set_rights(sys, key, 0);
    gives("MADV_POPULATE_WRITE with the key open", 0, populate(sys))
}

fn dontneed(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS | DISABLE_WRITE);
    gives(
        "MADV_DONTNEED",
        0,
        calls::madvise(sys, page, PAGE, MADV_DONTNEED),
    )?;
    set_rights(sys, key, 0);
    reads("the page after it", 0, sys.read(page))?;
    is_tagged(sys, "the page after it", page, RW, key)
}

fn unmap_and_protect(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS | DISABLE_WRITE);
    gives("mprotect", 0, calls::mprotect(sys, page, PAGE, calls::R))?;
    let found = calls::pkey_mprotect(sys, page, PAGE, RW, key.cast_signed());
    gives("pkey_mprotect", 0, found)?;
    gives("munmap", 0, calls::munmap(sys, page, PAGE))?;
    let start = at(sys, 0);
    equal("the mapping", None, sys.smaps(start))
}
