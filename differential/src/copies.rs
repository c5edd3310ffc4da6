//! The kernel's own copies to and from the window: through pipes, and by `process_vm_*`.
//!
//! A pipe is opened when it is first needed and closed again when anything went wrong, so that no bytes are left in it
//! for a later step. What goes through it is put together in the thread's scratch memory, whose pages have key 0.

use pkeys_conformance::system::{Raw, System};
use pkeys_kernel::abi::nr;

use crate::knowledge::Effect;
use crate::op::{Futex, Offset};
use crate::tell::tell_result;
use crate::witness::{What, Witness};

/// Where in the scratch memory descriptions of buffers lie, and where bytes.
const VECTORS: u64 = 0x100;
const BYTES: u64 = 0x200;
/// Where nothing is ever written.
const ZEROS: u64 = 0x400;

const FUTEX_WAIT: u64 = 0;
const FUTEX_WAKE: u64 = 1;
const FUTEX_WAKE_OP: u64 = 5;
const FUTEX_PRIVATE_FLAG: u64 = 128;
/// `FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)`.
const ADD_ONE_WAKE_IF_WAS_ZERO: u64 = 1 << 28 | 1 << 12;

/// A pipe, if it is open.
#[derive(Debug, Default)]
pub(crate) struct Pipe(Option<Ends>);

#[derive(Debug, Clone, Copy)]
struct Ends {
    read: u64,
    write: u64,
}

impl Pipe {
    /// `write(2)` from `addr`, and what arrived.
    pub(crate) fn write_from<S: System + ?Sized, W: Witness>(
        &mut self,
        sys: &mut S,
        addr: u64,
        len: u64,
        seen: &mut W,
    ) -> Effect {
        let Some(ends) = self.open(sys, seen) else {
            return Effect::default();
        };
        let written = sys.syscall(nr::WRITE, [ends.write, addr, len, 0, 0, 0]);
        tell_result(seen, written);
        if written > 0 {
            let at = sys.scratch().start + BYTES;
            let count = written.cast_unsigned();
            let arrived = sys.syscall(nr::READ, [ends.read, at, count, 0, 0, 0]);
            tell_result(seen, arrived);
            tell_bytes(sys, at, arrived, seen);
        }
        self.close_unless(sys, written, len);
        Effect::default()
    }

    /// `read(2)` to `addr` of bytes that count up from `value`.
    pub(crate) fn read_into<S: System + ?Sized, W: Witness>(
        &mut self,
        sys: &mut S,
        addr: u64,
        len: u64,
        value: u8,
        seen: &mut W,
    ) -> Effect {
        let Some(ends) = self.open(sys, seen) else {
            return Effect::default();
        };
        let at = sys.scratch().start + BYTES;
        for (place, step) in (at..at + len).zip(0..) {
            put(sys, place, &[value.wrapping_add(step)]);
        }
        let filled = sys.syscall(nr::WRITE, [ends.write, at, len, 0, 0, 0]);
        tell_result(seen, filled);
        let read = sys.syscall(nr::READ, [ends.read, addr, len, 0, 0, 0]);
        tell_result(seen, read);
        self.close_unless(sys, read, len);
        Effect::default()
    }

    /// `vmsplice(2)` of eight bytes at `addr`.
    pub(crate) fn splice<S: System + ?Sized, W: Witness>(
        &mut self,
        sys: &mut S,
        addr: u64,
        seen: &mut W,
    ) -> Effect {
        let Some(ends) = self.open(sys, seen) else {
            return Effect::default();
        };
        let vector = sys.scratch().start + VECTORS;
        put_vector(sys, vector, addr, 8);
        let spliced = sys.syscall(nr::VMSPLICE, [ends.write, vector, 1, 0, 0, 0]);
        tell_result(seen, spliced);
        // The page itself is in the pipe now.
        self.close(sys);
        Effect::default()
    }

    /// Closes it, if it is open.
    pub(crate) fn close<S: System + ?Sized>(&mut self, sys: &mut S) {
        if let Some(ends) = self.0.take() {
            for end in [ends.read, ends.write] {
                sys.syscall(nr::CLOSE, [end, 0, 0, 0, 0, 0]);
            }
        }
    }

    fn open<S: System + ?Sized, W: Witness>(&mut self, sys: &mut S, seen: &mut W) -> Option<Ends> {
        if self.0.is_none() {
            let at = sys.scratch().start;
            let result = sys.syscall(nr::PIPE2, [at, 0, 0, 0, 0, 0]);
            if result != 0 {
                tell_result(seen, result);
                return None;
            }
            let read = descriptor(sys, at);
            let write = descriptor(sys, at + 4);
            self.0 = Some(Ends { read, write });
        }
        self.0
    }

    fn close_unless<S: System + ?Sized>(&mut self, sys: &mut S, result: Raw, len: u64) {
        if result != len.cast_signed() {
            self.close(sys);
        }
    }
}

/// `process_vm_readv(2)` of eight bytes on the calling process.
pub(crate) fn process_vm_read<S: System + ?Sized, W: Witness>(
    sys: &mut S,
    addr: u64,
    seen: &mut W,
) {
    let (args, at) = vectors(sys, addr);
    let result = sys.syscall(nr::PROCESS_VM_READV, args);
    tell_result(seen, result);
    tell_bytes(sys, at, result, seen);
}

/// `process_vm_writev(2)` of eight bytes on the calling process.
pub(crate) fn process_vm_write<S: System + ?Sized, W: Witness>(
    sys: &mut S,
    addr: u64,
    value: u8,
    seen: &mut W,
) {
    let (args, at) = vectors(sys, addr);
    put(sys, at, &[value; 8]);
    tell_result(seen, sys.syscall(nr::PROCESS_VM_WRITEV, args));
}

/// The arguments for eight bytes at `addr`, and where the local ones lie.
fn vectors<S: System + ?Sized>(sys: &mut S, addr: u64) -> ([u64; 6], u64) {
    let scratch = sys.scratch().start;
    let (local, remote, bytes) = (scratch + VECTORS, scratch + VECTORS + 16, scratch + BYTES);
    put_vector(sys, local, bytes, 8);
    put_vector(sys, remote, addr, 8);
    let pid = sys.syscall(nr::GETPID, [0; 6]).cast_unsigned();
    ([pid, local, 1, remote, 1, 0], bytes)
}

/// `futex(2)` on the word of a page, whichever number is in it.
pub(crate) fn futex<S: System + ?Sized>(sys: &mut S, how: Futex, page: u64) -> Raw {
    let word = page + Offset::Word.in_bytes();
    // Zeros, for ever: a time limit that has passed already.
    let no_time = sys.scratch().start + ZEROS;
    let (command, argument) = match how {
        Futex::Wait | Futex::WaitPrivate => (FUTEX_WAIT, no_time),
        Futex::Wake | Futex::WakePrivate => (FUTEX_WAKE, 0),
        Futex::Add | Futex::AddPrivate => (FUTEX_WAKE_OP, 1),
    };
    let private = match how {
        Futex::Wait | Futex::Wake | Futex::Add => 0,
        Futex::WaitPrivate | Futex::WakePrivate | Futex::AddPrivate => FUTEX_PRIVATE_FLAG,
    };
    let args = [
        word,
        command | private,
        1,
        argument,
        word,
        ADD_ONE_WAKE_IF_WAS_ZERO,
    ];
    sys.syscall(nr::FUTEX, args)
}

fn put_vector<S: System + ?Sized>(sys: &mut S, at: u64, base: u64, len: u64) {
    put(sys, at, &base.to_le_bytes());
    put(sys, at + 8, &len.to_le_bytes());
}

/// Puts bytes into the scratch memory, which can always be written.
fn put<S: System + ?Sized>(sys: &mut S, at: u64, bytes: &[u8]) {
    for (place, byte) in (at..).zip(bytes) {
        let _ = sys.write(place, *byte);
    }
}

fn descriptor<S: System + ?Sized>(sys: &mut S, at: u64) -> u64 {
    let bytes = [0, 1, 2, 3].map(|offset| sys.read(at + offset).unwrap_or(0xFF));
    u32::from_le_bytes(bytes).into()
}

/// Tells the bytes that a call said it has put there; at most the sixteen that any asked for.
fn tell_bytes<S: System + ?Sized, W: Witness>(sys: &mut S, at: u64, count: Raw, seen: &mut W) {
    for offset in 0..count.clamp(0, 16).cast_unsigned() {
        let byte = sys.read(at + offset).unwrap_or(0);
        seen.see(What::Byte, byte.into());
    }
}
