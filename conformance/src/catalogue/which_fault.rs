//! Which fault it is when several reasons apply, and what `siginfo_t` says of it.

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, NONE, PAGE, R};
use crate::case::{Case, Verdict};
use crate::check;
use crate::check::{accerr, err, faults, maperr, pkuerr};
use crate::fixture::{Keyed, keyed, keyed_absent, map, set_rights, tag};
use crate::system::System;

const CODE: &str = "arch/x86/mm/fault.c, bad_area_access_from_pkeys";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "which_fault.fetch_without_permission",
        "A fetch from a page that is not executable is SEGV_ACCERR, whatever its key denies.",
        CODE,
        fetch_without_permission,
    ),
    Case::new(
        "which_fault.si_addr_is_the_byte",
        "si_addr and CR2 are the byte that was accessed, not its page.",
        "arch/x86/mm/fault.c, __bad_area_nosemaphore",
        si_addr_is_the_byte,
    ),
    Case::new(
        "which_fault.key_beats_prot_none",
        "A closed key on a PROT_NONE page is SEGV_PKUERR; an open one SEGV_ACCERR.",
        CODE,
        key_beats_prot_none,
    ),
    Case::new(
        "which_fault.key_beats_read_only",
        "A write to a read-only page is SEGV_PKUERR where the key denies it and SEGV_ACCERR where not, present or absent.",
        CODE,
        key_beats_read_only,
    ),
    Case::new(
        "which_fault.write_disabled_read_of_prot_none",
        "A key that denies writes only does not make the read of a PROT_NONE page SEGV_PKUERR.",
        CODE,
        write_disabled_read_of_prot_none,
    ),
    Case::new(
        "which_fault.nothing_mapped",
        "Where nothing is mapped there is no key: SEGV_MAPERR, whatever PKRU says.",
        "arch/x86/mm/fault.c, do_user_addr_fault",
        nothing_mapped,
    ),
    Case::new(
        "which_fault.not_canonical",
        "An address that is not canonical is SI_KERNEL without an address, whatever PKRU says.",
        "arch/x86/kernel/traps.c, exc_general_protection",
        not_canonical,
    ),
];

fn fetch_without_permission(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let nothing = map(sys, 1, 1, NONE)?;
    tag(sys, nothing, NONE, key)?;
    for rights in 0..4 {
        set_rights(sys, key, rights);
        let found = sys.call(page);
        faults(
            sys,
            "a call of data",
            accerr(page, err::FETCH_PRESENT),
            found,
        )?;
        let found = sys.call(nothing);
        let fault = accerr(nothing, err::FETCH_ABSENT);
        faults(sys, "a call of a PROT_NONE page", fault, found)?;
    }
    Ok(())
}

fn si_addr_is_the_byte(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    for offset in [0, 1, 63, 0x7FF, PAGE - 1] {
        let found = sys.read(page + offset);
        faults(
            sys,
            "a read",
            pkuerr(page + offset, key, err::READ_KEY),
            found,
        )?;
        let found = sys.write(page + offset, 0);
        faults(
            sys,
            "a write",
            pkuerr(page + offset, key, err::WRITE_KEY),
            found,
        )?;
    }
    Ok(())
}

fn key_beats_prot_none(sys: &mut dyn System) -> Verdict {
    // Touched and then closed: the page exists, and the processor finds it absent all the same.
    for is_touched in [false, true] {
        let Keyed { page, key } = if is_touched {
            keyed(sys)?
        } else {
            keyed_absent(sys)?
        };
        tag(sys, page, NONE, key)?;
        for (rights, kind) in [(0, "open"), (DISABLE_ACCESS, "closed")] {
            set_rights(sys, key, rights);
            let expected = |code| {
                if rights == 0 {
                    accerr(page, code)
                } else {
                    pkuerr(page, key, code)
                }
            };
            let found = sys.read(page);
            let what = format!("a read with the key {kind}");
            faults(sys, what, expected(err::READ_ABSENT), found)?;
            let found = sys.write(page, 1);
            let what = format!("a write with the key {kind}");
            faults(sys, what, expected(err::WRITE_ABSENT), found)?;
        }
    }
    Ok(())
}

fn key_beats_read_only(sys: &mut dyn System) -> Verdict {
    for (is_present, denied, plain) in [
        (true, err::WRITE_KEY, err::WRITE_PRESENT),
        (false, err::WRITE_ABSENT, err::WRITE_ABSENT),
    ] {
        let Keyed { page, key } = if is_present {
            keyed(sys)?
        } else {
            keyed_absent(sys)?
        };
        tag(sys, page, R, key)?;
        for rights in [0, DISABLE_ACCESS, DISABLE_WRITE] {
            set_rights(sys, key, rights);
            let expected = if rights == 0 {
                accerr(page, plain)
            } else {
                pkuerr(page, key, denied)
            };
            let found = sys.write(page, 1);
            faults(
                sys,
                format_args!("a write with rights {rights}"),
                expected,
                found,
            )?;
        }
    }
    Ok(())
}

fn write_disabled_read_of_prot_none(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    tag(sys, page, NONE, key)?;
    set_rights(sys, key, DISABLE_WRITE);
    let found = sys.read(page);
    faults(sys, "a read", accerr(page, err::READ_ABSENT), found)?;
    let found = sys.write(page, 1);
    faults(sys, "a write", pkuerr(page, key, err::WRITE_ABSENT), found)
}

fn nothing_mapped(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    set_rights(sys, key, DISABLE_ACCESS);
    check::gives("munmap", 0, calls::munmap(sys, page, PAGE))?;
    for addr in [page, 0, 1, PAGE - 1] {
        let found = sys.read(addr);
        faults(sys, "a read", maperr(addr, err::READ_ABSENT), found)?;
        let found = sys.write(addr, 1);
        faults(sys, "a write", maperr(addr, err::WRITE_ABSENT), found)?;
        let found = sys.call(addr);
        faults(sys, "a call", maperr(addr, err::FETCH_ABSENT), found)?;
    }
    Ok(())
}

fn not_canonical(sys: &mut dyn System) -> Verdict {
    sys.wrpkru(!3);
    let found = match sys.read(0x8000_0000_0000_0000) {
        Err(signal) => signal,
        Ok(byte) => return Err(check::mismatch("a read", "a signal", byte)),
    };
    check::equal("signal, code, address and key", (11, 0x80, 0, 0), {
        (found.signo, found.code, found.addr, found.pkey)
    })
}
