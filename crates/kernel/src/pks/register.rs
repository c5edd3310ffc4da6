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
//! interrupt in between finds the cache unlike anything, writes what it needs, and writes again when it leaves. Then it
//! makes the cache invalid again, as it found it: the code that it interrupted is about to write what it had made up its
//! mind to write, and that may be another value by now, because another CPU has changed the closed rights. So a second
//! interrupt must not rely on what the first one wrote. The value is looked at again after the write for the same reason.
//!
//! Each access goes to the CPU that executes at that moment. A thread that is preempted between two of the steps and
//! goes on elsewhere finds its value loaded there; the CPU that it left has an invalid cache, or one that is true again.
//!
//! Source: SDM Vol. 3A, 4.6.2 (PKRS), Vol. 4 (`IA32_PKRS`, 6E1H).

use pkeys_core::KeyRegister;

use super::Context;
use super::kmap::Sharing;
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

    /// Sets CR4.PKS: from now on the register is heeded.
    fn enable(&self);

    /// The register of a context without grants, for the whole system: [`super::Pks::closed`].
    fn closed(&self) -> KeyRegister;

    /// The keys with pages that are shared right now, for the whole system: [`super::Keys::sharing`]. A kernel without
    /// `kmap` has none.
    #[inline]
    fn sharing(&self) -> Sharing {
        Sharing::NONE
    }

    /// The context that runs.
    fn current(&self) -> &Context;

    /// Makes another context the one that runs, in one store that the compiler does not move.
    fn set_current(&self, context: &Context);
}

/// Makes the register what the running context is to have.
///
/// What that is may change while it is written: another CPU changes the closed rights or shares a page, and the interrupt
/// by which it says so comes between two of the steps. So it is looked at again after a write.
#[inline]
pub(super) fn load(cpu: &impl PksCpu) {
    load_value(cpu, || wanted(cpu));
}

/// Makes the register what a function says, and says again after each write.
#[inline]
pub(super) fn load_value(cpu: &impl PksCpu, value: impl Fn() -> KeyRegister) {
    let mut wanted = value();
    loop {
        let word = u64::from(wanted.bits());
        if cpu.cached() == word && !mutant::is(Mutant::PksAlwaysWrites) {
            return;
        }
        write(cpu, wanted, word);
        let again = value();
        if again == wanted || mutant::is(Mutant::PksLoadsOnce) {
            return;
        }
        wanted = again;
    }
}

#[inline]
fn wanted(cpu: &impl PksCpu) -> KeyRegister {
    cpu.current().value_while(cpu.closed(), cpu.sharing())
}

#[inline]
fn write(cpu: &impl PksCpu, wanted: KeyRegister, word: u64) {
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
