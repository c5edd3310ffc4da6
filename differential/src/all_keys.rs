//! Calls about all keys, and calls about key 0, on which the program stands.

use pkeys_conformance::system::{Act, Bare, Raw, System};
use pkeys_kernel::abi::nr;

use crate::act::KEY_ZERO;
use crate::knowledge::Effect;
use crate::tell::{tell_result, tell_signal};
use crate::witness::{What, Witness};

/// A system call that may close key 0: the register is seen, and key 0 is open again before anything else is touched.
pub(crate) fn guarded<S: System + ?Sized, W: Witness>(
    sys: &mut S,
    number: u64,
    args: [u64; 6],
    seen: &mut W,
) -> Raw {
    let bare = Bare {
        pkru: sys.rdpkru(),
        stack: None,
        act: Act::Syscall(number, args),
    };
    let outcome = sys.bare(bare);
    seen.see(What::PkruAfter, outcome.pkru_after.into());
    sys.wrpkru(outcome.pkru_after & !KEY_ZERO);
    match outcome.result {
        Ok(result) => result,
        Err(signal) => {
            tell_signal(seen, &signal);
            -1
        }
    }
}

/// Allocates all keys and frees some of them.
pub(crate) fn exhaust<S: System + ?Sized, W: Witness>(
    sys: &mut S,
    freed: u8,
    seen: &mut W,
) -> Effect {
    let keys = take_all_keys(sys, seen);
    let mut left = freed;
    for key in (1..16_u64).rev() {
        if keys & 1 << key != 0 && left > 0 {
            left -= 1;
            tell_result(seen, sys.syscall(nr::PKEY_FREE, [key, 0, 0, 0, 0, 0]));
        }
    }
    Effect {
        is_done: true,
        has_key_zero: keys & 1 != 0,
    }
}

/// Allocates keys until there are no more, and tells which, and what the last answer was. A bit for each key.
pub(crate) fn take_all_keys<S: System + ?Sized, W: Witness>(sys: &mut S, seen: &mut W) -> u64 {
    let mut keys = 0_u64;
    // One more than there are, should a kernel give them twice.
    for _ in 0..=16 {
        let result = sys.syscall(nr::PKEY_ALLOC, [0; 6]);
        if !(0..16).contains(&result) {
            seen.see(What::Result, result.cast_unsigned());
            break;
        }
        keys |= 1 << result;
    }
    seen.see(What::Result, keys);
    keys
}
