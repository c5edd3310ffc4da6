//! Does a step on the calling thread and tells what the program sees of it.
//!
//! This is the part that runs in a peer, so it needs nothing but an [`Order`], which fits into one word, and what the
//! thread itself has. Steps about places are [`crate::worker`]'s.

use pkeys_conformance::system::{Act, Bare, Raw, System};
use pkeys_kernel::abi::nr;

use crate::all_keys::{exhaust, guarded};
use crate::arena::{Arena, NR_PAGES, PAGE, RET, RET_OFFSET, STACK_OFFSET};
use crate::calls::{fixing_flags, system_call, what_flags};
use crate::copies::{self, Pipe};
use crate::field::Field as _;
use crate::handled;
use crate::knowledge::Effect;
use crate::op::{Altstack, BareAct, Death, Fixing, Mapping, Op, Place, Remote};
use crate::tell::{done, tell_access, tell_raise, tell_result, tell_signal};
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
            Op::Futex { how, page } => {
                tell_result(seen, copies::futex(sys, how, self.arena.page(page)))
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
                let (number, args) = system_call(self.arena, order.op);
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

fn kill_myself<S: System + ?Sized>(sys: &mut S, signo: u64) -> Raw {
    let pid = sys.syscall(nr::GETPID, [0; 6]).cast_unsigned();
    sys.syscall(nr::KILL, [pid, signo, 0, 0, 0, 0])
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
