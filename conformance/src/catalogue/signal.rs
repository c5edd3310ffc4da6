//! PKRU over signals: what a handler starts with, what the interrupted code gets back, what a fault says.

use crate::bytes;
use crate::calls::{self, DISABLE_ACCESS};
use crate::case::{Case, Mismatch, Verdict};
use crate::check::{
    INIT_PKRU, PAGE_FAULT, allowed, equal, err, faults, gives, mismatch, pkru, pkuerr, reads,
    same_pkru, signalled,
};
use crate::fixture::{BYTE, Keyed, keyed, set_rights};
use crate::system::{Answer, Signal, System, Task};
use crate::tasks;

const ENTRY: &str = "arch/x86/kernel/fpu/core.c, fpu__clear_user_states (pkru_write_default)";
const RETURN: &str = "arch/x86/kernel/fpu/signal.c, restore_fpregs_from_user";

const SIGUSR1: i32 = 10;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "signal.handler_starts_with_the_initial_register",
        "A handler starts with the initial PKRU, whatever the interrupted code has; the frame holds what it has.",
        ENTRY,
        handler_starts_with_the_initial_register,
    ),
    Case::new(
        "signal.register_survives_sigusr1",
        "A signal that was sent leaves the interrupted code's PKRU as it was.",
        "selftest pkey_sighandler_tests.c, test_pkru_preserved_after_sigusr1",
        register_survives_sigusr1,
    ),
    Case::new(
        "signal.register_survives_a_fault",
        "A fault and the return from its handler leave PKRU as it was.",
        RETURN,
        register_survives_a_fault,
    ),
    Case::new(
        "signal.handlers_own_changes_are_lost",
        "What a handler does to its own PKRU ends with it.",
        RETURN,
        handlers_own_changes_are_lost,
    ),
    Case::new(
        "signal.keys_allocated_in_a_handler",
        "A key that a handler allocates stays allocated, but the rights to it were the handler's.",
        RETURN,
        keys_allocated_in_a_handler,
    ),
    Case::new(
        "signal.access_is_tried_again",
        "With the key opened in the frame, the access that faulted succeeds when the handler returns.",
        "selftest protection_keys.c, signal_handler",
        access_is_tried_again,
    ),
    Case::new(
        "signal.handler_is_denied_closed_keys",
        "A handler that touches memory of a key that only the interrupted code has open faults itself.",
        ENTRY,
        handler_is_denied_closed_keys,
    ),
    Case::new(
        "signal.handler_can_open_for_itself",
        "A handler opens a key for itself with WRPKRU.",
        "pkeys(7)",
        handler_can_open_for_itself,
    ),
    Case::new(
        "signal.handlers_nest",
        "A signal in a handler starts with the initial PKRU again, and gives the handler back its own.",
        ENTRY,
        handlers_nest,
    ),
    Case::new(
        "signal.sent_signals_have_no_key",
        "A signal that was sent has neither address nor key, and its frame shows the last fault's registers.",
        "arch/x86/kernel/signal_64.c, setup_sigcontext; kernel/signal.c, prepare_kill_siginfo",
        sent_signals_have_no_key,
    ),
    Case::new(
        "signal.blocked_sigsegv_kills",
        "A key fault while SIGSEGV is blocked kills the process with SIGSEGV.",
        "kernel/signal.c, force_sig_info_to_task",
        |sys| kills(sys, fault_blocked),
    ),
    Case::new(
        "signal.ignored_sigsegv_kills",
        "A key fault while SIGSEGV is ignored kills the process with SIGSEGV.",
        "kernel/signal.c, force_sig_info_to_task",
        |sys| kills(sys, fault_ignored),
    ),
    Case::new(
        "signal.default_action_kills",
        "A key fault without a handler kills the process with SIGSEGV.",
        "pkeys(7); signal(7)",
        |sys| kills(sys, fault_by_default),
    ),
    Case::new(
        "signal.many_faults_in_a_row",
        "Every access of a thousand that a key denies gets its signal, each with its own address.",
        "arch/x86/mm/fault.c, __bad_area_nosemaphore",
        many_faults_in_a_row,
    ),
    Case::new(
        "signal.threads_get_their_own",
        "A fault is the thread's that took it: other threads get no signal and keep their PKRU.",
        "kernel/signal.c, force_sig_fault",
        threads_get_their_own,
    ),
];

const PATTERNS: [u32; 6] = [0, INIT_PKRU, 0x4545_4544, 0xFFFF_FFF0, 0x10, 0xAAAA_AAA8];

/// Raises SIGUSR1; what the handler was told.
pub(super) fn usr1(sys: &mut dyn System) -> Result<Signal, Mismatch> {
    sys.raise(SIGUSR1).map_err(|errno| {
        mismatch(
            "raise of SIGUSR1",
            "its delivery",
            format_args!("error {errno}"),
        )
    })
}

fn handler_starts_with_the_initial_register(sys: &mut dyn System) -> Verdict {
    for pattern in PATTERNS {
        sys.wrpkru(pattern);
        let signal = usr1(sys)?;
        same_pkru("in the handler", INIT_PKRU, signal.pkru_in_handler)?;
        same_pkru("in the frame", pattern, signal.pkru_in_frame)?;
        let nothing = crate::fixture::at(sys, 0);
        let found = sys.read(nothing);
        faults(
            sys,
            "a fault",
            crate::check::maperr(nothing, err::READ_ABSENT),
            found,
        )?;
    }
    Ok(())
}

fn register_survives_sigusr1(sys: &mut dyn System) -> Verdict {
    for pattern in PATTERNS {
        sys.wrpkru(pattern);
        usr1(sys)?;
        pkru(sys, "after SIGUSR1", pattern)?;
    }
    Ok(())
}

fn register_survives_a_fault(sys: &mut dyn System) -> Verdict {
    let nothing = crate::fixture::at(sys, 0);
    for pattern in PATTERNS {
        sys.wrpkru(pattern);
        let found = sys.write(nothing, 1);
        faults(
            sys,
            "a write",
            crate::check::maperr(nothing, err::WRITE_ABSENT),
            found,
        )?;
        pkru(sys, "after the fault", pattern)?;
    }
    Ok(())
}

fn handlers_own_changes_are_lost(sys: &mut dyn System) -> Verdict {
    let mut inside = [0; 2];
    sys.wrpkru(0x0FF0);
    sys.with_handler(
        &mut |sys, _| {
            inside[0] = sys.rdpkru();
            sys.wrpkru(0);
            inside[1] = sys.rdpkru();
        },
        &mut |sys| {
            let _ = sys.raise(SIGUSR1);
        },
    );
    equal(
        "PKRU in the handler, before and after its change",
        [INIT_PKRU, 0],
        inside,
    )?;
    pkru(sys, "after the handler", 0x0FF0)
}

fn keys_allocated_in_a_handler(sys: &mut dyn System) -> Verdict {
    let mut inside = (0, 0);
    sys.with_handler(
        &mut |sys, _| inside = (calls::pkey_alloc(sys, 0, 0), sys.rdpkru()),
        &mut |sys| {
            let _ = sys.raise(SIGUSR1);
        },
    );
    equal("key and PKRU in the handler", (1, INIT_PKRU & !0xC), inside)?;
    pkru(sys, "after the handler", INIT_PKRU)?;
    gives(
        "the next pkey_alloc",
        2,
        calls::pkey_alloc(sys, 0, DISABLE_ACCESS),
    )
}

fn access_is_tried_again(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let before = sys.rdpkru();
    let mut told = Vec::new();
    let mut found = None;
    sys.with_handler(
        &mut |_, frame| {
            told.push(frame.signal());
            frame.set_pkru(0);
        },
        &mut |sys| found = Some(sys.read(page)),
    );
    let expected = pkuerr(page, key, err::READ_KEY).signal(before, true);
    equal("what the handler was told, each time", vec![expected], told)?;
    match found {
        Some(found) => reads("the read that faulted", BYTE, found)?,
        None => return Err(mismatch("the read", "to be made", "nothing")),
    }
    pkru(sys, "after it", 0)
}

fn handler_is_denied_closed_keys(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let mut found = Vec::new();
    sys.with_handler(
        &mut |sys, _| {
            found.push(sys.read(page));
            found.push(sys.write(page, 1).map(|()| 0));
        },
        &mut |sys| {
            let _ = sys.raise(SIGUSR1);
        },
    );
    let expected = |code| Err(pkuerr(page, key, code).signal(INIT_PKRU, true));
    equal(
        "a read and a write in the handler",
        vec![expected(err::READ_KEY), expected(err::WRITE_KEY)],
        found,
    )?;
    reads("a read after it", BYTE, sys.read(page))
}

fn handler_can_open_for_itself(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let mut inside = None;
    sys.with_handler(
        &mut |sys, frame| {
            set_rights(sys, key, 0);
            inside = Some(sys.read(page));
            frame.skip();
        },
        &mut |sys| {
            let _ = sys.raise(SIGUSR1);
        },
    );
    match inside {
        Some(inside) => reads("a read in the handler", BYTE, inside)?,
        None => return Err(mismatch("the handler", "to run", "nothing")),
    }
    let found = sys.read(page);
    faults(
        sys,
        "a read after it",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn handlers_nest(sys: &mut dyn System) -> Verdict {
    let mut inner = None;
    let mut after = 0;
    sys.wrpkru(0x30);
    sys.with_handler(
        &mut |sys, _| {
            sys.wrpkru(0xC0);
            inner = Some(sys.raise(SIGUSR1));
            after = sys.rdpkru();
        },
        &mut |sys| {
            let _ = sys.raise(SIGUSR1);
        },
    );
    let inner = inner
        .and_then(Result::ok)
        .map(|signal| (signal.pkru_in_handler, signal.pkru_in_frame));
    equal(
        "PKRU in the inner handler, and in its frame",
        Some((INIT_PKRU, 0xC0)),
        inner,
    )?;
    same_pkru("in the outer handler after it", 0xC0, after)?;
    pkru(sys, "after both", 0x30)
}

fn sent_signals_have_no_key(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_KEY), found)?;
    let signal = usr1(sys)?;
    let expected = Signal {
        signo: SIGUSR1,
        // SI_TKILL.
        code: -6,
        addr: 0,
        pkey: 0,
        err: err::READ_KEY,
        trapno: PAGE_FAULT,
        cr2: page,
        pkru_in_handler: INIT_PKRU,
        pkru_in_frame: sys.rdpkru(),
        is_on_altstack: true,
    };
    signalled::<()>("SIGUSR1 after a fault", &expected, Err(signal))
}

/// A child that runs `task`, which faults on a page of a closed key, is killed by SIGSEGV.
fn kills(sys: &mut dyn System, task: Task) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    let child = sys.fork();
    equal("the child", Answer::Killed(11), sys.ask(child, task, page))?;
    equal(
        "the child, asked again",
        Answer::Killed(11),
        sys.ask(child, tasks::rdpkru, 0),
    )?;
    // The parent is as it was.
    let found = sys.read(page);
    faults(
        sys,
        "the parent's read",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn fault_blocked(sys: &mut dyn System, page: u64) -> u64 {
    if calls::set_blocked(sys, 11, true) != 0 {
        return 1;
    }
    tasks::read(sys, page)
}

/// Sets SIGSEGV's action by `rt_sigaction(2)`: 0 is `SIG_DFL`, 1 is `SIG_IGN`.
fn set_action(sys: &mut dyn System, action: u64) -> bool {
    let at = sys.scratch().start;
    let is_put = [action, 0, 0, 0]
        .into_iter()
        .zip((at..).step_by(8))
        .all(|(word, at)| bytes::put_u64(sys, at, word).is_ok());
    is_put && sys.syscall(13, [11, at, 0, 8, 0, 0]) == 0
}

fn fault_ignored(sys: &mut dyn System, page: u64) -> u64 {
    if set_action(sys, 1) {
        tasks::read(sys, page)
    } else {
        1
    }
}

fn fault_by_default(sys: &mut dyn System, page: u64) -> u64 {
    if set_action(sys, 0) {
        tasks::read(sys, page)
    } else {
        1
    }
}

fn many_faults_in_a_row(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    for offset in 0..1000 {
        let found = sys.read(page + offset);
        faults(
            sys,
            "a read",
            pkuerr(page + offset, key, err::READ_KEY),
            found,
        )?;
    }
    set_rights(sys, key, 0);
    allowed("a read with the key open", sys.read(page + 999)).map(drop)
}

fn threads_get_their_own(sys: &mut dyn System) -> Verdict {
    let thread = sys.thread();
    let Keyed { page, key } = keyed(sys)?;
    let mut signals = 0;
    let mut answer = None;
    sys.with_handler(&mut |_, _| signals += 1, &mut |sys| {
        answer = Some(sys.ask(thread, tasks::read, page));
    });
    let denied = Answer::Done(tasks::fault(4, key));
    equal("the thread's read", Some(denied), answer)?;
    equal("signals of the first thread", 0, signals)?;
    pkru(sys, "the first thread's", INIT_PKRU & !0xC)
}
