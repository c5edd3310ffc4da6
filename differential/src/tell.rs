//! What a program sees, as facts.

use pkeys_conformance::system::{Raw, Signal};

use crate::knowledge::Effect;
use crate::witness::{What, Witness};

/// Tells that something was done that gives nothing.
pub(crate) fn done<W: Witness>(seen: &mut W) -> Effect {
    seen.see(What::Done, 0);
    Effect::default()
}

/// Tells a system call's answer.
pub(crate) fn tell_result<W: Witness>(seen: &mut W, result: Raw) -> Effect {
    seen.see(What::Result, result.cast_unsigned());
    Effect {
        is_done: result >= 0,
        has_key_zero: false,
    }
}

/// Tells what came of an access; `None` where it gives nothing.
pub(crate) fn tell_access<W: Witness>(seen: &mut W, result: Result<Option<u8>, Signal>) -> Effect {
    match result {
        Ok(Some(byte)) => seen.see(What::Byte, byte.into()),
        Ok(None) => seen.see(What::Done, 0),
        Err(signal) => tell_signal(seen, &signal),
    }
    Effect {
        is_done: result.is_ok(),
        has_key_zero: false,
    }
}

/// Tells what came of a signal to oneself.
pub(crate) fn tell_raise<W: Witness>(seen: &mut W, result: Result<Signal, i32>) -> Effect {
    match result {
        Ok(signal) => tell_signal(seen, &signal),
        Err(errno) => seen.see(What::Errno, errno.unsigned_abs().into()),
    }
    Effect::default()
}

/// Tells what a handler was told.
pub(crate) fn tell_signal<W: Witness>(seen: &mut W, signal: &Signal) {
    seen.see(What::Signo, signal.signo.unsigned_abs().into());
    seen.see(What::Code, i64::from(signal.code).cast_unsigned());
    seen.see(What::Addr, signal.addr);
    seen.see(What::Pkey, signal.pkey.into());
    seen.see(What::Err, signal.err);
    seen.see(What::Trapno, signal.trapno);
    seen.see(What::Cr2, signal.cr2);
    seen.see(What::PkruInHandler, signal.pkru_in_handler.into());
    seen.see(What::PkruInFrame, signal.pkru_in_frame.into());
    seen.see(What::OnAltstack, signal.is_on_altstack.into());
}
