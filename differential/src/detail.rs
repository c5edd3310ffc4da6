//! What each step of some steps gives, one by one: for reports, and for shrinking.
//!
//! The steps run exactly as in a batch, in one go in a new child, since a kernel that forgets to flush a TLB shows it only
//! as long as nothing else runs in between. The child finds them where the root has put them before the fork, and keeps
//! what they gave; then the root fetches it, number by number, as a peer answers with one number. Should the child die,
//! what it kept is gone with it, and it all is done again step by step, so that everything before the death is told.

use core::cell::RefCell;

use pkeys_conformance::system::{Answer, Peer, System, Task};

use crate::field::Field as _;
use crate::op::Op;
use crate::witness::{Fact, Hash, What};
use crate::worker::{Detail, Observer, Worker, act};

thread_local! {
    /// What a child is to do.
    static OPS: RefCell<Vec<Op>> = const { RefCell::new(Vec::new()) };
    /// What came of it.
    static LOG: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    /// What this thread's last order gave.
    static LAST: RefCell<Option<Step>> = const { RefCell::new(None) };
    /// The worker that goes step by step.
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

/// Runs steps in a new child and hands on what each gave. Ends early when the child dies, with a last step that tells so, or
/// when `on_step` answers `false`.
pub fn run<S: System + ?Sized>(
    sys: &mut S,
    ops: &[Op],
    has_facts: bool,
    on_step: &mut dyn FnMut(Step) -> bool,
) {
    OPS.set(ops.to_vec());
    LOG.take();
    let child = sys.fork();
    let task: Task = if has_facts { all_noted } else { all_hashed };
    let is_told = match sys.ask(child, task, 0) {
        Answer::Done(_) => {
            (0..ops.len()).all(|place| on_step(fetch_step(sys, child, place, has_facts)));
            true
        }
        Answer::Killed(_) | Answer::Exited(_) => false,
    };
    sys.end(child);
    if !is_told {
        step_by_step(sys, ops, has_facts, on_step);
    }
}

/// The steps that were done on this thread before it broke down. Only a machine breaks down without ending the thread.
#[must_use]
pub fn before_breaking_down() -> Vec<Step> {
    LOG.take()
}

fn step_by_step<S: System + ?Sized>(
    sys: &mut S,
    ops: &[Op],
    has_facts: bool,
    on_step: &mut dyn FnMut(Step) -> bool,
) {
    let child = sys.fork();
    sys.ask(child, begin, 0);
    for op in ops {
        let (step, is_alive) = match sys.ask(child, step, op.encode()) {
            Answer::Done(_) => (fetch_step(sys, child, 0, has_facts), true),
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

// A question to `note`: what it is about in the lowest eight bits, then the place of the step, then that of the fact.
const SUMMARY: u64 = 0;
const NR_FACTS: u64 = 1;
const WHAT: u64 = 2;
const VALUE: u64 = 3;
const PLACE_SHIFT: u32 = 8;
const FACT_SHIFT: u32 = 40;

fn question(about: u64, place: usize, fact: u64) -> u64 {
    about | (place as u64) << PLACE_SHIFT | fact << FACT_SHIFT
}

/// A task: a number out of the log; 0 where there is none.
fn note(_: &mut dyn System, question: u64) -> u64 {
    let index = |bits: u64| usize::try_from(bits).ok();
    let place = index(question >> PLACE_SHIFT & ((1 << (FACT_SHIFT - PLACE_SHIFT)) - 1));
    let fact = index(question >> FACT_SHIFT);
    LOG.with_borrow(|log| {
        let step = log.get(place?)?;
        let fact = fact.and_then(|fact| step.facts.get(fact));
        match question & 0xFF {
            SUMMARY => Some(step.summary),
            NR_FACTS => u64::try_from(step.facts.len()).ok(),
            WHAT => Some(fact?.0.to_bits()),
            VALUE => Some(fact?.1),
            _ => None,
        }
    })
    .unwrap_or(0)
}

fn fetch_step<S: System + ?Sized>(sys: &mut S, peer: Peer, place: usize, has_facts: bool) -> Step {
    let mut number = |about, fact| match sys.ask(peer, note, question(about, place, fact)) {
        Answer::Done(number) => number,
        Answer::Killed(_) | Answer::Exited(_) => 0,
    };
    let summary = number(SUMMARY, 0);
    let nr_facts = if has_facts { number(NR_FACTS, 0) } else { 0 };
    let facts = (0..nr_facts).filter_map(|fact| {
        let what = What::from_bits(number(WHAT, fact))?;
        Some((what, number(VALUE, fact)))
    });
    Step {
        summary,
        facts: facts.collect(),
    }
}

/// Fetches the facts of a peer's last step.
pub(crate) fn fetch<S: System + ?Sized>(sys: &mut S, peer: Peer) -> Vec<Fact> {
    // A peer's log may be its asker's own, where all is one thread.
    let own = LOG.take();
    sys.ask(peer, recall, 0);
    let step = fetch_step(sys, peer, 0, true);
    sys.ask(peer, forget, 0);
    LOG.set(own);
    step.facts
}

/// A task: makes what the last order gave the log.
fn recall(_: &mut dyn System, _: u64) -> u64 {
    LOG.set(LAST.take().into_iter().collect());
    0
}

/// A task: empties the log.
fn forget(_: &mut dyn System, _: u64) -> u64 {
    LOG.take();
    0
}

/// A task: does an order and keeps the facts.
pub(crate) fn act_noted(sys: &mut dyn System, word: u64) -> u64 {
    let (summary, seen) = act::<Detail>(sys, word);
    let facts = seen.into_facts();
    LAST.set(Some(Step { summary, facts }));
    summary
}

/// A task: does all steps, with their summaries only.
fn all_hashed(sys: &mut dyn System, _: u64) -> u64 {
    all::<Hash>(sys, |_| Vec::new())
}

/// A task: does all steps, and keeps the facts.
fn all_noted(sys: &mut dyn System, _: u64) -> u64 {
    all::<Detail>(sys, Detail::into_facts)
}

fn all<O: Observer>(sys: &mut dyn System, facts: impl Fn(O) -> Vec<Fact>) -> u64 {
    let mut worker = Worker::new(sys);
    for op in OPS.take() {
        let mut seen = O::default();
        let summary = worker.step(sys, op, &mut seen);
        let facts = facts(seen);
        LOG.with_borrow_mut(|log| log.push(Step { summary, facts }));
    }
    worker.finish(sys);
    0
}

/// A task: makes this process a worker that goes step by step.
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
    let facts = seen.into_facts();
    LOG.set(vec![Step { summary, facts }]);
    WORKER.set(Some(worker));
    summary
}

/// A task: the worker ends its peers.
fn finish(sys: &mut dyn System, _: u64) -> u64 {
    if let Some(mut worker) = WORKER.take() {
        worker.finish(sys);
    }
    0
}
