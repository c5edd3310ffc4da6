//! Accesses that keys do not stop: those that come from another address space, or as if they did.

use crate::bytes;
use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, PAGE};
use crate::case::{Case, Verdict};
use crate::check::{allowed, equal, err, faults, gives, pkuerr, reads, refused};
use crate::fixture::{BYTE, Keyed, keyed, keyed_absent, set_rights, touched};
use crate::system::System;
use crate::tasks;

const FOREIGN: &str = "arch/x86/include/asm/mmu_context.h, arch_vma_access_permitted (foreign)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "remote.proc_mem_reads",
        "/proc/self/mem reads memory of a key without access.",
        FOREIGN,
        proc_mem_reads,
    ),
    Case::new(
        "remote.proc_mem_writes",
        "/proc/self/mem writes memory of a key without write access, and without any.",
        FOREIGN,
        proc_mem_writes,
    ),
    Case::new(
        "remote.proc_mem_of_absent_pages",
        "/proc/self/mem brings in pages of a closed key.",
        FOREIGN,
        proc_mem_of_absent_pages,
    ),
    Case::new(
        "remote.process_vm_on_oneself",
        "process_vm_readv and process_vm_writev on the process itself reach memory of a closed key.",
        "mm/process_vm_access.c, process_vm_rw_single_vec (pin_user_pages_remote)",
        process_vm_on_oneself,
    ),
    Case::new(
        "remote.process_vm_local_side",
        "Their local side is checked as any other: EFAULT.",
        "mm/process_vm_access.c, process_vm_rw_pages (copy_page_to_iter)",
        process_vm_local_side,
    ),
    Case::new(
        "remote.process_vm_on_a_child",
        "process_vm_readv and process_vm_writev reach a child's memory whose key neither of the two has open.",
        FOREIGN,
        process_vm_on_a_child,
    ),
    Case::new(
        "remote.unkeyed_protection_holds",
        "Where the mapping itself forbids it, process_vm_writev fails with EFAULT, with the key open as well.",
        "mm/gup.c, check_vma_flags",
        unkeyed_protection_holds,
    ),
];

const CLOSED: [u64; 2] = [DISABLE_ACCESS, DISABLE_ACCESS | DISABLE_WRITE];

fn proc_mem_reads(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for rights in CLOSED {
        set_rights(sys, key, rights);
        equal(
            "a read through /proc/self/mem",
            Ok(BYTE),
            sys.proc_mem_read(page),
        )?;
    }
    let found = sys.read(page);
    faults(sys, "a plain read", pkuerr(page, key, err::READ_KEY), found)
}

fn proc_mem_writes(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for (rights, byte) in [(DISABLE_WRITE, 1), (DISABLE_ACCESS, 2), (3, 3)] {
        set_rights(sys, key, rights);
        let what = format!("a write through /proc/self/mem with rights {rights}");
        equal(what, Ok(()), sys.proc_mem_write(page, byte))?;
        set_rights(sys, key, 0);
        reads("the byte", byte, sys.read(page))?;
    }
    Ok(())
}

fn proc_mem_of_absent_pages(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed_absent(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    equal(
        "a write through /proc/self/mem",
        Ok(()),
        sys.proc_mem_write(page, 9),
    )?;
    let found = sys.read(page);
    faults(sys, "a plain read", pkuerr(page, key, err::READ_KEY), found)?;
    set_rights(sys, key, 0);
    reads("the byte", 9, sys.read(page))
}

/// Copies 8 bytes from `from` in a process to scratch memory, and gives them.
fn copy_out(sys: &mut dyn System, pid: u64, from: u64) -> Result<u64, crate::case::Mismatch> {
    let to = sys.scratch().start + 2 * PAGE;
    let found = calls::process_vm_readv(sys, pid, to..to + 8, from..from + 8);
    gives("process_vm_readv", 8, found)?;
    allowed("a read of scratch memory", bytes::get_u64(sys, to))
}

/// Copies 8 bytes from scratch memory to `to` in a process.
fn copy_in(sys: &mut dyn System, pid: u64, to: u64, value: u64) -> Verdict {
    let from = sys.scratch().start + 2 * PAGE;
    allowed(
        "a write to scratch memory",
        bytes::put_u64(sys, from, value),
    )?;
    let found = calls::process_vm_writev(sys, pid, from..from + 8, to..to + 8);
    gives("process_vm_writev", 8, found)
}

fn process_vm_on_oneself(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let pid = sys.id(None);
    for rights in CLOSED {
        set_rights(sys, key, rights);
        equal(
            "what it read",
            BYTE.into(),
            copy_out(sys, pid, page)? & 0xFF,
        )?;
        copy_in(sys, pid, page, BYTE.into())?;
    }
    copy_in(sys, pid, page, 0x0102_0304)?;
    set_rights(sys, key, 0);
    reads("the byte", 4, sys.read(page))
}

fn process_vm_local_side(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let plain = touched(sys, 1)?;
    let pid = sys.id(None);
    set_rights(sys, key, DISABLE_ACCESS);
    let found = calls::process_vm_readv(sys, pid, page..page + 8, plain..plain + 8);
    refused("process_vm_readv to a closed page", libc::EFAULT, found)?;
    let found = calls::process_vm_writev(sys, pid, page..page + 8, plain..plain + 8);
    refused("process_vm_writev from a closed page", libc::EFAULT, found)?;
    set_rights(sys, key, DISABLE_WRITE);
    let found = calls::process_vm_writev(sys, pid, page..page + 8, plain..plain + 8);
    gives("process_vm_writev from a read-only page", 8, found)
}

fn process_vm_on_a_child(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let child = sys.fork();
    let pid = sys.id(Some(child));
    let denied = tasks::fault(4, key);
    tasks::tells(sys, "the child reads", child, (tasks::read, page), denied)?;
    equal(
        "what was read of the child",
        BYTE.into(),
        copy_out(sys, pid, page)? & 0xFF,
    )?;
    copy_in(sys, pid, page, 0x66)?;
    let open = (tasks::wrpkru as _, 0);
    tasks::ask(sys, child, open.0, open.1)?;
    tasks::tells(
        sys,
        "the child reads with all keys open",
        child,
        (tasks::read, page),
        0x66,
    )?;
    set_rights(sys, key, 0);
    reads("the parent's own page", BYTE, sys.read(page))
}

fn unkeyed_protection_holds(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    gives("mprotect", 0, calls::mprotect(sys, page, PAGE, calls::R))?;
    let pid = sys.id(None);
    let from = sys.scratch().start + 2 * PAGE;
    for rights in 0..4 {
        set_rights(sys, key, rights);
        let found = calls::process_vm_writev(sys, pid, from..from + 8, page..page + 8);
        refused(
            format_args!("process_vm_writev with rights {rights}"),
            libc::EFAULT,
            found,
        )?;
    }
    Ok(())
}
