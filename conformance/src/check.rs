//! Assertions in words.
//!
//! Each compares what a rule says with what the system did, and where they differ says both so that a reader of the
//! result needs neither the source nor a table of error numbers.

use core::fmt::{Debug, Display};

use pkeys_core::siginfo::{SEGV_ACCERR, SEGV_MAPERR, SEGV_PKUERR, SI_KERNEL};

use crate::case::{Mismatch, Verdict};
use crate::system::{Raw, Signal, System};

/// PKRU at the start of a program and of a signal handler: access disabled for all keys but key 0 (Linux
/// `arch/x86/mm/pkeys.c`, `init_pkru_value`).
pub const INIT_PKRU: u32 = 0x5555_5554;

/// `REG_TRAPNO` of a page fault: its vector.
pub const PAGE_FAULT: u64 = 14;

/// Error codes of page faults of user code (SDM Vol. 3A, 4.7).
pub mod err {
    /// A read of a page that is not present.
    pub const READ_ABSENT: u64 = 0x04;
    /// A write to a page that is not present.
    pub const WRITE_ABSENT: u64 = 0x06;
    /// A write to a page that is present and read-only.
    pub const WRITE_PRESENT: u64 = 0x07;
    /// A fetch from a page that is not present.
    pub const FETCH_ABSENT: u64 = 0x14;
    /// A fetch from a page that is present and not executable.
    pub const FETCH_PRESENT: u64 = 0x15;
    /// A read of a present page that its key denies.
    pub const READ_KEY: u64 = 0x25;
    /// A write to a present page that its key denies.
    pub const WRITE_KEY: u64 = 0x27;
}

/// A mismatch.
pub fn mismatch(what: impl Display, expected: impl Display, found: impl Display) -> Mismatch {
    Mismatch {
        what: what.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Two values are the same.
///
/// # Errors
///
/// They are not.
pub fn equal<T: PartialEq + Debug>(what: impl Display, expected: T, found: T) -> Verdict {
    if expected == found {
        return Ok(());
    }
    Err(mismatch(
        what,
        format!("{expected:?}"),
        format!("{found:?}"),
    ))
}

/// Two registers are the same; in hexadecimal.
///
/// # Errors
///
/// They are not.
pub fn same_pkru(what: impl Display, expected: u32, found: u32) -> Verdict {
    if expected == found {
        return Ok(());
    }
    Err(mismatch(
        what,
        format!("PKRU {expected:#010x}"),
        format!("PKRU {found:#010x}"),
    ))
}

/// The thread's register has this value.
///
/// # Errors
///
/// It has another.
pub fn pkru(sys: &mut dyn System, what: impl Display, expected: u32) -> Verdict {
    same_pkru(what, expected, sys.rdpkru())
}

/// A call answered exactly this.
///
/// # Errors
///
/// It did not.
pub fn gives(what: impl Display, expected: Raw, found: Raw) -> Verdict {
    if expected == found {
        return Ok(());
    }
    Err(mismatch(what, answer(expected), answer(found)))
}

/// A call failed with this error number.
///
/// # Errors
///
/// It did not.
pub fn refused(what: impl Display, errno: i32, found: Raw) -> Verdict {
    gives(what, -i64::from(errno), found)
}

/// A call succeeded; its value.
///
/// # Errors
///
/// It failed.
pub fn value(what: impl Display, found: Raw) -> Result<u64, Mismatch> {
    u64::try_from(found).map_err(|_| mismatch(what, "success", answer(found)))
}

/// An access was let through; its value.
///
/// # Errors
///
/// It got a signal.
pub fn allowed<T>(what: impl Display, found: Result<T, Signal>) -> Result<T, Mismatch> {
    found.map_err(|signal| mismatch(what, "no signal", describe(&signal)))
}

/// A byte was read, and is this one.
///
/// # Errors
///
/// It got a signal, or is another.
pub fn reads(what: impl Display, expected: u8, found: Result<u8, Signal>) -> Verdict {
    match found {
        Ok(byte) if byte == expected => Ok(()),
        Ok(byte) => Err(mismatch(
            what,
            format!("{expected:#04x}"),
            format!("{byte:#04x}"),
        )),
        Err(signal) => Err(mismatch(
            what,
            format!("{expected:#04x}"),
            describe(&signal),
        )),
    }
}

/// A fault as a rule says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `si_pkey`.
    pub pkey: u64,
    /// The error code of the page fault.
    pub err: u64,
}

/// `SEGV_PKUERR`.
pub const fn pkuerr(addr: u64, pkey: u64, err: u64) -> Fault {
    Fault {
        code: SEGV_PKUERR,
        addr,
        pkey,
        err,
    }
}

/// `SEGV_ACCERR`.
pub const fn accerr(addr: u64, err: u64) -> Fault {
    Fault {
        code: SEGV_ACCERR,
        addr,
        pkey: 0,
        err,
    }
}

/// `SEGV_MAPERR`.
pub const fn maperr(addr: u64, err: u64) -> Fault {
    Fault {
        code: SEGV_MAPERR,
        addr,
        pkey: 0,
        err,
    }
}

impl Fault {
    /// What a handler is told of this fault, when it interrupts code with this PKRU.
    #[must_use]
    pub fn signal(self, pkru_in_frame: u32, is_on_altstack: bool) -> Signal {
        Signal {
            signo: 11,
            code: self.code,
            addr: self.addr,
            pkey: u32::try_from(self.pkey).unwrap_or(u32::MAX),
            err: self.err,
            trapno: PAGE_FAULT,
            cr2: self.addr,
            pkru_in_handler: INIT_PKRU,
            pkru_in_frame,
            is_on_altstack,
        }
    }
}

/// An access got exactly this fault, in all that a handler is told: signal, code, address, key, error code, trap
/// number, CR2, PKRU in the handler and in the frame, and the alternate stack that every thread starts with.
///
/// # Errors
///
/// It was let through, or got another signal.
pub fn faults<T: Debug>(
    sys: &mut dyn System,
    what: impl Display,
    expected: Fault,
    found: Result<T, Signal>,
) -> Verdict {
    let expected = expected.signal(sys.rdpkru(), true);
    signalled(what, &expected, found)
}

/// An access got exactly this signal.
///
/// # Errors
///
/// It was let through, or got another.
pub fn signalled<T: Debug>(
    what: impl Display,
    expected: &Signal,
    found: Result<T, Signal>,
) -> Verdict {
    match found {
        Err(signal) if signal == *expected => Ok(()),
        Err(signal) => Err(mismatch(what, describe(expected), describe(&signal))),
        Ok(value) => Err(mismatch(
            what,
            describe(expected),
            format!("no signal, {value:?}"),
        )),
    }
}

/// A system call's answer in words: the error's name with its number.
#[must_use]
pub fn answer(raw: Raw) -> String {
    match errno_name(-raw) {
        Some(name) => format!("{raw} ({name})"),
        None => raw.to_string(),
    }
}

/// A signal in words.
#[must_use]
pub fn describe(signal: &Signal) -> String {
    let name = match signal.signo {
        7 => "SIGBUS",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        _ => "signal",
    };
    let code = match (signal.signo, signal.code) {
        (11, SEGV_MAPERR) => "SEGV_MAPERR",
        (11, SEGV_ACCERR) => "SEGV_ACCERR",
        (11, SEGV_PKUERR) => "SEGV_PKUERR",
        (_, SI_KERNEL) => "SI_KERNEL",
        (_, -6) => "SI_TKILL",
        _ => "",
    };
    let stack = if signal.is_on_altstack {
        "on the alternate stack"
    } else {
        "on the thread's stack"
    };
    format!(
        "{name} {} {code} ({}) addr {:#x} pkey {} err {:#x} trapno {} cr2 {:#x}, PKRU {:#010x} in the handler and \
         {:#010x} in the frame, {stack}",
        signal.signo,
        signal.code,
        signal.addr,
        signal.pkey,
        signal.err,
        signal.trapno,
        signal.cr2,
        signal.pkru_in_handler,
        signal.pkru_in_frame,
    )
}

/// The name of an error number that a case may meet.
fn errno_name(errno: i64) -> Option<&'static str> {
    Some(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        4 => "EINTR",
        5 => "EIO",
        9 => "EBADF",
        10 => "ECHILD",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        22 => "EINVAL",
        24 => "EMFILE",
        28 => "ENOSPC",
        38 => "ENOSYS",
        95 => "EOPNOTSUPP",
        110 => "ETIMEDOUT",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_said_with_their_names() {
        assert_eq!(answer(0), "0");
        assert_eq!(answer(7), "7");
        assert_eq!(answer(-22), "-22 (EINVAL)");
        assert_eq!(answer(-4000), "-4000");
        let found = refused("pkey_free(1)", 22, 0).unwrap_err();
        assert_eq!(
            found.to_string(),
            "pkey_free(1): expected -22 (EINVAL), found 0"
        );
        assert_eq!(refused("pkey_free(1)", 22, -22), Ok(()));
        assert_eq!(value("mmap", 4096), Ok(4096));
        assert_eq!(value("mmap", -12).unwrap_err().found, "-12 (ENOMEM)");
    }

    #[test]
    fn a_signal_is_compared_in_every_field() {
        let expected = pkuerr(0x1234, 3, err::READ_KEY).signal(0x5555_5554, true);
        assert_eq!(signalled("read", &expected, Err::<u8, _>(expected)), Ok(()));
        let other = Signal {
            pkey: 4,
            ..expected
        };
        let found = signalled("read", &expected, Err::<u8, _>(other)).unwrap_err();
        assert!(found.expected.contains("pkey 3"), "{found}");
        assert!(found.found.contains("pkey 4"), "{found}");
        assert!(
            found.found.contains("SEGV_PKUERR (4) addr 0x1234"),
            "{found}"
        );
        let found = signalled("read", &expected, Ok(7_u8)).unwrap_err();
        assert_eq!(found.found, "no signal, 7");
    }

    #[test]
    fn bytes_and_registers_are_said_in_hexadecimal() {
        assert_eq!(reads("read", 7, Ok(7)), Ok(()));
        assert_eq!(reads("read", 7, Ok(8)).unwrap_err().found, "0x08");
        assert_eq!(
            same_pkru("rdpkru", 0x54, 0).unwrap_err().to_string(),
            "rdpkru: expected PKRU 0x00000054, found PKRU 0x00000000"
        );
    }
}
