//! What the gates make of PKRU: which of its bits are the guard's, and what these are where every guarded key is closed.
//!
//! Written once, before the program's first instruction. Closed means write-disable: everybody may read.
#![allow(unsafe_code, reason = "WRPKRU")]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pkeys_arch::Pku;
use pkeys_core::{AccessBits, KeyRegister, Pkey};

use crate::gate::mprotect;

/// The bits that are the guard's: both of each of its keys.
pub(crate) static OWN: AtomicU32 = AtomicU32::new(0);

/// The guard's bits with every guarded key closed.
pub(crate) static CLOSED: AtomicU32 = AtomicU32::new(0);

/// Both bits of the shadow stacks' key: outside gates at least one is set. Which one depends on who has closed it, as a signal handler
/// starts with access-disable.
pub(crate) static SHADOW: AtomicU32 = AtomicU32::new(0);

/// Whether there are keys at all.
static HAS_KEYS: AtomicBool = AtomicBool::new(false);

/// Both bits of a key.
pub(crate) fn mask(pkey: Pkey) -> u32 {
    KeyRegister::mask(pkey)
}

/// The bits of a key that is closed.
pub(crate) fn closed(pkey: Pkey) -> u32 {
    KeyRegister::from_bits(0)
        .with(pkey, AccessBits::DISABLE_WRITE)
        .bits()
}

/// Adds a key to the guard's.
pub(crate) fn add(pkey: Pkey) {
    OWN.fetch_or(mask(pkey), Relaxed);
    CLOSED.fetch_or(closed(pkey), Relaxed);
    HAS_KEYS.store(true, Relaxed);
}

/// Whether the gates work with keys.
pub(crate) fn has_keys() -> bool {
    HAS_KEYS.load(Relaxed)
}

/// The calling thread's register; `None` without keys.
pub(crate) fn read() -> Option<KeyRegister> {
    // SAFETY: there are keys of the guard's only where the probe has succeeded (1).
    has_keys().then(|| unsafe { Pku::assume() }.read())
}

/// Sets the guard's bits of the calling thread's register, and no others. Nothing without keys.
pub(crate) fn set(bits: u32) {
    let Some(now) = read() else { return };
    let own = OWN.load(Relaxed);
    let register = KeyRegister::from_bits(now.bits() & !own | bits & own);
    if register == now {
        return;
    }
    // SAFETY: as in `read` (1).
    let pku = unsafe { Pku::assume() };
    // SAFETY: key 0 is none of the guard's (1), others keep their bits (2).
    unsafe { pku.write(register) };
}

/// Closes every guarded key on the calling thread.
pub(crate) fn close_all() {
    set(CLOSED.load(Relaxed));
}

/// Runs `body` with every guarded key readable: a signal handler starts with keys that deny reading, too.
pub(crate) fn readable<R>(body: impl FnOnce() -> R) -> R {
    let before = read();
    close_all();
    let result = body();
    if let Some(before) = before {
        set(before.bits());
    }
    result
}

/// Runs `body` with a key open that may be closed on this thread, as in the allocator when a program frees a library's block.
///
/// The library itself allocates and frees with its key open: one RDPKRU tells so.
#[inline]
pub(crate) fn opened<R>(pkey: Option<Pkey>, body: impl FnOnce() -> R) -> R {
    let Some(pkey) = pkey else {
        return mprotect::opened(body);
    };
    // SAFETY: a guarded library has a key only where the probe has succeeded (1).
    let before = unsafe { Pku::assume() }.read();
    if before.bits() & mask(pkey) == 0 {
        return body();
    }
    with_key(pkey, before, body)
}

#[cold]
#[inline(never)]
fn with_key<R>(pkey: Pkey, before: KeyRegister, body: impl FnOnce() -> R) -> R {
    set(before.with(pkey, AccessBits::UNRESTRICTED).bits());
    let result = body();
    set(before.bits());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_two_bits_and_closed_is_the_upper() {
        for pkey in (0..16).filter_map(Pkey::new) {
            assert_eq!(mask(pkey), 0b11 << (2 * pkey.get()));
            assert_eq!(closed(pkey), 0b10 << (2 * pkey.get()));
        }
    }
}
