//! PKRS on one CPU, and the cache that saves writing it.
//!
//! WRMSR costs a hundred cycles and more, and most of the time the register has the value already: two threads without
//! grants have the same one, and so has an exception in a thread without grants. So each CPU remembers what it wrote last,
//! and [`load`] compares first.
//!
//! The cache can be wrong for a moment, and interrupts come at every moment. Suppose the new value went into the cache
//! first: an interrupt before the WRMSR finds the cache closed, skips its own write and runs with the register open.
//! Suppose the register went first: the mirrored mistake. NMIs come with interrupts disabled too. So there are three
//! steps: the cache becomes [`INVALID`], which equals no value; the register is written; the cache gets the value. An
//! interrupt in between finds the cache unlike anything, writes what it needs, and writes again when it leaves.
//!
//! Each access goes to the CPU that executes at that moment. A thread that is preempted between two of the steps and
//! goes on elsewhere finds its value loaded there; the CPU that it left has an invalid cache, or one that is true again.
//!
//! Source: SDM Vol. 3A, 4.6.2 (PKRS), Vol. 4 (`IA32_PKRS`, 6E1H).

use pkeys_core::KeyRegister;

use super::Context;
use crate::mutant::{self, Mutant};

/// What the cache holds while the register is being written: no value of the register, which has 32 bits.
pub const INVALID: u64 = u64::MAX;

/// The CPU that executes the caller, as far as PKRS is concerned. Every method is about that CPU at that moment, so that
/// an implementation addresses per-CPU data anew each time (relative to GS, say).
pub trait PksCpu {
    /// WRMSR to 6E1H.
    fn write_pkrs(&self, value: KeyRegister);

    /// The cache: the last value written, or [`INVALID`].
    fn cached(&self) -> u64;

    /// Sets the cache, in one store that the compiler does not move.
    fn set_cached(&self, value: u64);

    /// The register of a context without grants, for the whole system.
    fn closed(&self) -> KeyRegister;

    /// The context that runs.
    fn current(&self) -> &Context;

    /// Makes another context the one that runs, in one store that the compiler does not move.
    fn set_current(&self, context: &Context);
}

/// Makes the register what the running context is to have.
#[inline]
pub(super) fn load(cpu: &impl PksCpu) {
    let wanted = cpu.current().value(cpu.closed());
    let word = u64::from(wanted.bits());
    if cpu.cached() == word && !mutant::is(Mutant::PksAlwaysWrites) {
        return;
    }
    if mutant::is(Mutant::PksCacheFirst) {
        cpu.set_cached(word);
        cpu.write_pkrs(wanted);
        return;
    }
    if !mutant::is(Mutant::PksRegisterFirst) {
        cpu.set_cached(INVALID);
    }
    cpu.write_pkrs(wanted);
    cpu.set_cached(word);
}
