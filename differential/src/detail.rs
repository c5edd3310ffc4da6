//! Steps one at a time, with all facts: the slow way, for reports and for shrinking.
//!
//! A peer answers with one number, so what it saw is kept where it ran, in a thread-local list, and fetched number by
//! number. That works the same for a thread, a child, and a child that executed the program anew; and should a process
//! die in a step, all steps before it have been told.

use core::cell::RefCell;

use pkeys_conformance::system::{Answer, Peer, System};

use crate::field::Field as _;
use crate::op::Op;
use crate::witness::{Fact, What};
use crate::worker::{Detail, Worker, act};

thread_local! {
    /// The facts of the last step on this thread.
    static NOTES: RefCell<Vec<Fact>> = const { RefCell::new(Vec::new()) };
    /// The worker of this process, if it is one.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As in a batch.
    pub summary: u64,
    /// What was seen; empty where only summaries were asked for.
    pub facts: Vec<Fact>,
}

/// Runs steps in a new child, one by one, and hands on what each gave. Ends early when the child dies, with a last step
/// that tells so, or when `on_step` answers `false`.
pub fn run<S: System + ?Sized>(
    sys: &mut S,
    ops: &[Op],
    has_facts: bool,
    on_step: &mut dyn FnMut(Step) -> bool,
) {
    let child = sys.fork();
    sys.ask(child, begin, 0);
    for op in ops {
        let (step, is_alive) = match sys.ask(child, step, op.encode()) {
            Answer::Done(summary) => {
                let facts = if has_facts {
                    fetch(sys, child)
                } else {
                    Vec::new()
                };
                (Step { summary, facts }, true)
            }
            Answer::Killed(signo) => (death(What::Killed, signo), false),
            Answer::Exited(status) => (death(What::Exited, status), false),
        };
        if !on_step(step) || !is_alive {
            break;
        }
    }
    // Its own threads and children first.
    sys.ask(child, finish, 0);
    sys.end(child);
}

fn death(what: What, number: i32) -> Step {
    let number = number.unsigned_abs().into();
    Step {
        summary: (what as u64) << 32 | number,
        facts: vec![(what, number)],
    }
}

/// Fetches a peer's facts of its last step.
pub(crate) fn fetch<S: System + ?Sized>(sys: &mut S, peer: Peer) -> Vec<Fact> {
    let mut number = |index| match sys.ask(peer, note, index) {
        Answer::Done(number) => number,
        Answer::Killed(_) | Answer::Exited(_) => 0,
    };
    let len = number(u64::MAX);
    (0..len)
        .filter_map(|index| {
            let what = What::from_bits(number(2 * index))?;
            Some((what, number(2 * index + 1)))
        })
        .collect()
}

/// A task: the number of notes, or a note's kind or value.
fn note(_: &mut dyn System, index: u64) -> u64 {
    NOTES.with_borrow(|notes| {
        if index == u64::MAX {
            return notes.len().try_into().unwrap_or(0);
        }
        let fact = usize::try_from(index / 2)
            .ok()
            .and_then(|index| notes.get(index));
        match fact {
            Some((what, _)) if index.is_multiple_of(2) => what.to_bits(),
            Some((_, value)) => *value,
            None => 0,
        }
    })
}

/// A task: does an order and keeps the facts.
pub(crate) fn act_noted(sys: &mut dyn System, word: u64) -> u64 {
    let (summary, seen) = act::<Detail>(sys, word);
    NOTES.set(seen.into_facts());
    summary
}

/// A task: makes this process a worker.
fn begin(sys: &mut dyn System, _: u64) -> u64 {
    WORKER.set(Some(Worker::new(sys)));
    0
}

/// A task: the worker does a step and keeps the facts.
fn step(sys: &mut dyn System, word: u64) -> u64 {
    // Taken out: a peer may be run on this very thread.
    let (Some(mut worker), Some(op)) = (WORKER.take(), Op::decode(word)) else {
        return 0;
    };
    let mut seen = Detail::default();
    let summary = worker.step(sys, op, &mut seen);
    NOTES.set(seen.into_facts());
    WORKER.set(Some(worker));
    summary
}

/// A task: the worker ends its peers.
fn finish(sys: &mut dyn System, _: u64) -> u64 {
    if let Some(mut worker) = WORKER.take() {
        worker.step(sys, Op::EndProgram, &mut Detail::default());
    }
    0
}
