//! Functions that other CPUs are made to call: how a TLB on another CPU is made to forget.
//!
//! One call at a time. Who makes one has interrupts kept out and may hold spin locks, such as the one of the page tables that
//! it has changed; another CPU may wait for that very lock, with interrupts kept out, and never take the interrupt. So
//! whoever waits with interrupts kept out, for its turn to call or for a spin lock ([`crate::sync`]), answers calls
//! meanwhile. A CPU that does neither comes to the end of what it does, lets interrupts in and answers then. Since a
//! function may be called in the midst of the wait for any lock, it takes none.

use core::hint;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::apic::Command;
use super::online;
use crate::cpu::{interrupts, per_cpu};
use crate::slot::Slot;
use crate::trap::interrupt::CALL;

/// What is called: a function of three numbers that takes no lock.
pub(crate) type Function = fn([u64; 3]);

static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static FUNCTION: Slot<Function> = Slot::empty();
static ARGUMENTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
/// The CPUs that have not answered, a bit each.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Calls a function on all CPUs, this one included, and returns when all have done so.
pub(crate) fn on_all(function: Function, arguments: [u64; 3]) {
    interrupts::without(|| {
        on_others(online(), function, arguments);
        function(arguments);
    });
}

/// Calls a function on the other CPUs of a set, a bit each, and returns when all have done so.
pub(crate) fn on_others(cpus: u64, function: Function, arguments: [u64; 3]) {
    interrupts::without(|| {
        let others = cpus & online() & !(1 << per_cpu::id());
        if others != 0 {
            call(others, function, arguments);
        }
    });
}

/// Interrupts are kept out.
fn call(others: u64, function: Function, arguments: [u64; 3]) {
    while IS_TAKEN.swap(true, Acquire) {
        answer();
        hint::spin_loop();
    }
    FUNCTION.set(Some(function));
    for (to, from) in ARGUMENTS.iter().zip(arguments) {
        to.store(from, Relaxed);
    }
    WAITING.store(others, Release);
    for cpu in (0..64).filter(|cpu| others & 1 << cpu != 0) {
        super::send(cpu, Command::Interrupt(CALL));
    }
    while WAITING.load(Acquire) != 0 {
        hint::spin_loop();
    }
    IS_TAKEN.store(false, Release);
}

/// Calls what another CPU has left for this one, if anything. Interrupts are kept out.
#[inline]
pub(crate) fn answer() {
    if WAITING.load(Relaxed) != 0 {
        answer_call();
    }
}

fn answer_call() {
    let me = 1 << per_cpu::id();
    if WAITING.load(Acquire) & me == 0 {
        return;
    }
    if let Some(function) = FUNCTION.get() {
        function(ARGUMENTS.each_ref().map(|argument| argument.load(Relaxed)));
    }
    WAITING.fetch_and(!me, AcqRel);
}
