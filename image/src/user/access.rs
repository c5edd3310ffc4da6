//! The kernel's accesses to a program's memory: with the program's PKRU in effect, and with SMAP suspended for as long as
//! they take.
//!
//! Page tables and keys decide; what they do not let through ends the access, and nothing else. Addresses of the kernel's half
//! are refused beforehand, since the kernel itself could touch them.

#![allow(
    unsafe_code,
    reason = "copies from and to user memory, and changes words of it"
)]

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pkeys_kernel::memory::layout::is_user_range;

use crate::cpu::registers::{allow_user_access, forbid_user_access};
use crate::trap::fixup::{Fault, try_copy, try_exchange};

/// Whether the CPUs have SMAP.
static HAS_SMAP: AtomicBool = AtomicBool::new(false);

/// Says whether the CPUs have SMAP.
pub(crate) fn start(has_smap: bool) {
    HAS_SMAP.store(has_smap, Relaxed);
}

/// Why an access stopped, and how many bytes were not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Some of it is not a program's.
    OutOfRange,
    /// A fault.
    Fault { rest: usize, fault: Fault },
}

fn check(addr: u64, len: usize) -> Result<(), Stopped> {
    if is_user_range(addr, len as u64) {
        Ok(())
    } else {
        Err(Stopped::OutOfRange)
    }
}

/// Makes an access, with SMAP suspended.
fn without_smap<R>(access: impl FnOnce() -> R) -> R {
    let has_smap = HAS_SMAP.load(Relaxed);
    if has_smap {
        allow_user_access();
    }
    let result = access();
    if has_smap {
        forbid_user_access();
    }
    result
}

/// Copies.
///
/// # Safety
///
/// 1. As [`try_copy`].
unsafe fn copy(to: u64, from: u64, len: usize) -> Result<(), Stopped> {
    // SAFETY: the caller answers for it (1).
    let copied = without_smap(|| unsafe { try_copy(to, from, len) });
    copied.map_err(|(rest, fault)| Stopped::Fault { rest, fault })
}

/// Reads a program's memory, in the address space that is loaded.
///
/// # Errors
///
/// [`Stopped`]; the bytes before the fault are there.
pub(crate) fn read(addr: u64, into: &mut [u8]) -> Result<(), Stopped> {
    check(addr, into.len())?;
    // SAFETY: (1) writes the buffer.
    unsafe { copy(into.as_mut_ptr().addr() as u64, addr, into.len()) }
}

/// Writes a program's memory.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn write(addr: u64, bytes: &[u8]) -> Result<(), Stopped> {
    check(addr, bytes.len())?;
    // SAFETY: (1) the range was checked: a program's memory, on which the kernel does not rely.
    unsafe { copy(addr, bytes.as_ptr().addr() as u64, bytes.len()) }
}

/// Replaces an aligned word of a program's memory, if it is as expected, in one step. Gives what it was.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn exchange(addr: u64, expected: u32, new: u32) -> Result<u32, Stopped> {
    let rest = size_of::<u32>();
    check(addr, rest)?;
    // SAFETY: (1) as in `write`.
    let found = without_smap(|| unsafe { try_exchange(addr, expected, new) });
    found.map_err(|fault| Stopped::Fault { rest, fault })
}
