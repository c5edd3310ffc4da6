//! What peers are asked to do.
//!
//! A task takes one number and gives one. What an access came to is told as its byte, or by [`fault`] with the code and
//! the key of the signal.

use crate::calls;
use crate::case::{Mismatch, Verdict};
use crate::check::{equal, mismatch};
use crate::system::{Answer, Peer, Signal, System, Task};

/// The bit that says that a signal came; the code stands in bits 8 to 15, the key in bits 0 to 7.
const FAULT: u64 = 1 << 32;

/// An access that got SIGSEGV with this code and key.
#[must_use]
pub const fn fault(code: i32, key: u64) -> u64 {
    FAULT | (code.unsigned_abs() as u64) << 8 | key
}

fn told(outcome: Result<u8, Signal>) -> u64 {
    match outcome {
        Ok(byte) => byte.into(),
        Err(signal) => fault(signal.code, signal.pkey.into()),
    }
}

/// Its PKRU.
pub fn rdpkru(sys: &mut dyn System, _: u64) -> u64 {
    sys.rdpkru().into()
}

/// Writes its PKRU, and gives what it was.
pub fn wrpkru(sys: &mut dyn System, pkru: u64) -> u64 {
    let before = sys.rdpkru();
    sys.wrpkru(u32::try_from(pkru).unwrap_or(u32::MAX));
    before.into()
}

/// Reads a byte.
pub fn read(sys: &mut dyn System, addr: u64) -> u64 {
    told(sys.read(addr))
}

/// Writes 0x77; 0 if that went well.
pub fn write(sys: &mut dyn System, addr: u64) -> u64 {
    told(sys.write(addr, 0x77).map(|()| 0))
}

/// Calls an address; 0 if that went well.
pub fn call(sys: &mut dyn System, addr: u64) -> u64 {
    told(sys.call(addr).map(|()| 0))
}

/// Allocates a key, with these rights to it.
pub fn alloc(sys: &mut dyn System, rights: u64) -> u64 {
    calls::pkey_alloc(sys, 0, rights).cast_unsigned()
}

/// Frees a key.
pub fn free(sys: &mut dyn System, key: u64) -> u64 {
    calls::pkey_free(sys, key.cast_signed()).cast_unsigned()
}

/// How many keys it can allocate; they are freed again.
pub fn free_keys(sys: &mut dyn System, _: u64) -> u64 {
    let mut keys = Vec::new();
    loop {
        let key = calls::pkey_alloc(sys, 0, calls::DISABLE_ACCESS);
        if key < 0 || keys.len() > 16 {
            break;
        }
        keys.push(key);
    }
    let freed = keys.iter().filter(|key| calls::pkey_free(sys, **key) == 0);
    freed.count() as u64
}

/// Its answer to a task.
///
/// # Errors
///
/// Its process ended.
pub fn ask(sys: &mut dyn System, peer: Peer, task: Task, arg: u64) -> Result<u64, Mismatch> {
    match sys.ask(peer, task, arg) {
        Answer::Done(answer) => Ok(answer),
        ended => Err(mismatch(
            "a peer that was asked",
            "an answer",
            format_args!("{ended:?}"),
        )),
    }
}

/// Its answer to a task is this.
///
/// # Errors
///
/// It is not, or there is none.
pub fn tells(
    sys: &mut dyn System,
    what: &str,
    peer: Peer,
    (task, arg): (Task, u64),
    expected: u64,
) -> Verdict {
    let answer = sys.ask(peer, task, arg);
    equal(
        what,
        format!("{:x?}", Answer::Done(expected)),
        format!("{answer:x?}"),
    )
}
