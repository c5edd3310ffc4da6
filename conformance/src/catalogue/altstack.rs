//! Where a signal frame goes, and who may write it there: the thread's stack, or an alternate one, under any key.

use core::ops::Range;

use libc::ENOMEM;

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, PAGE, R, RW};
use crate::case::{Case, Mismatch, Verdict};
use crate::check::{
    INIT_PKRU, equal, err, faults, gives, maperr, pkru, pkuerr, refused, signalled,
};
use crate::fixture::{Keyed, at, keyed, map, open_key, set_rights, with_rights};
use crate::system::{Act, Answer, Bare, Signal, System, Task};
use crate::tasks;

const SETUP: &str = "arch/x86/kernel/signal.c, get_sigframe";
const PKRU: &str = "arch/x86/kernel/signal.c, sig_prepare_pkru";
const KILLS: &str = "kernel/signal.c, signal_setup_done (force_sigsegv)";

/// Pages of an alternate stack or a stack.
const PAGES: u64 = 32;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "altstack.handler_runs_on_it",
        "With an alternate stack, handlers of faults and of sent signals run on it.",
        SETUP,
        handler_runs_on_it,
    ),
    Case::new(
        "altstack.disabled",
        "Without one, they run on the thread's stack.",
        SETUP,
        disabled,
    ),
    Case::new(
        "altstack.too_small",
        "An alternate stack below MINSIGSTKSZ is refused with ENOMEM, and the old one stays.",
        "sigaltstack(2); kernel/signal.c, do_sigaltstack",
        too_small,
    ),
    Case::new(
        "altstack.handlers_nest_on_it",
        "A fault in a handler puts its frame below the handler's on the same stack.",
        SETUP,
        handlers_nest_on_it,
    ),
    Case::new(
        "altstack.of_a_key_that_is_open",
        "An alternate stack of a key that the thread has open serves, though the handler starts with it closed.",
        SETUP,
        |sys| of_a_key(sys, 0),
    ),
    Case::new(
        "altstack.of_a_key_without_access",
        "An alternate stack of a key that the thread has closed serves: the kernel writes the frame with all keys open.",
        PKRU,
        |sys| of_a_key(sys, DISABLE_ACCESS),
    )
    .since(6, 12),
    Case::new(
        "altstack.of_a_key_without_write",
        "An alternate stack of a key that the thread may only read serves as well.",
        PKRU,
        |sys| of_a_key(sys, DISABLE_WRITE),
    )
    .since(6, 12),
    Case::new(
        "altstack.key_zero_closed",
        "With key 0 closed and no alternate stack, a fault is delivered on the thread's stack of key 0.",
        "selftest pkey_sighandler_tests.c, test_sigsegv_handler_with_pkey0_disabled",
        key_zero_closed,
    )
    .since(6, 12),
    Case::new(
        "altstack.stack_cannot_be_accessed",
        "An access to the thread's own stack with key 0 closed is SEGV_PKUERR, delivered on that stack.",
        "selftest pkey_sighandler_tests.c, test_sigsegv_handler_cannot_access_stack",
        stack_cannot_be_accessed,
    )
    .since(6, 12),
    Case::new(
        "altstack.stack_of_another_key",
        "With key 0 closed and a stack of an open key, a fault is delivered on an alternate stack of key 0.",
        "selftest pkey_sighandler_tests.c, test_sigsegv_handler_with_different_pkey_for_stack",
        stack_of_another_key,
    )
    .since(6, 12),
    Case::new(
        "altstack.stack_of_a_closed_key",
        "Without an alternate stack, the frame goes to the thread's stack, though its key is closed.",
        PKRU,
        stack_of_a_closed_key,
    )
    .since(6, 12),
    Case::new(
        "altstack.sent_signal_with_key_zero_closed",
        "A signal that was sent is delivered with key 0 closed, too.",
        PKRU,
        sent_signal_with_key_zero_closed,
    )
    .since(6, 12),
    Case::new(
        "altstack.not_mapped",
        "Where the alternate stack is not mapped, the process is killed by SIGSEGV.",
        KILLS,
        |sys| kills(sys, fault_on_nothing),
    ),
    Case::new(
        "altstack.read_only",
        "Where the alternate stack is read-only memory, the process is killed by SIGSEGV, whatever its key.",
        KILLS,
        |sys| kills(sys, fault_on_read_only),
    ),
    Case::new(
        "altstack.stack_not_mapped",
        "Without an alternate stack, a fault on a stack that is not mapped kills the process by SIGSEGV.",
        KILLS,
        |sys| kills(sys, fault_off_the_stack),
    ),
    Case::new(
        "altstack.fork_keeps_it",
        "A forked child has its parent's alternate stack.",
        "kernel/fork.c, copy_process (sas_ss_reset only with CLONE_VM)",
        fork_keeps_it,
    ),
];

/// A stack in the arena: pages of this key, never touched.
fn stack(sys: &mut dyn System, page: u64, key: u64) -> Result<Range<u64>, Mismatch> {
    let start = map(sys, page, PAGES, RW)?;
    let len = PAGES * PAGE;
    let found = calls::pkey_mprotect(sys, start, len, RW, key.cast_signed());
    gives("pkey_mprotect of a stack", 0, found)?;
    Ok(start..start + len)
}

fn told(what: &str, expected: (i32, bool), found: Result<Signal, i32>) -> Verdict {
    let found = found.map(|signal| (signal.signo, signal.is_on_altstack));
    equal(
        format_args!("{what}: signal, and whether on the alternate stack"),
        Ok(expected),
        found,
    )
}

/// A fault with nothing mapped at the address is told so, with this register and stack.
fn nothing_there(sys: &mut dyn System, is_on_altstack: bool) -> Verdict {
    let nothing = at(sys, 200);
    let expected = maperr(nothing, err::READ_ABSENT).signal(sys.rdpkru(), is_on_altstack);
    let found = sys.read(nothing);
    signalled("a read of nothing", &expected, found)
}

fn handler_runs_on_it(sys: &mut dyn System) -> Verdict {
    let own = stack(sys, 0, 0)?;
    gives("sigaltstack", 0, sys.set_altstack(Some(own)))?;
    nothing_there(sys, true)?;
    told("SIGUSR1", (10, true), sys.raise(10))
}

fn disabled(sys: &mut dyn System) -> Verdict {
    gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
    nothing_there(sys, false)?;
    told("SIGUSR1", (10, false), sys.raise(10))
}

fn too_small(sys: &mut dyn System) -> Verdict {
    let own = stack(sys, 0, 0)?;
    let small = own.start..own.start + 1024;
    refused(
        "sigaltstack of 1 KiB",
        ENOMEM,
        sys.set_altstack(Some(small)),
    )?;
    nothing_there(sys, true)
}

fn handlers_nest_on_it(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let own = stack(sys, 8, 0)?;
    gives("sigaltstack", 0, sys.set_altstack(Some(own)))?;
    let mut inner = None;
    sys.with_handler(&mut |sys, _| inner = Some(sys.read(page)), &mut |sys| {
        let _ = sys.raise(10);
    });
    let expected = pkuerr(page, key, err::READ_KEY).signal(INIT_PKRU, true);
    equal("a read in the handler", Some(Err(expected)), inner)
}

fn of_a_key(sys: &mut dyn System, rights: u64) -> Verdict {
    let key = open_key(sys)?;
    let own = stack(sys, 0, key)?;
    gives("sigaltstack", 0, sys.set_altstack(Some(own)))?;
    set_rights(sys, key, rights);
    let before = sys.rdpkru();
    for _ in 0..2 {
        nothing_there(sys, true)?;
        pkru(sys, "after a fault", before)?;
        told("SIGUSR1", (10, true), sys.raise(10))?;
        pkru(sys, "after SIGUSR1", before)?;
    }
    Ok(())
}

/// One act with this register, on this stack.
fn bare(
    sys: &mut dyn System,
    pkru: u32,
    stack: Option<u64>,
    act: Act,
) -> Result<Result<i64, Signal>, Mismatch> {
    let outcome = sys.bare(Bare { pkru, stack, act });
    equal("PKRU behind the act", pkru, outcome.pkru_after)?;
    Ok(outcome.result)
}

fn key_zero_closed(sys: &mut dyn System) -> Verdict {
    gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
    let pkru = 0x5555_5555;
    let found = bare(sys, pkru, None, Act::Read(1))?;
    signalled(
        "a read of address 1",
        &maperr(1, err::READ_ABSENT).signal(pkru, false),
        found,
    )
}

fn stack_cannot_be_accessed(sys: &mut dyn System) -> Verdict {
    gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
    let own = stack(sys, 0, 0)?;
    // A page of it that is present, above what the frame needs.
    let addr = own.end - 64;
    crate::check::allowed("a write to the stack", sys.write(addr, 1))?;
    let (pkru, top) = (0x5555_5555, Some(own.end - PAGE));
    let found = bare(sys, pkru, top, Act::Write(addr, 2))?;
    let expected = pkuerr(addr, 0, err::WRITE_KEY).signal(pkru, false);
    signalled("a write to the stack with key 0 closed", &expected, found)
}

fn stack_of_another_key(sys: &mut dyn System) -> Verdict {
    let key = open_key(sys)?;
    let own = stack(sys, 0, key)?;
    // Key 1 open, all others closed, key 0 among them.
    let pkru = 0x5555_5551;
    let found = bare(sys, pkru, Some(own.end), Act::Read(1))?;
    signalled(
        "a read of address 1",
        &maperr(1, err::READ_ABSENT).signal(pkru, true),
        found,
    )
}

fn stack_of_a_closed_key(sys: &mut dyn System) -> Verdict {
    gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
    let key = open_key(sys)?;
    let own = stack(sys, 0, key)?;
    for rights in [DISABLE_ACCESS, DISABLE_WRITE] {
        let pkru = with_rights(INIT_PKRU, key, rights);
        let found = bare(sys, pkru, Some(own.end), Act::Read(1))?;
        let expected = maperr(1, err::READ_ABSENT).signal(pkru, false);
        signalled(
            format_args!("a read of address 1 with rights {rights}"),
            &expected,
            found,
        )?;
    }
    Ok(())
}

fn sent_signal_with_key_zero_closed(sys: &mut dyn System) -> Verdict {
    let pkru = 0x5555_5555;
    for has_altstack in [true, false] {
        if !has_altstack {
            gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
        }
        let found = bare(sys, pkru, None, Act::Raise(10))?;
        let told = found.err().map(|signal| {
            (
                signal.signo,
                signal.pkru_in_handler,
                signal.pkru_in_frame,
                signal.is_on_altstack,
            )
        });
        equal(
            "SIGUSR1, PKRU in handler and frame",
            Some((10, INIT_PKRU, pkru, has_altstack)),
            told,
        )?;
    }
    Ok(())
}

/// A child that runs `task` is killed by SIGSEGV.
fn kills(sys: &mut dyn System, task: Task) -> Verdict {
    let key = open_key(sys)?;
    let own = stack(sys, 0, key)?;
    let child = sys.fork();
    equal(
        "the child",
        Answer::Killed(11),
        sys.ask(child, task, own.start),
    )
}

/// Faults with an alternate stack that is not mapped.
fn fault_on_nothing(sys: &mut dyn System, start: u64) -> u64 {
    let beyond = start + PAGES * PAGE;
    sys.set_altstack(Some(beyond..beyond + PAGES * PAGE));
    tasks::read(sys, 1)
}

/// Faults with an alternate stack that is read-only, its key open.
fn fault_on_read_only(sys: &mut dyn System, start: u64) -> u64 {
    let len = PAGES * PAGE;
    sys.set_altstack(Some(start..start + len));
    calls::mprotect(sys, start, len, R);
    tasks::read(sys, 1)
}

/// Faults on a stack that is not mapped.
fn fault_off_the_stack(sys: &mut dyn System, start: u64) -> u64 {
    sys.set_altstack(None);
    let outcome = sys.bare(Bare {
        pkru: INIT_PKRU,
        stack: Some(start + 2 * PAGES * PAGE),
        act: Act::Read(1),
    });
    u64::from(outcome.result.is_ok())
}

fn raise_on_altstack(sys: &mut dyn System, _: u64) -> u64 {
    sys.raise(10)
        .map_or(2, |signal| signal.is_on_altstack.into())
}

fn fork_keeps_it(sys: &mut dyn System) -> Verdict {
    let with = sys.fork();
    gives("sigaltstack with SS_DISABLE", 0, sys.set_altstack(None))?;
    let without = sys.fork();
    tasks::tells(sys, "the child of before", with, (raise_on_altstack, 0), 1)?;
    tasks::tells(
        sys,
        "the child of after",
        without,
        (raise_on_altstack, 0),
        0,
    )?;
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let expected = pkuerr(page, key, err::READ_KEY).signal(sys.rdpkru(), false);
    let found = sys.read(page);
    signalled("the parent's read", &expected, found)?;
    gives("sigaltstack", 0, {
        let own = stack(sys, 8, 0)?;
        sys.set_altstack(Some(own))
    })?;
    let found = sys.read(page);
    faults(
        sys,
        "the parent's read on a new one",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}
