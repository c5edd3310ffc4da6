//! Does a step on the calling thread and tells what the program sees of it.
//!
//! This is the part that runs in a peer, so it needs nothing but an [`Order`], which fits into one word, and what the
//! thread itself has. Steps about places are [`crate::worker`]'s.

use pkeys_conformance::system::{Act, Bare, Raw, Signal, System};
use pkeys_kernel::abi::nr;

use crate::arena::{Arena, NR_PAGES, PAGE, RET, RET_OFFSET, STACK_OFFSET};
use crate::copies::{self, Pipe};
use crate::field::Field as _;
use crate::handled;
use crate::knowledge::Effect;
use crate::op::{Altstack, BareAct, Death, Fixing, Mapping, Move, Op, Place, Remote};
use crate::witness::{What, Witness};

/// `SIGUSR1`.
pub(crate) const SIGUSR1: i32 = 10;
/// The two bits of key 0.
pub(crate) const KEY_ZERO: u32 = 0b11;
/// `PROT_READ | PROT_WRITE`.
pub(crate) const RW: u64 = 3;

/// Where the bits begin that an operation leaves free.
const PLACE_SHIFT: u32 = 60;
const GUARDED: u64 = 1 << 63;

/// A step as a thread is told to do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// What.
    pub(crate) op: Op,
    /// Where the thread stands.
    pub(crate) place: Place,
    /// The careful way: a call plants its RET first; a system call that may close key 0 is made as a bare act.
    pub(crate) is_guarded: bool,
}

impl Order {
    /// The order as one word.
    #[must_use]
    pub(crate) fn encode(self) -> u64 {
        let guarded = if self.is_guarded { GUARDED } else { 0 };
        self.op.encode() | self.place.to_bits() << PLACE_SHIFT | guarded
    }

    /// The order of a word.
    #[must_use]
    pub(crate) fn decode(word: u64) -> Option<Self> {
        Some(Self {
            op: Op::decode(word & ((1 << PLACE_SHIFT) - 1))?,
            place: Place::from_bits((word & !GUARDED) >> PLACE_SHIFT)?,
            is_guarded: word & GUARDED != 0,
        })
    }
}

/// What a thread has for its steps.
#[derive(Debug)]
pub(crate) struct Actor {
    arena: Arena,
    pipe: Pipe,
}

impl Actor {
    /// For the calling thread.
    pub(crate) fn new<S: System + ?Sized>(sys: &S) -> Self {
        Self {
            arena: Arena::new(&sys.arena()),
            pipe: Pipe::default(),
        }
    }

    /// Gives back what the thread has: for one that does a single step only.
    pub(crate) fn finish<S: System + ?Sized>(&mut self, sys: &mut S) {
        self.pipe.close(sys);
    }

    /// Does a step.
    pub(crate) fn act<S: System + ?Sized, W: Witness>(
        &mut self,
        sys: &mut S,
        order: Order,
        seen: &mut W,
    ) -> Effect {
        match order.op {
            Op::Read { page, offset } => {
                let read = sys.read(self.arena.page(page) + offset.in_bytes());
                tell_access(seen, read.map(Some))
            }
            Op::Write {
                page,
                offset,
                value,
            } => {
                let written = sys.write(self.arena.page(page) + offset.in_bytes(), value);
                tell_access(seen, written.map(|()| None))
            }
            Op::Call { page } => self.call(sys, page, order.is_guarded, seen),
            Op::Wrpkru { pkru } => {
                sys.wrpkru(pkru & !KEY_ZERO);
                done(seen)
            }
            Op::SetRights { key, rights } => {
                let shift = u32::from(key & 15) * 2;
                let others = sys.rdpkru() & !(0b11 << shift);
                let pkru = others | u32::from(rights & 3) << shift;
                sys.wrpkru(pkru & !KEY_ZERO);
                seen.see(What::Pkru, others.into());
                Effect::default()
            }
            Op::Rdpkru => {
                seen.see(What::Pkru, sys.rdpkru().into());
                Effect::default()
            }
            Op::Xrstor => {
                sys.xrstor_initial_pkru();
                seen.see(What::Pkru, sys.rdpkru().into());
                Effect::default()
            }
            Op::Raise => tell_raise(seen, sys.raise(SIGUSR1)),
            Op::Bare {
                act,
                page,
                pkru,
                stack,
            } => self.bare(sys, act, page, pkru, stack, seen),
            Op::Handled {
                act,
                page,
                edit,
                pkru,
                way,
                inside,
            } => {
                let plan = handled::Plan {
                    edit,
                    pkru,
                    way,
                    inside,
                };
                handled::run(sys, act, self.arena.page(page), plan, seen)
            }
            Op::PkeyExhaust { freed } => exhaust(sys, freed, seen),
            Op::PipeWrite {
                page,
                offset,
                length,
            } => {
                let addr = self.arena.page(page) + offset.in_bytes();
                self.pipe.write_from(sys, addr, length.in_bytes(), seen)
            }
            Op::PipeRead {
                page,
                offset,
                length,
                value,
            } => {
                let addr = self.arena.page(page) + offset.in_bytes();
                self.pipe
                    .read_into(sys, addr, length.in_bytes(), value, seen)
            }
            Op::Vmsplice { page } => self.pipe.splice(sys, self.arena.page(page), seen),
            Op::Remotely { how, page, value } => self.remotely(sys, how, page, value, seen),
            Op::Smaps { page } => {
                match sys.smaps(self.arena.page(page)) {
                    Some((prot, key)) => {
                        seen.see(What::MappingProt, prot.into());
                        seen.see(What::MappingKey, key.map_or(u64::MAX, u64::from));
                    }
                    None => seen.see(What::NoMapping, 0),
                }
                Effect::default()
            }
            Op::SetAltstack { stack, key } => self.set_altstack(sys, order.place, stack, key, seen),
            Op::Die { how } => {
                let result = match how {
                    Death::Exit => sys.syscall(nr::EXIT_GROUP, [7, 0, 0, 0, 0, 0]),
                    Death::Kill => kill_myself(sys, 9),
                    Death::Term => kill_myself(sys, 15),
                };
                tell_result(seen, result)
            }
            Op::Mmap { .. }
            | Op::Munmap { .. }
            | Op::Mprotect { .. }
            | Op::PkeyMprotect { .. }
            | Op::PkeyAlloc { .. }
            | Op::PkeyFree { .. }
            | Op::Mremap { .. }
            | Op::Madvise { .. }
            | Op::Mseal { .. }
            | Op::Bad { .. } => {
                let (number, args) = self.syscall(order.op);
                let result = if order.is_guarded {
                    guarded(sys, number, args, seen)
                } else {
                    sys.syscall(number, args)
                };
                let mut effect = tell_result(seen, result);
                effect.has_key_zero = number == nr::PKEY_ALLOC && result == 0;
                effect
            }
            Op::Start { .. } | Op::Switch { .. } | Op::End { .. } | Op::EndProgram => {
                seen.see(What::Skipped, 0);
                Effect::default()
            }
        }
    }

    /// The system call that a step is.
    fn syscall(&self, op: Op) -> (u64, [u64; 6]) {
        let at = |page: u8| self.arena.page(page);
        let len = |nr: u8| u64::from(nr) * PAGE;
        let key = |key: i8| i64::from(key).cast_unsigned();
        let (number, [a, b, c, d]) = match op {
            Op::Mmap {
                page,
                nr,
                prot,
                what,
                fixing,
            } => {
                let flags = what_flags(what) | fixing_flags(fixing);
                let args = [at(page), len(nr), prot.into(), flags, u64::MAX, 0];
                return (nr::MMAP, args);
            }
            Op::Mremap { page, to, how } => {
                let (new_len, flags) = match how {
                    Move::One => (1, 3),
                    Move::Growing => (2, 3),
                    Move::Leaving => (1, 7),
                    Move::InPlace => (2, 0),
                };
                return (nr::MREMAP, [at(page), PAGE, len(new_len), flags, at(to), 0]);
            }
            Op::Bad { defect, page } => return defect.call(at(page)),
            Op::Munmap { page, nr } => (nr::MUNMAP, [at(page), len(nr), 0, 0]),
            Op::Mprotect { page, nr, prot } => (nr::MPROTECT, [at(page), len(nr), prot.into(), 0]),
            Op::PkeyMprotect {
                page,
                nr,
                prot,
                key: pkey,
            } => (
                nr::PKEY_MPROTECT,
                [at(page), len(nr), prot.into(), key(pkey)],
            ),
            Op::PkeyAlloc { rights } => (nr::PKEY_ALLOC, [0, rights.into(), 0, 0]),
            Op::PkeyFree { key: pkey } => (nr::PKEY_FREE, [key(pkey), 0, 0, 0]),
            Op::Madvise { page, nr, advice } => {
                (nr::MADVISE, [at(page), len(nr), advice_number(advice), 0])
            }
            Op::Mseal { page, nr } => (nr::MSEAL, [at(page), len(nr), 0, 0]),
            // No other step is asked for.
            _ => (nr::GETPID, [0; 4]),
        };
        (number, [a, b, c, d, 0, 0])
    }

    fn call<S: System + ?Sized, W: Witness>(
        &self,
        sys: &mut S,
        page: u8,
        is_guarded: bool,
        seen: &mut W,
    ) -> Effect {
        let addr = self.arena.page(page) + RET_OFFSET;
        if is_guarded && let Err(signal) = sys.write(addr, RET) {
            tell_signal(seen, &signal);
            return Effect::default();
        }
        let called = sys.call(addr);
        tell_access(seen, called.map(|()| None));
        Effect {
            is_done: is_guarded,
            has_key_zero: false,
        }
    }

    fn bare<S: System + ?Sized, W: Witness>(
        &self,
        sys: &mut S,
        act: BareAct,
        page: u8,
        pkru: u32,
        stack: u8,
        seen: &mut W,
    ) -> Effect {
        let addr = self.arena.page(page);
        let stack = (stack < NR_PAGES).then(|| self.arena.page(stack) + STACK_OFFSET);
        let act = match act {
            BareAct::Read => Act::Read(addr),
            BareAct::Write => Act::Write(addr, 0x5A),
            BareAct::Call => Act::Call(addr + RET_OFFSET),
            BareAct::Raise => Act::Raise(SIGUSR1),
            BareAct::PkeyAlloc => Act::Syscall(nr::PKEY_ALLOC, [0; 6]),
            BareAct::PkeyFree => Act::Syscall(nr::PKEY_FREE, [1, 0, 0, 0, 0, 0]),
            BareAct::Mprotect => Act::Syscall(nr::MPROTECT, [addr, PAGE, RW, 0, 0, 0]),
        };
        let outcome = sys.bare(Bare { pkru, stack, act });
        let mut effect = match outcome.result {
            Ok(result) => tell_result(seen, result),
            Err(signal) => {
                tell_signal(seen, &signal);
                Effect::default()
            }
        };
        seen.see(What::PkruAfter, outcome.pkru_after.into());
        let is_alloc = matches!(act, Act::Syscall(nr::PKEY_ALLOC, _));
        effect.has_key_zero = is_alloc && outcome.result == Ok(0);
        effect
    }

    fn remotely<S: System + ?Sized, W: Witness>(
        &self,
        sys: &mut S,
        how: Remote,
        page: u8,
        value: u8,
        seen: &mut W,
    ) -> Effect {
        let addr = self.arena.page(page);
        let tell = |seen: &mut W, result: Result<Option<u8>, i32>| match result {
            Ok(Some(byte)) => seen.see(What::Byte, byte.into()),
            Ok(None) => seen.see(What::Done, 0),
            Err(errno) => seen.see(What::Errno, errno.unsigned_abs().into()),
        };
        match how {
            Remote::ProcessVmRead => copies::process_vm_read(sys, addr, seen),
            Remote::ProcessVmWrite => copies::process_vm_write(sys, addr, value, seen),
            Remote::ProcMemRead => tell(seen, sys.proc_mem_read(addr).map(Some)),
            Remote::ProcMemWrite => {
                tell(seen, sys.proc_mem_write(addr, value).map(|()| None));
            }
        }
        Effect::default()
    }

    fn set_altstack<S: System + ?Sized, W: Witness>(
        &self,
        sys: &mut S,
        place: Place,
        stack: Altstack,
        key: i8,
        seen: &mut W,
    ) -> Effect {
        let range = self.arena.altstack(place);
        let len = range.end - range.start;
        if stack == Altstack::Off {
            return tell_result(seen, sys.set_altstack(None));
        }
        let flags = what_flags(Mapping::Private) | fixing_flags(Fixing::Fixed);
        let map = [range.start, len, RW, flags, u64::MAX, 0];
        let mapped = sys.syscall(nr::MMAP, map);
        tell_result(seen, mapped);
        let key = i64::from(key).cast_unsigned();
        let (number, args) = match stack {
            Altstack::Writable | Altstack::Off => {
                (nr::PKEY_MPROTECT, [range.start, len, RW, key, 0, 0])
            }
            Altstack::ReadOnly => (nr::MPROTECT, [range.start, len, 1, 0, 0, 0]),
            Altstack::Unmapped => (nr::MUNMAP, [range.start, len, 0, 0, 0, 0]),
        };
        let changed = sys.syscall(number, args);
        tell_result(seen, changed);
        tell_result(seen, sys.set_altstack(Some(range)))
    }
}

/// A system call that may close key 0: the register is seen, and key 0 is open again before anything else is touched.
fn guarded<S: System + ?Sized, W: Witness>(
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

fn exhaust<S: System + ?Sized, W: Witness>(sys: &mut S, freed: u8, seen: &mut W) -> Effect {
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

fn kill_myself<S: System + ?Sized>(sys: &mut S, signo: u64) -> Raw {
    let pid = sys.syscall(nr::GETPID, [0; 6]).cast_unsigned();
    sys.syscall(nr::KILL, [pid, signo, 0, 0, 0, 0])
}

const fn what_flags(what: Mapping) -> u64 {
    match what {
        Mapping::Private => 0x22,
        Mapping::Shared => 0x21,
        Mapping::Populated => 0x8022,
    }
}

const fn fixing_flags(fixing: Fixing) -> u64 {
    match fixing {
        Fixing::Fixed => 0x10,
        Fixing::NoReplace => 0x10_0000,
    }
}

const fn advice_number(advice: crate::op::Advice) -> u64 {
    use crate::op::Advice;
    match advice {
        Advice::Normal => 0,
        Advice::WillNeed => 3,
        Advice::DontNeed => 4,
        Advice::PopulateRead => 22,
        Advice::PopulateWrite => 23,
    }
}

fn done<W: Witness>(seen: &mut W) -> Effect {
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

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::generate::{Rules, batch};
    use crate::op::Place;

    #[test]
    fn an_order_survives_its_encoding() {
        for op in batch(5, 0, Rules::ALL) {
            for place in Place::ALL {
                for is_guarded in [false, true] {
                    let order = Order {
                        op,
                        place: *place,
                        is_guarded,
                    };
                    assert_eq!(Order::decode(order.encode()), Some(order));
                }
            }
        }
    }
}
