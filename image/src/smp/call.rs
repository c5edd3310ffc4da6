//! Functions that other CPUs are made to call: how a TLB on another CPU is made to forget.
//!
//! One call at a time. Who waits for its turn, or for the others, answers calls itself meanwhile: interrupts may be kept out
//! at both, and neither would come to an end otherwise.

use core::hint;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::apic::{self, Command};
use super::online;
use crate::cpu::{interrupts, per_cpu};
use crate::slot::Slot;
use crate::trap::interrupt::CALL;

/// What is called: a function of two numbers.
pub(crate) type Function = fn(u64, u64);

static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static FUNCTION: Slot<Function> = Slot::empty();
static ARGUMENTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The CPUs that have not answered, a bit each.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Calls a function on all CPUs, this one included, and returns when all have done so.
///
/// Not while a spin lock is held: another CPU may wait for it with interrupts kept out and never answer.
pub(crate) fn on_all(function: Function, arguments: [u64; 2]) {
    interrupts::without(|| {
        let others = online() & !(1 << per_cpu::id());
        if others != 0 {
            on_others(others, function, arguments);
        }
        function(arguments[0], arguments[1]);
    });
}

/// Interrupts are kept out.
fn on_others(others: u64, function: Function, arguments: [u64; 2]) {
    assert!(
        per_cpu::this().irq_depth.get() == 1,
        "a call to other CPUs with a lock held"
    );
    while IS_TAKEN.swap(true, Acquire) {
        answer();
        hint::spin_loop();
    }
    FUNCTION.set(Some(function));
    for (to, from) in ARGUMENTS.iter().zip(arguments) {
        to.store(from, Relaxed);
    }
    WAITING.store(others, Release);
    apic::send_to_others(Command::Interrupt(CALL));
    while WAITING.load(Acquire) != 0 {
        hint::spin_loop();
    }
    IS_TAKEN.store(false, Release);
}

/// Calls what another CPU has left for this one, if anything. Interrupts are kept out.
pub(crate) fn answer() {
    let me = 1 << per_cpu::id();
    if WAITING.load(Acquire) & me == 0 {
        return;
    }
    let [first, second] = &ARGUMENTS;
    if let Some(function) = FUNCTION.get() {
        function(first.load(Relaxed), second.load(Relaxed));
    }
    WAITING.fetch_and(!me, AcqRel);
}
