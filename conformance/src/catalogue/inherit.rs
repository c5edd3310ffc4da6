//! What new programs, processes and threads start with, and what is theirs alone afterwards.

use core::array;

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, PAGE, RW, X};
use crate::case::{Case, Verdict};
use crate::catalogue::alloc;
use crate::check::{INIT_PKRU, equal, gives, pkru, reads};
use crate::fixture::{BYTE, Keyed, code, is_tagged, keyed, open_key, set_rights, touched};
use crate::system::System;
use crate::tasks;

const EXEC: &str = "arch/x86/kernel/process.c, flush_thread (pkru_flush_thread)";
const EXEC_MAP: &str = "arch/x86/include/asm/mmu_context.h, init_new_context";
const CLONE: &str = "arch/x86/kernel/process.c, copy_thread (p->thread.pkru = read_pkru())";
const FORK_MAP: &str = "arch/x86/include/asm/mmu_context.h, arch_dup_pkeys";
const SWITCH: &str = "arch/x86/kernel/process_64.c, __switch_to (x86_pkru_load)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "inherit.program_start",
        "A program starts with access disabled for all keys but key 0.",
        "pkeys(7); arch/x86/mm/pkeys.c, init_pkru_value",
        |sys| exec_after(sys, INIT_PKRU),
    ),
    Case::new(
        "inherit.exec_resets_the_register",
        "execve gives the new program the initial PKRU, whatever the old one had.",
        EXEC,
        |sys| {
            [0, 0xFFFF_FFFC, 0xAAAA_AAA8, 0x1234_5678]
                .into_iter()
                .try_for_each(|before| exec_after(sys, before))
        },
    ),
    Case::new(
        "inherit.exec_forgets_keys",
        "After execve no key but 0 is allocated.",
        EXEC_MAP,
        exec_forgets_keys,
    ),
    Case::new(
        "inherit.exec_forgets_the_execute_only_key",
        "After execve there is no execute-only key.",
        EXEC_MAP,
        exec_forgets_the_execute_only_key,
    ),
    Case::new(
        "inherit.fork_copies_the_register",
        "A child starts with the PKRU that its parent has at the fork.",
        CLONE,
        fork_copies_the_register,
    ),
    Case::new(
        "inherit.fork_copies_the_keys",
        "A child has its parent's allocated keys, and from then on its own map.",
        FORK_MAP,
        fork_copies_the_keys,
    ),
    Case::new(
        "inherit.fork_keeps_keys_of_pages",
        "A child's pages have the keys that they have in the parent.",
        "mm/memory.c, copy_page_range; kernel/fork.c, dup_mmap",
        fork_keeps_keys_of_pages,
    ),
    Case::new(
        "inherit.processes_keep_their_registers",
        "Parent and child change their PKRU without each other.",
        SWITCH,
        processes_keep_their_registers,
    ),
    Case::new(
        "inherit.fork_by_a_thread",
        "A child that a thread forks starts with that thread's PKRU, not with another's.",
        CLONE,
        fork_by_a_thread,
    ),
    Case::new(
        "inherit.thread_copies_the_register",
        "A thread starts with the PKRU that its creator has at that moment.",
        CLONE,
        thread_copies_the_register,
    ),
    Case::new(
        "inherit.thread_of_a_thread",
        "A thread that a thread creates starts with the PKRU of that thread.",
        CLONE,
        thread_of_a_thread,
    ),
    Case::new(
        "inherit.threads_keep_their_registers",
        "Threads change their PKRU without each other, over many switches.",
        SWITCH,
        threads_keep_their_registers,
    ),
    Case::new(
        "inherit.older_thread_has_no_rights",
        "A thread that is older than a key has no access to its pages, and can give it to itself.",
        "pkeys(7)",
        older_thread_has_no_rights,
    ),
    Case::new(
        "inherit.thread_created_in_a_handler",
        "A thread that a signal handler creates starts with the handler's PKRU, not the interrupted code's.",
        CLONE,
        thread_created_in_a_handler,
    ),
    Case::new(
        "inherit.fork_in_a_handler",
        "A child that a signal handler forks starts with the handler's PKRU.",
        CLONE,
        fork_in_a_handler,
    ),
    Case::new(
        "inherit.thread_shares_pages_and_keys",
        "Threads share pages and keys of pages: what one tags is tagged for the other.",
        "pkeys(7)",
        thread_shares_pages_and_keys,
    ),
];

/// Values with key 0 open.
const PATTERNS: [u32; 5] = [0, INIT_PKRU, 0xFFFF_FFFC, 0xAAAA_AAA8, 0x1B1B_1B18];

fn exec_after(sys: &mut dyn System, before: u32) -> Verdict {
    let own = sys.rdpkru();
    sys.wrpkru(before & !3);
    let program = sys.fork_and_exec();
    sys.wrpkru(own);
    let what = "the new program's PKRU";
    tasks::tells(sys, what, program, (tasks::rdpkru, 0), INIT_PKRU.into())?;
    sys.end(program);
    Ok(())
}

fn exec_forgets_keys(sys: &mut dyn System) -> Verdict {
    alloc::all(sys)?;
    let program = sys.fork_and_exec();
    tasks::tells(
        sys,
        "the new program's first key",
        program,
        (tasks::alloc, 0),
        1,
    )?;
    tasks::tells(sys, "its further keys", program, (tasks::free_keys, 0), 14)
}

fn exec_forgets_the_execute_only_key(sys: &mut dyn System) -> Verdict {
    code(sys, 0, X)?;
    let program = sys.fork_and_exec();
    tasks::tells(
        sys,
        "the new program's keys",
        program,
        (tasks::free_keys, 0),
        15,
    )
}

fn fork_copies_the_register(sys: &mut dyn System) -> Verdict {
    for pattern in PATTERNS {
        sys.wrpkru(pattern);
        let child = sys.fork();
        sys.wrpkru(INIT_PKRU);
        tasks::tells(
            sys,
            "the child's PKRU",
            child,
            (tasks::rdpkru, 0),
            pattern.into(),
        )?;
        sys.end(child);
    }
    Ok(())
}

fn fork_copies_the_keys(sys: &mut dyn System) -> Verdict {
    for key in 1..=3 {
        gives("pkey_alloc", key, calls::pkey_alloc(sys, 0, 0))?;
    }
    gives("pkey_free(2)", 0, calls::pkey_free(sys, 2))?;
    let child = sys.fork();
    tasks::tells(sys, "the child's next key", child, (tasks::alloc, 0), 2)?;
    tasks::tells(sys, "the child's key after it", child, (tasks::alloc, 0), 4)?;
    tasks::tells(sys, "the child frees 1", child, (tasks::free, 1), 0)?;
    gives("the parent's next key", 2, calls::pkey_alloc(sys, 0, 0))?;
    gives("the parent's key after it", 4, calls::pkey_alloc(sys, 0, 0))?;
    gives("the parent frees 1", 0, calls::pkey_free(sys, 1))?;
    tasks::tells(sys, "the child's key 1", child, (tasks::alloc, 0), 1)
}

/// The key of a page, as the asked one sees it in smaps.
fn key_of_page(sys: &mut dyn System, addr: u64) -> u64 {
    match sys.smaps(addr) {
        Some((_, Some(key))) => key.into(),
        _ => u64::MAX,
    }
}

fn fork_keeps_keys_of_pages(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let child = sys.fork();
    tasks::tells(sys, "the key in the child", child, (key_of_page, page), key)?;
    tasks::tells(
        sys,
        "the child reads",
        child,
        (tasks::read, page),
        BYTE.into(),
    )?;
    let closed = u64::from(INIT_PKRU);
    tasks::ask(sys, child, tasks::wrpkru, closed)?;
    let denied = tasks::fault(4, key);
    tasks::tells(
        sys,
        "the child reads with the key closed",
        child,
        (tasks::read, page),
        denied,
    )?;
    tasks::tells(
        sys,
        "the child writes with it closed",
        child,
        (tasks::write, page),
        denied,
    )?;
    reads("the parent reads", BYTE, sys.read(page))
}

fn processes_keep_their_registers(sys: &mut dyn System) -> Verdict {
    let child = sys.fork();
    let mut last = sys.rdpkru();
    for turn in 0..50_u32 {
        let (own, its) = ((turn << 2) & !3, !(turn << 8) & !3);
        sys.wrpkru(own);
        let task = (tasks::wrpkru as _, its.into());
        tasks::tells(sys, "the child's PKRU", child, task, last.into())?;
        pkru(sys, "the parent's", own)?;
        last = its;
    }
    Ok(())
}

/// Forks a child, and gives its PKRU.
fn fork_and_ask(sys: &mut dyn System, _: u64) -> u64 {
    let child = sys.fork();
    match sys.ask(child, tasks::rdpkru, 0) {
        crate::system::Answer::Done(pkru) => pkru,
        _ => u64::MAX,
    }
}

fn fork_by_a_thread(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    tasks::ask(sys, thread, tasks::wrpkru, 0x0F00_00F0)?;
    sys.wrpkru(0);
    let what = "the PKRU of the thread's child";
    tasks::tells(sys, what, thread, (fork_and_ask, 0), 0x0F00_00F0)
}

fn thread_copies_the_register(sys: &mut dyn System) -> Verdict {
    for pattern in PATTERNS {
        sys.wrpkru(pattern);
        let thread = sys.thread();
        sys.wrpkru(INIT_PKRU);
        tasks::tells(
            sys,
            "the thread's PKRU",
            thread,
            (tasks::rdpkru, 0),
            pattern.into(),
        )?;
        sys.end(thread);
    }
    Ok(())
}

/// Starts a thread, and gives its PKRU.
fn start_and_ask(sys: &mut dyn System, _: u64) -> u64 {
    let thread = sys.thread();
    match sys.ask(thread, tasks::rdpkru, 0) {
        crate::system::Answer::Done(pkru) => pkru,
        _ => u64::MAX,
    }
}

fn thread_of_a_thread(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    tasks::ask(sys, thread, tasks::wrpkru, 0x00FF_0F0C)?;
    sys.wrpkru(0);
    tasks::tells(
        sys,
        "its thread's PKRU",
        thread,
        (start_and_ask, 0),
        0x00FF_0F0C,
    )
}

fn threads_keep_their_registers(sys: &mut dyn System) -> Verdict {
    let start = sys.rdpkru();
    let threads: [_; 4] = array::from_fn(|_| sys.thread());
    let mut last = [start; 4];
    for turn in 0..100_u32 {
        let own = turn << 4;
        sys.wrpkru(own);
        for ((thread, last), number) in threads.into_iter().zip(&mut last).zip(1..) {
            let its = (turn.wrapping_mul(number) << 2) ^ 0x5A5A_5A58;
            let task = (tasks::wrpkru as _, (its & !3).into());
            tasks::tells(sys, "the thread's PKRU", thread, task, (*last).into())?;
            *last = its & !3;
        }
        pkru(sys, "the first thread's", own)?;
    }
    Ok(())
}

fn older_thread_has_no_rights(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    let Keyed { page, key } = keyed(sys)?;
    let denied = tasks::fault(4, key);
    tasks::tells(sys, "the thread reads", thread, (tasks::read, page), denied)?;
    tasks::tells(
        sys,
        "the thread writes",
        thread,
        (tasks::write, page),
        denied,
    )?;
    tasks::ask(sys, thread, tasks::wrpkru, 0)?;
    tasks::tells(
        sys,
        "it reads with the key open",
        thread,
        (tasks::read, page),
        BYTE.into(),
    )
}

/// What a peer that a handler started says its PKRU is; the interrupted code has all keys open.
fn started_in_a_handler(
    sys: &mut dyn System,
    start: fn(&mut dyn System, u64) -> u64,
) -> Result<u64, crate::case::Mismatch> {
    let mut found = None;
    sys.wrpkru(0);
    sys.with_handler(&mut |sys, _| found = Some(start(sys, 0)), &mut |sys| {
        // Its answer is what the handler was told.
        let _ = sys.raise(libc::SIGUSR1);
    });
    pkru(sys, "the interrupted code's PKRU", 0)?;
    found.ok_or_else(|| crate::check::mismatch("the handler", "to run", "nothing"))
}

fn thread_created_in_a_handler(sys: &mut dyn System) -> Verdict {
    let found = started_in_a_handler(sys, start_and_ask)?;
    equal("the thread's PKRU", INIT_PKRU.into(), found)
}

fn fork_in_a_handler(sys: &mut dyn System) -> Verdict {
    let found = started_in_a_handler(sys, fork_and_ask)?;
    equal("the child's PKRU", INIT_PKRU.into(), found)
}

/// Gives a page key 1.
fn tag_with_one(sys: &mut dyn System, page: u64) -> u64 {
    calls::pkey_mprotect(sys, page, PAGE, RW, 1).cast_unsigned()
}

fn thread_shares_pages_and_keys(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    let key = open_key(sys)?;
    let thread = sys.thread();
    tasks::tells(
        sys,
        "the thread tags the page",
        thread,
        (tag_with_one, page),
        0,
    )?;
    is_tagged(sys, "the page", page, RW, key)?;
    reads("a read with the key open", BYTE, sys.read(page))?;
    for rights in [DISABLE_ACCESS, DISABLE_WRITE] {
        set_rights(sys, key, rights);
        tasks::tells(
            sys,
            "the thread still writes",
            thread,
            (tasks::write, page),
            0,
        )?;
    }
    Ok(())
}
