//! Softirqs: work that an interrupt leaves for later.
//!
//! Each is a bit of this CPU's word and a function. They run at the end of the outermost handler of an interrupt, with
//! interrupts let in, in a context of their own: what an interrupt was pardoned ends before they begin.

use crate::cpu::pkrs::ThisCpu;
use crate::cpu::{interrupts, per_cpu};
use crate::slot::Slot;
use pkeys_kernel::pks::{self, Context, PksCpu};

/// How many kinds there are.
const KINDS: usize = 4;

static FUNCTIONS: [Slot<fn()>; KINDS] = [const { Slot::empty() }; KINDS];

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Softirq(usize);

impl Softirq {
    /// The kind that cases use.
    pub(crate) const CASE: Self = Self(0);
    /// Another one, which runs after it.
    pub(crate) const CASE_AFTER: Self = Self(1);

    /// Prints what fault handlers have left to be told.
    pub(crate) const TELL: Self = Self(2);

    /// Sets what it does.
    pub(crate) fn set(self, function: fn()) {
        FUNCTIONS[self.0 % KINDS].set(Some(function));
    }

    /// Has it run on this CPU, when the handler that runs now is done. Called by handlers.
    pub(crate) fn raise(self) {
        let cpu = per_cpu::this();
        cpu.softirqs.set(cpu.softirqs.get() | 1 << self.0);
    }
}

/// Runs what waits on this CPU. Called with interrupts kept out.
pub(super) fn run() {
    let cpu = per_cpu::this();
    while cpu.softirqs.get() != 0 {
        let kind = cpu.softirqs.get().trailing_zeros();
        cpu.softirqs.set(cpu.softirqs.get() & !(1 << kind));
        let Some(function) = FUNCTIONS[kind as usize % KINDS].get() else {
            continue;
        };
        let handler = ThisCpu;
        let interrupted = handler.current();
        let own = Context::new();
        pks::enter(&handler, &own);
        interrupts::enable();
        function();
        interrupts::disable();
        pks::leave(&handler, interrupted);
    }
}
