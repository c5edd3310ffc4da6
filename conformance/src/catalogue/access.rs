//! What PKRU lets through: reads, writes and calls, on pages that are present, absent, or of another protection.

use crate::calls::{self, DISABLE_ACCESS, DISABLE_WRITE, PAGE, RW, RX};
use crate::case::{Case, Verdict};
use crate::check;
use crate::check::{INIT_PKRU, allowed, err, faults, pkuerr, reads, signalled};
use crate::fixture::{
    BYTE, Keyed, at, code, keyed, keyed_absent, map, open_key, set_rights, tag, touched,
    with_rights,
};
use crate::system::{Act, Bare, System};

const SDM: &str = "SDM Vol. 3A, 4.6.2";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "access.read_with_write_disabled",
        "With write-disable, reads are let through.",
        "selftest protection_keys.c, test_read_of_write_disabled_region",
        |sys| with(sys, Page::Present, DISABLE_WRITE, Kind::Read),
    ),
    Case::new(
        "access.read_with_access_disabled",
        "With access-disable, a read of a page that was never touched is SEGV_PKUERR.",
        "selftest protection_keys.c, test_read_of_access_disabled_region",
        |sys| with(sys, Page::Absent, DISABLE_ACCESS, Kind::Read),
    ),
    Case::new(
        "access.read_with_access_disabled_present",
        "With access-disable, a read of a present page is SEGV_PKUERR, with the key's bit in the error code.",
        "selftest protection_keys.c, test_read_of_access_disabled_region_with_page_already_mapped",
        |sys| with(sys, Page::Present, DISABLE_ACCESS, Kind::Read),
    ),
    Case::new(
        "access.write_with_write_disabled",
        "With write-disable, a write to a page that was never touched is SEGV_PKUERR.",
        "selftest protection_keys.c, test_write_of_write_disabled_region",
        |sys| with(sys, Page::Absent, DISABLE_WRITE, Kind::Write),
    ),
    Case::new(
        "access.write_with_write_disabled_present",
        "With write-disable, a write to a present page is SEGV_PKUERR, with the key's bit in the error code.",
        "selftest protection_keys.c, test_write_of_write_disabled_region_with_page_already_mapped",
        |sys| with(sys, Page::Present, DISABLE_WRITE, Kind::Write),
    ),
    Case::new(
        "access.write_with_access_disabled",
        "With access-disable, a write to a page that was never touched is SEGV_PKUERR.",
        "selftest protection_keys.c, test_write_of_access_disabled_region",
        |sys| with(sys, Page::Absent, DISABLE_ACCESS, Kind::Write),
    ),
    Case::new(
        "access.write_with_access_disabled_present",
        "With access-disable, a write to a present page is SEGV_PKUERR, with the key's bit in the error code.",
        "selftest protection_keys.c, test_write_of_access_disabled_region_with_page_already_mapped",
        |sys| with(sys, Page::Present, DISABLE_ACCESS, Kind::Write),
    ),
    Case::new(
        "access.both_bits",
        "Access-disable with write-disable denies what access-disable denies.",
        SDM,
        |sys| {
            for kind in [Kind::Read, Kind::Write] {
                with(sys, Page::Absent, DISABLE_ACCESS | DISABLE_WRITE, kind)?;
                with(sys, Page::Present, DISABLE_ACCESS | DISABLE_WRITE, kind)?;
            }
            Ok(())
        },
    ),
    Case::new(
        "access.open_key",
        "With neither bit, reads and writes are let through, on pages present and absent.",
        SDM,
        |sys| {
            for kind in [Kind::Read, Kind::Write] {
                with(sys, Page::Absent, 0, kind)?;
                with(sys, Page::Present, 0, kind)?;
            }
            Ok(())
        },
    ),
    Case::new(
        "access.fetch_is_never_checked",
        "Code on a page whose key denies everything runs, and cannot be read.",
        "selftest protection_keys.c, test_executing_on_unreadable_memory",
        fetch_is_never_checked,
    ),
    Case::new(
        "access.every_key_and_every_rights",
        "Each key's two bits govern its own pages, for all 15 keys at once and all 4 rights of each.",
        SDM,
        every_key_and_every_rights,
    ),
    Case::new(
        "access.register_alone_decides",
        "Opening and closing in PKRU takes effect at once, without a system call and a thousand times over.",
        "SDM Vol. 2, WRPKRU",
        register_alone_decides,
    ),
    Case::new(
        "access.key_zero_without_write",
        "Key 0 is a key: with write-disable, writes to its pages are SEGV_PKUERR with si_pkey 0, and reads go through.",
        "arch/x86/kernel/signal.c, sig_prepare_pkru",
        key_zero_without_write,
    )
    .since(6, 12),
    Case::new(
        "access.key_zero_closed",
        "With access-disable for key 0, reads of its pages are SEGV_PKUERR with si_pkey 0.",
        "arch/x86/kernel/signal.c, sig_prepare_pkru",
        key_zero_closed,
    )
    .since(6, 12),
    Case::new(
        "access.call_pushes_to_the_stack",
        "A call on a stack whose key denies writes faults in the push, at the stack's address.",
        "SDM Vol. 2, CALL; SDM Vol. 3A, 4.6.2",
        call_pushes_to_the_stack,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Absent,
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// One access to a page of a key of its own, with these rights to it.
fn with(sys: &mut dyn System, state: Page, rights: u64, kind: Kind) -> Verdict {
    let Keyed { page, key } = match state {
        Page::Absent => keyed_absent(sys)?,
        Page::Present => keyed(sys)?,
    };
    set_rights(sys, key, rights);
    let what = format!("{kind:?} of a page that is {state:?}, with rights {rights}");
    let denied = match kind {
        Kind::Read => DISABLE_ACCESS,
        Kind::Write => DISABLE_ACCESS | DISABLE_WRITE,
    };
    let found = match kind {
        Kind::Read => sys.read(page),
        Kind::Write => sys.write(page, 1).map(|()| 1),
    };
    if rights & denied == 0 {
        let byte = match (kind, state) {
            (Kind::Write, _) => 1,
            (Kind::Read, Page::Present) => BYTE,
            (Kind::Read, Page::Absent) => 0,
        };
        return reads(what, byte, found);
    }
    let code = match (state, kind) {
        (Page::Absent, Kind::Read) => err::READ_ABSENT,
        (Page::Absent, Kind::Write) => err::WRITE_ABSENT,
        (Page::Present, Kind::Read) => err::READ_KEY,
        (Page::Present, Kind::Write) => err::WRITE_KEY,
    };
    faults(sys, &what, pkuerr(page, key, code), found)?;
    // Nothing came of it.
    set_rights(sys, key, 0);
    let byte = if state == Page::Present { BYTE } else { 0 };
    reads(format_args!("the page after {what}"), byte, sys.read(page))
}

fn fetch_is_never_checked(sys: &mut dyn System) -> Verdict {
    let page = code(sys, 0, RX)?;
    let key = open_key(sys)?;
    tag(sys, page, RX, key)?;
    for rights in 0..4 {
        set_rights(sys, key, rights);
        allowed(format_args!("a call with rights {rights}"), sys.call(page))?;
    }
    let found = sys.read(page);
    faults(sys, "a read", pkuerr(page, key, err::READ_KEY), found)
}

fn every_key_and_every_rights(sys: &mut dyn System) -> Verdict {
    for key in 1..=15 {
        let page = touched(sys, key)?;
        check::gives(
            "pkey_alloc",
            key.cast_signed(),
            calls::pkey_alloc(sys, 0, 0),
        )?;
        tag(sys, page, RW, key)?;
    }
    for own in 0..4 {
        for others in [0, DISABLE_ACCESS, DISABLE_WRITE] {
            for key in 1..=15 {
                let all = (1..=15).fold(0, |pkru, key| with_rights(pkru, key, others));
                sys.wrpkru(with_rights(all, key, own));
                let page = at(sys, key);
                let what = format!("key {key} with rights {own}, all others with {others}");
                let (read, write) = (sys.read(page), sys.write(page, BYTE));
                if own & DISABLE_ACCESS == 0 {
                    reads(&what, BYTE, read)?;
                } else {
                    faults(sys, &what, pkuerr(page, key, err::READ_KEY), read)?;
                }
                if own == 0 {
                    allowed(&what, write)?;
                } else {
                    faults(sys, &what, pkuerr(page, key, err::WRITE_KEY), write)?;
                }
            }
        }
    }
    Ok(())
}

fn register_alone_decides(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    for turn in 0..1000 {
        set_rights(sys, key, 0);
        allowed("a write with the key open", sys.write(page, BYTE))?;
        set_rights(sys, key, DISABLE_WRITE);
        reads("a read with write-disable", BYTE, sys.read(page))?;
        let found = sys.write(page, 1);
        let what = format!("a write with write-disable, turn {turn}");
        faults(sys, what, pkuerr(page, key, err::WRITE_KEY), found)?;
    }
    Ok(())
}

/// One act with this register.
fn bare(sys: &mut dyn System, pkru: u32, act: Act) -> Result<i64, crate::system::Signal> {
    let stack = None;
    sys.bare(Bare { pkru, stack, act }).result
}

fn key_zero_without_write(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    let pkru = INIT_PKRU | 2;
    let found = bare(sys, pkru, Act::Read(page));
    check::equal("a read", Ok(BYTE.into()), found)?;
    let found = bare(sys, pkru, Act::Write(page, 1));
    let expected = pkuerr(page, 0, err::WRITE_KEY).signal(pkru, true);
    signalled("a write", &expected, found)?;
    reads("a read of what was not written", BYTE, sys.read(page))
}

fn key_zero_closed(sys: &mut dyn System) -> Verdict {
    let page = touched(sys, 0)?;
    let absent = map(sys, 1, 1, RW)?;
    let pkru = 0x5555_5555;
    for (addr, read, write) in [
        (page, err::READ_KEY, err::WRITE_KEY),
        (absent, err::READ_ABSENT, err::WRITE_ABSENT),
    ] {
        let found = bare(sys, pkru, Act::Read(addr));
        signalled("a read", &pkuerr(addr, 0, read).signal(pkru, true), found)?;
        let found = bare(sys, pkru, Act::Write(addr, 1));
        signalled("a write", &pkuerr(addr, 0, write).signal(pkru, true), found)?;
    }
    Ok(())
}

fn call_pushes_to_the_stack(sys: &mut dyn System) -> Verdict {
    let Keyed { page, key } = keyed(sys)?;
    let target = code(sys, 1, RX)?;
    let top = page + PAGE;
    let call = |sys: &mut dyn System, pkru| {
        let (stack, act) = (Some(top), Act::Call(target));
        sys.bare(Bare { pkru, stack, act }).result
    };
    check::equal("a call on a stack of an open key", Ok(0), call(sys, 0))?;
    for rights in [DISABLE_ACCESS, DISABLE_WRITE] {
        let pkru = with_rights(INIT_PKRU, key, rights);
        let found = call(sys, pkru);
        let expected = pkuerr(top - 8, key, err::WRITE_KEY).signal(pkru, true);
        signalled(
            format_args!("a call with rights {rights} to the stack"),
            &expected,
            found,
        )?;
    }
    Ok(())
}
