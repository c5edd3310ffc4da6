//! The return from a handler: PKRU comes from the frame, and from nowhere else.

use crate::calls::{DISABLE_ACCESS, PAGE};
use crate::case::{Case, Verdict};
use crate::check::{INIT_PKRU, equal, err, faults, maperr, pkru, pkuerr, reads, signalled};
use crate::fixture::{BYTE, Keyed, at, keyed, map, open_key, set_rights, tag};
use crate::system::{Act, Bare, Frame, System};

const RETURN: &str = "arch/x86/kernel/fpu/signal.c, restore_fpregs_from_user";
const BIT: &str = "SDM Vol. 1, 13.8.1 (XRSTOR of a component whose bit in XSTATE_BV is clear)";

const SIGUSR1: i32 = 10;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "sigreturn.value_comes_from_the_frame",
        "The interrupted code gets the PKRU that the handler wrote into the frame, whatever it is.",
        RETURN,
        value_comes_from_the_frame,
    ),
    Case::new(
        "sigreturn.after_a_fault",
        "The same holds when the handler steps over a fault.",
        RETURN,
        after_a_fault,
    ),
    Case::new(
        "sigreturn.without_the_bit_all_keys_open",
        "With bit 9 of XSTATE_BV clear in the frame, the interrupted code gets PKRU 0, whatever value stands there.",
        BIT,
        without_the_bit_all_keys_open,
    ),
    Case::new(
        "sigreturn.bit_and_value_set_again",
        "A value written together with the bit counts, also where the bit was cleared before.",
        RETURN,
        bit_and_value_set_again,
    ),
    Case::new(
        "sigreturn.rights_are_enforced",
        "What the frame's value denies is denied at the interrupted code's next access, and what it grants is granted.",
        RETURN,
        rights_are_enforced,
    ),
    Case::new(
        "sigreturn.stack_of_another_key",
        "Code with key 0 closed, on a stack of a key that it has open, gets its PKRU back from a handler.",
        "selftest pkey_sighandler_tests.c, test_pkru_sigreturn",
        stack_of_another_key,
    )
    .since(6, 12),
    Case::new(
        "sigreturn.key_zero_closed_by_the_frame",
        "A frame can close key 0: the return restores the alternate stack's settings before it takes effect.",
        "arch/x86/kernel/signal_64.c, rt_sigreturn (restore_altstack before restore_sigcontext)",
        key_zero_closed_by_the_frame,
    )
    .since(6, 12),
];

const PATTERNS: [u32; 7] = [
    0,
    INIT_PKRU,
    0x4545_4544,
    0xFFFF_FFF0,
    0x10,
    0xFFFF_FFFC,
    0xAAAA_AAA8,
];

/// Raises SIGUSR1 with a handler that edits the frame.
fn raise_and_edit(sys: &mut dyn System, mut edit: impl FnMut(&mut dyn Frame)) {
    sys.with_handler(&mut |_, frame| edit(frame), &mut |sys| {
        // What the handler was told does not matter here.
        let _ = sys.raise(SIGUSR1);
    });
}

fn value_comes_from_the_frame(sys: &mut dyn System) -> Verdict {
    for before in PATTERNS {
        for wanted in PATTERNS {
            sys.wrpkru(before);
            raise_and_edit(sys, |frame| frame.set_pkru(wanted));
            pkru(
                sys,
                format_args!("after the handler, {before:#010x} before"),
                wanted,
            )?;
        }
    }
    Ok(())
}

fn after_a_fault(sys: &mut dyn System) -> Verdict {
    let nothing = at(sys, 0);
    for wanted in PATTERNS {
        sys.wrpkru(0x0FF0);
        let mut found = None;
        sys.with_handler(
            &mut |_, frame| {
                frame.set_pkru(wanted);
                frame.skip();
            },
            &mut |sys| found = Some(sys.read(nothing)),
        );
        let expected = maperr(nothing, err::READ_ABSENT).signal(0x0FF0, true);
        equal("the read", Some(Err(expected)), found)?;
        pkru(sys, "after it", wanted)?;
    }
    Ok(())
}

fn without_the_bit_all_keys_open(sys: &mut dyn System) -> Verdict {
    for before in PATTERNS {
        sys.wrpkru(before);
        raise_and_edit(sys, |frame| frame.clear_pkru_in_xstate_bv());
        pkru(
            sys,
            format_args!("after the handler, {before:#010x} before"),
            0,
        )?;
    }
    sys.wrpkru(INIT_PKRU);
    raise_and_edit(sys, |frame| {
        frame.set_pkru(0xFFFF_FFF0);
        frame.clear_pkru_in_xstate_bv();
    });
    pkru(
        sys,
        "after a handler that wrote a value and cleared the bit",
        0,
    )
}

fn bit_and_value_set_again(sys: &mut dyn System) -> Verdict {
    for wanted in PATTERNS {
        sys.wrpkru(INIT_PKRU);
        raise_and_edit(sys, |frame| {
            frame.clear_pkru_in_xstate_bv();
            frame.set_pkru(wanted);
        });
        pkru(sys, "after the handler", wanted)?;
    }
    Ok(())
}

fn rights_are_enforced(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    raise_and_edit(sys, |frame| frame.set_pkru(INIT_PKRU));
    let found = sys.read(page);
    faults(
        sys,
        "a read after the frame closed the key",
        pkuerr(page, key, err::READ_KEY),
        found,
    )?;
    raise_and_edit(sys, |frame| frame.clear_pkru_in_xstate_bv());
    reads("a read after the frame opened it", BYTE, sys.read(page))?;
    set_rights(sys, key, DISABLE_ACCESS);
    let found = sys.read(page);
    faults(
        sys,
        "a read after WRPKRU",
        pkuerr(page, key, err::READ_KEY),
        found,
    )
}

fn stack_of_another_key(sys: &mut dyn System) -> Verdict {
    let stack = map(sys, 0, 16, crate::calls::RW)?;
    open_key(sys)?;
    let key = open_key(sys)?;
    for page in 0..16 {
        tag(sys, stack + page * PAGE, crate::calls::RW, key)?;
    }
    // Key 2 open, all others closed, key 0 among them.
    let pkru = 0x5555_5545;
    let outcome = sys.bare(Bare {
        pkru,
        stack: Some(stack + 16 * PAGE),
        act: Act::Raise(SIGUSR1),
    });
    equal("PKRU after SIGUSR1", pkru, outcome.pkru_after)?;
    let told = outcome.result.err().map(|signal| {
        (
            signal.signo,
            signal.pkru_in_handler,
            signal.pkru_in_frame,
            signal.is_on_altstack,
        )
    });
    equal(
        "signal and PKRU in handler and frame",
        Some((SIGUSR1, INIT_PKRU, pkru, true)),
        told,
    )
}

fn key_zero_closed_by_the_frame(sys: &mut dyn System) -> Verdict {
    let mut outcome = None;
    sys.with_handler(
        &mut |_, frame| {
            frame.set_pkru(0x5555_5555);
            frame.skip();
        },
        &mut |sys| {
            let (pkru, stack, act) = (INIT_PKRU, None, Act::Read(1));
            outcome = Some(sys.bare(Bare { pkru, stack, act }));
        },
    );
    let Some(outcome) = outcome else {
        return Err(crate::check::mismatch("the act", "an outcome", "none"));
    };
    let expected = maperr(1, err::READ_ABSENT).signal(INIT_PKRU, true);
    signalled("the read", &expected, outcome.result)?;
    equal("PKRU behind it", 0x5555_5555, outcome.pkru_after)
}
