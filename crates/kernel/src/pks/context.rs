//! Contexts: whose rights are in the register, through switches, exceptions and interrupts.
//!
//! A context is something that runs and may hold grants: a thread, and each exception, interrupt or NMI on top of it. It
//! starts closed, whatever is below it holds. What the interrupted context holds stays in that context, nowhere else: the
//! entry makes a new one current, the exit makes the old one current again, and both then load the register. A handler
//! that is itself interrupted is an interrupted context like any other, so nesting needs no rule of its own.
//!
//! A context keeps which rights beyond the closed ones it has been granted, not the whole register. So a change of the
//! closed rights (a new key, another mode) reaches every context when it is loaded next, and takes no grant away.
//!
//! | event | call |
//! |---|---|
//! | a thread, a work item, a handler is made | [`Context::new`] |
//! | an exception, an interrupt or an NMI begins, and ends | [`enter`], [`leave`] |
//! | the scheduler switches | [`switch_to`] |
//! | the closed rights changed, on each CPU | [`refresh`] |

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

use pkeys_core::{GrantCounts, KeyRegister, Pkey};

use super::register::{PksCpu, load};
use crate::mutant::{self, Mutant};

/// What a thread or a handler holds beyond the closed rights.
///
/// Its fields are changed by the code that runs in it, and by a fault handler on its behalf. They are atomics because
/// handlers interrupt that code between any two instructions; CPUs do not share a context while it runs.
#[derive(Debug)]
pub struct Context {
    /// The bits of the register that grants have cleared.
    opened: AtomicU32,
    /// The keys whose count below is in use; the others' counts are empty, whatever they say. So a handler's context is
    /// made by two stores and not by seventeen.
    used: AtomicU16,
    counts: [AtomicU32; Pkey::COUNT],
}

impl Context {
    /// A context without grants.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            opened: AtomicU32::new(0),
            used: AtomicU16::new(0),
            counts: [const { AtomicU32::new(0) }; Pkey::COUNT],
        }
    }

    /// The register while the context runs.
    #[must_use]
    #[inline]
    pub fn value(&self, closed: KeyRegister) -> KeyRegister {
        KeyRegister::from_bits(closed.bits() & !self.opened.load(Relaxed))
    }

    /// The open grants of a key.
    #[must_use]
    #[inline]
    pub fn counts(&self, pkey: Pkey) -> GrantCounts {
        if self.used.load(Relaxed) & bit(pkey) == 0 {
            GrantCounts::EMPTY
        } else {
            GrantCounts::from_bits(self.count(pkey).load(Relaxed))
        }
    }

    /// Whether nothing is granted.
    #[must_use]
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.opened.load(Relaxed) == 0
    }

    /// Keeps counts, and clears the bits of the register that they stand for. The register itself does not change.
    pub(super) fn set_counts(&self, pkey: Pkey, counts: GrantCounts) {
        self.count(pkey).store(counts.bits(), Relaxed);
        self.used
            .store(self.used.load(Relaxed) | bit(pkey), Relaxed);
        self.open(pkey, counts.held().access_bits().bits());
    }

    /// Clears all bits of a key but those in `denied`, and sets those.
    fn open(&self, pkey: Pkey, denied: u32) {
        let mask = KeyRegister::mask(pkey);
        let cleared = mask & !(denied * (mask & mask.wrapping_neg()));
        let others = self.opened.load(Relaxed) & !mask;
        self.opened.store(others | cleared, Relaxed);
    }

    fn count(&self, pkey: Pkey) -> &AtomicU32 {
        // A key is below 16, and so is the number of counts.
        &self.counts[pkey.index() % Pkey::COUNT]
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

const fn bit(pkey: Pkey) -> u16 {
    1 << pkey.get()
}

/// The first instructions of an exception, an interrupt or an NMI: the handler runs in a context of its own, closed. The
/// caller keeps the reference to the interrupted context for [`leave`], in the saved frame.
///
/// No WRMSR if the interrupted context had no grants.
#[inline]
pub fn enter(cpu: &impl PksCpu, handler: &Context) {
    if !mutant::is(Mutant::PksContextKept) {
        cpu.set_current(handler);
    }
    load(cpu);
}

/// The last instructions of a handler: the interrupted context goes on with what it had, or with what a fault callback has
/// given it.
#[inline]
pub fn leave(cpu: &impl PksCpu, interrupted: &Context) {
    cpu.set_current(interrupted);
    load(cpu);
}

/// The scheduler switches to another thread, interrupts off or on.
///
/// No WRMSR if the two have the same rights.
#[inline]
pub fn switch_to(cpu: &impl PksCpu, next: &Context) {
    cpu.set_current(next);
    load(cpu);
}

/// The closed rights have changed: this CPU loads them. Called on every CPU, by an interrupt, before the change counts as
/// made.
#[inline]
pub fn refresh(cpu: &impl PksCpu) {
    load(cpu);
}
