//! A process that runs steps: where its threads and children are, and what each step becomes where it stands.
//!
//! A worker is a child of its own for each batch of programs, so that a batch starts from nothing, whatever the ones
//! before left. Within a batch a process's execute-only key stays: what is carried over is a part of the test, and equal on
//! both sides.
//!
//! Every decision here depends on the steps and on what earlier ones answered, never on the side.

use pkeys_conformance::system::{Answer, Peer, System, Task};

use crate::act::{Actor, Order};
use crate::all_keys::take_all_keys;
use crate::arena::{Arena, NR_PAGES};
use crate::knowledge::{Effect, Knowledge};
use crate::op::{Altstack, BareAct, HandledAct, Offset, Op, Place};
use crate::tell::tell_result;
use crate::witness::{Fact, Facts, Hash, What, Witness};
use pkeys_kernel::abi::nr;

/// A witness that also hears peers.
pub trait Observer: Witness + Default {
    /// What a peer runs for a step: it takes an `Order`, and answers as [`Observer::summary`].
    const TASK: Task;

    /// Fetches what a peer saw beyond its answer.
    fn fetch<S: System + ?Sized>(&mut self, sys: &mut S, peer: Peer);

    /// What was seen in one number, with the effect in its two lowest bits.
    fn summary(&self, effect: Effect) -> u64;
}

fn summary(hash: Hash, effect: Effect) -> u64 {
    hash.value() & !3 | effect.bits()
}

impl Observer for Hash {
    const TASK: Task = act_hashed;

    fn fetch<S: System + ?Sized>(&mut self, _: &mut S, _: Peer) {}

    fn summary(&self, effect: Effect) -> u64 {
        summary(*self, effect)
    }
}

/// Facts for a report: hashed like [`struct@Hash`] does, with those of peers among them.
#[derive(Debug, Default)]
pub struct Detail {
    own: Facts,
    all: Vec<Fact>,
}

impl Detail {
    /// Everything, in order.
    #[must_use]
    pub fn into_facts(self) -> Vec<Fact> {
        self.all
    }
}

impl Witness for Detail {
    fn see(&mut self, what: What, value: u64) {
        self.own.see(what, value);
        if what != What::Peer {
            self.all.push((what, value));
        }
    }
}

impl Observer for Detail {
    const TASK: Task = crate::detail::act_noted;

    fn fetch<S: System + ?Sized>(&mut self, sys: &mut S, peer: Peer) {
        self.all.extend(crate::detail::fetch(sys, peer));
    }

    fn summary(&self, effect: Effect) -> u64 {
        summary(self.own.hash(), effect)
    }
}

/// What a peer runs for a step when only hashes are wanted.
fn act_hashed(sys: &mut dyn System, word: u64) -> u64 {
    act::<Hash>(sys, word).0
}

/// Does one order and forgets. Gives the summary, and the witness.
pub(crate) fn act<O: Observer>(sys: &mut dyn System, word: u64) -> (u64, O) {
    let mut seen = O::default();
    let Some(order) = Order::decode(word) else {
        seen.see(What::Skipped, word);
        return (seen.summary(Effect::default()), seen);
    };
    let mut actor = Actor::new(sys);
    let effect = actor.act(sys, order, &mut seen);
    actor.finish(sys);
    (seen.summary(effect), seen)
}

/// Who is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Somebody {
    peer: Peer,
    /// It has another alternate stack than it began with.
    has_own_altstack: bool,
}

/// A process that runs steps.
#[derive(Debug)]
pub struct Worker {
    arena: Arena,
    actor: Actor,
    start_pkru: u32,
    /// Who is at each place but the first.
    others: [Option<Somebody>; 5],
    /// What is known of the worker's own process, the forked child and the program that it executed.
    own: Knowledge,
    child: Knowledge,
    exec: Knowledge,
    current: Place,
    has_altstacks: bool,
}

impl Worker {
    /// In a process whose window is empty.
    pub fn new<S: System + ?Sized>(sys: &mut S) -> Self {
        Self {
            arena: Arena::new(&sys.arena()),
            actor: Actor::new(sys),
            start_pkru: sys.rdpkru(),
            others: [None; 5],
            own: Knowledge::EMPTY,
            child: Knowledge::EMPTY,
            exec: Knowledge::EMPTY,
            current: Place::Main,
            has_altstacks: false,
        }
    }

    /// Does a step. What is seen goes to the observer; the summary is the answer.
    pub fn step<S: System + ?Sized, O: Observer>(
        &mut self,
        sys: &mut S,
        op: Op,
        seen: &mut O,
    ) -> u64 {
        let effect = match op {
            Op::Start { place } => self.start(sys, place, seen),
            Op::Switch { place } => {
                if place == Place::Main || self.others[place as usize].is_some() {
                    self.current = place;
                    seen.see(What::Done, place as u64);
                } else {
                    seen.see(What::Skipped, 0);
                }
                Effect::default()
            }
            Op::End { place } => {
                self.end(sys, place, seen);
                Effect::default()
            }
            Op::EndProgram => {
                self.end_program(sys, seen);
                Effect::default()
            }
            _ => match self.resolve(op) {
                Some(order) => self.obey(sys, order, seen),
                None => {
                    seen.see(What::Skipped, 0);
                    Effect::default()
                }
            },
        };
        seen.summary(effect)
    }

    /// Ends all peers.
    pub fn finish<S: System + ?Sized>(&mut self, sys: &mut S) {
        for place in Place::ALL {
            if let Some(somebody) = self.others[*place as usize].take() {
                sys.end(somebody.peer);
            }
        }
        self.current = Place::Main;
    }

    /// What a step becomes where it stands; `None` if nothing.
    fn resolve(&self, op: Op) -> Option<Order> {
        let place = self.current;
        let known = self.known(place);
        let has_own_altstack =
            self.others[place as usize].is_some_and(|somebody| somebody.has_own_altstack);
        let op = match op {
            Op::Mseal { .. } | Op::Die { .. } if !place.is_child() => return None,
            Op::SetAltstack { stack, .. } => {
                let is_survived = matches!(stack, Altstack::Writable | Altstack::Off);
                if !(place.is_child() || place.is_thread() && is_survived) {
                    return None;
                }
                op
            }
            Op::Bare {
                act,
                page,
                pkru,
                stack,
            } => {
                // A frame on a stack in the window would leave bytes there that no two kernels agree on.
                let stack = if has_own_altstack { NR_PAGES } else { stack };
                let may_call = stack < NR_PAGES && known.may_call(page);
                let act = if act == BareAct::Call && !may_call {
                    BareAct::Read
                } else {
                    act
                };
                Op::Bare {
                    act,
                    page,
                    pkru,
                    stack,
                }
            }
            Op::Handled { act, page, .. } if has_own_altstack => plain(act, page),
            Op::Handled {
                act: HandledAct::Call,
                page,
                edit,
                pkru,
                way,
                inside,
            } if !known.may_call(page) => {
                let act = HandledAct::Read;
                Op::Handled {
                    act,
                    page,
                    edit,
                    pkru,
                    way,
                    inside,
                }
            }
            _ => op,
        };
        let is_guarded = match op {
            Op::Call { page } => !known.may_call(page),
            _ => known.may_close_key_zero(op),
        };
        Some(Order {
            op,
            place,
            is_guarded,
        })
    }

    /// Has an order done at its place.
    fn obey<S: System + ?Sized, O: Observer>(
        &mut self,
        sys: &mut S,
        order: Order,
        seen: &mut O,
    ) -> Effect {
        let place = order.place;
        let effect = match self.others[place as usize] {
            None => Some(self.actor.act(sys, order, seen)),
            Some(somebody) => self.ask(sys, place, somebody.peer, order, seen),
        };
        let Some(effect) = effect else {
            return Effect::default();
        };
        self.known_mut(place).learn(order.op, effect);
        if let (Op::SetAltstack { .. }, Some(somebody)) =
            (order.op, &mut self.others[place as usize])
        {
            somebody.has_own_altstack = true;
            self.has_altstacks = true;
        }
        effect
    }

    /// Has it done by a peer; `None` if the peer is no more.
    fn ask<S: System + ?Sized, O: Observer>(
        &mut self,
        sys: &mut S,
        place: Place,
        peer: Peer,
        order: Order,
        seen: &mut O,
    ) -> Option<Effect> {
        match sys.ask(peer, O::TASK, order.encode()) {
            Answer::Done(summary) => {
                seen.fetch(sys, peer);
                seen.see(What::Peer, summary);
                return Some(Effect::from_bits(summary));
            }
            Answer::Killed(signo) => seen.see(What::Killed, signo.unsigned_abs().into()),
            Answer::Exited(status) => seen.see(What::Exited, status.unsigned_abs().into()),
        }
        sys.end(peer);
        self.others[place as usize] = None;
        self.current = Place::Main;
        None
    }

    fn start<S: System + ?Sized, O: Observer>(
        &mut self,
        sys: &mut S,
        place: Place,
        seen: &mut O,
    ) -> Effect {
        if place == Place::Main || self.others[place as usize].is_some() {
            seen.see(What::Skipped, 0);
            return Effect::default();
        }
        let peer = match place {
            Place::Child => {
                self.child = self.own;
                sys.fork()
            }
            Place::Exec => {
                self.exec = Knowledge::EMPTY;
                sys.fork_and_exec()
            }
            Place::Main | Place::ThreadA | Place::ThreadB => sys.thread(),
        };
        self.others[place as usize] = Some(Somebody {
            peer,
            has_own_altstack: false,
        });
        let order = Order {
            op: Op::Rdpkru,
            place,
            is_guarded: false,
        };
        self.ask(sys, place, peer, order, seen).unwrap_or_default()
    }

    fn end<S: System + ?Sized, W: Witness>(&mut self, sys: &mut S, place: Place, seen: &mut W) {
        let Some(somebody) = self.others[place as usize].take() else {
            seen.see(What::Skipped, 0);
            return;
        };
        sys.end(somebody.peer);
        if self.current == place {
            self.current = Place::Main;
        }
        seen.see(What::Done, 0);
    }

    fn end_program<S: System + ?Sized, W: Witness>(&mut self, sys: &mut S, seen: &mut W) {
        self.finish(sys);
        let all = self.arena.everything();
        let stacks = self.has_altstacks.then(|| self.arena.altstacks());
        for range in [Some(all), stacks].into_iter().flatten() {
            let len = range.end - range.start;
            tell_result(
                seen,
                sys.syscall(nr::MUNMAP, [range.start, len, 0, 0, 0, 0]),
            );
        }
        self.has_altstacks = false;
        seen.see(What::Pkru, sys.rdpkru().into());
        // With all keys open, allocating one without restrictions leaves the register alone.
        sys.wrpkru(0);
        let taken = take_all_keys(sys, seen);
        seen.see(What::Result, free_all_keys(sys));
        seen.see(What::Pkru, sys.rdpkru().into());
        sys.wrpkru(self.start_pkru);
        self.own.forget_pages();
        self.own.learn(
            Op::PkeyExhaust { freed: 0 },
            Effect {
                is_done: true,
                has_key_zero: taken & 1 != 0,
            },
        );
    }

    fn known(&self, place: Place) -> &Knowledge {
        match place {
            Place::Main | Place::ThreadA | Place::ThreadB => &self.own,
            Place::Child => &self.child,
            Place::Exec => &self.exec,
        }
    }

    fn known_mut(&mut self, place: Place) -> &mut Knowledge {
        match place {
            Place::Main | Place::ThreadA | Place::ThreadB => &mut self.own,
            Place::Child => &mut self.child,
            Place::Exec => &mut self.exec,
        }
    }
}

/// Frees every key but 0, and gives those that this could be done with, a bit each.
fn free_all_keys<S: System + ?Sized>(sys: &mut S) -> u64 {
    let mut freed = 0;
    for key in 1..16_u64 {
        if sys.syscall(nr::PKEY_FREE, [key, 0, 0, 0, 0, 0]) == 0 {
            freed |= 1 << key;
        }
    }
    freed
}

/// The act without a handler of its own.
const fn plain(act: HandledAct, page: u8) -> Op {
    match act {
        HandledAct::Read => Op::Read {
            page,
            offset: Offset::First,
        },
        HandledAct::Write => Op::Write {
            page,
            offset: Offset::First,
            value: 0xA5,
        },
        HandledAct::Call => Op::Call { page },
        HandledAct::Raise => Op::Raise,
    }
}
