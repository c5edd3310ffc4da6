//! Contexts: whose rights are in the register, through switches, exceptions and interrupts.
//!
//! A context is something that runs and may hold grants: a thread, and each exception, interrupt, softirq or NMI on top of
//! it. It starts closed, whatever is below it holds. What the interrupted context holds stays in that context, nowhere
//! else: the entry makes a new one current, the exit makes the old one current again, and both then load the register. A
//! handler that is itself interrupted is an interrupted context like any other, so nesting needs no rule of its own.
//!
//! A context keeps which rights beyond the closed ones it has, not the whole register. So a change of the closed rights
//! (a new key, another mode) reaches every context when it is loaded next, and takes no grant away.
//!
//! Four words say what those rights are, each with its own writer, so that no two writers meet in one word:
//!
//! | word | who writes it | ends |
//! |---|---|---|
//! | opened | the context itself: [`super::grant`] | with each grant |
//! | lent | a fault handler: a pardon, or a callback that opens | with the context, see [`super::pardon`] |
//! | denied | a fault handler: a callback that closes | likewise |
//! | stepped | a fault handler: a pardon for one instruction | with the instruction, see [`super::step`] |
//!
//! | event | call |
//! |---|---|
//! | a CPU starts | [`start_cpu`] |
//! | a thread, a work item, a handler is made | [`Context::new`]: never a copy of another |
//! | an exception, an interrupt, a softirq or an NMI begins, and ends | [`enter`], [`leave`] |
//! | the scheduler switches | [`switch_to`] |
//! | a thread returns to user mode, a work item ends | [`end_of_context`] |
//! | the closed rights changed, on each CPU | [`refresh`] |

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pkeys_core::{Access, AccessBits, GrantCounts, KeyRegister, KeySet, Pkey, Rights};

use super::key::PksKey;
use super::kmap::Sharing;
use super::register::{INVALID, PksCpu, load, load_value};
use super::step::StepCell;
use crate::mutant::{self, Mutant};

/// What a thread or a handler has beyond the closed rights.
///
/// Its fields are changed by the code that runs in it, and by a fault handler on its behalf. They are atomics because
/// handlers interrupt that code between any two instructions; CPUs do not share a context while it runs. A word is changed
/// by whom the table above says, in one store, and a handler does so only at a fault of the context's own instructions,
/// which are then not in the middle of a change.
#[derive(Debug)]
pub struct Context {
    /// The bits of the register that grants have cleared.
    opened: AtomicU32,
    /// The bits that a fault handler has cleared.
    lent: AtomicU32,
    /// The bits that a fault handler has set, whatever is granted.
    denied: AtomicU32,
    /// The bits that are clear for one instruction.
    stepped: AtomicU32,
    counts: [AtomicU32; Pkey::COUNT],
    /// Of a handler's context: it has interrupted a write of the register.
    is_within_write: AtomicBool,
    pub(super) step: StepCell,
}

impl Context {
    /// A context without grants.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            opened: AtomicU32::new(0),
            lent: AtomicU32::new(0),
            denied: AtomicU32::new(0),
            stepped: AtomicU32::new(0),
            counts: [const { AtomicU32::new(0) }; Pkey::COUNT],
            is_within_write: AtomicBool::new(false),
            step: StepCell::new(),
        }
    }

    /// A context for a thread that another makes: closed, whatever its creator has open.
    #[must_use]
    pub fn for_child_of(creator: &Self) -> Self {
        let child = Self::new();
        if mutant::is(Mutant::PksContextInherited) {
            for key in PksKey::all() {
                child.set_counts(key, creator.counts(key));
            }
        }
        child
    }

    /// The register while the context runs.
    #[must_use]
    #[inline]
    pub fn value(&self, closed: KeyRegister) -> KeyRegister {
        self.value_while(closed, Sharing::NONE)
    }

    /// The register while the context runs and pages of some keys are shared: who may use such a key may use them too.
    #[must_use]
    #[inline]
    pub fn value_while(&self, closed: KeyRegister, sharing: Sharing) -> KeyRegister {
        let denied = self.denied.load(Relaxed);
        let cleared = self.opened.load(Relaxed) | self.lent.load(Relaxed);
        let cleared = cleared | sharing.opens(cleared & !denied);
        let value = closed.bits() & !cleared | denied;
        KeyRegister::from_bits(value & !self.stepped.load(Relaxed))
    }

    /// The open grants of a key.
    #[must_use]
    #[inline]
    pub fn counts(&self, key: PksKey) -> GrantCounts {
        GrantCounts::from_bits(self.counts[key.pkey().index()].load(Relaxed))
    }

    /// Whether no grant is open.
    #[must_use]
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.opened.load(Relaxed) == 0
    }

    /// Whether a fault handler has changed what the context may do, and that has not ended.
    #[must_use]
    #[inline]
    pub fn is_pardoned(&self) -> bool {
        self.lent.load(Relaxed) | self.denied.load(Relaxed) | self.stepped.load(Relaxed) != 0
    }

    /// Whether the context has, or has kept from it, any rights on a key other than the closed ones.
    #[must_use]
    pub fn has_open(&self, key: PksKey) -> bool {
        let words = [&self.opened, &self.lent, &self.denied, &self.stepped];
        let bits = words.map(|word| word.load(Relaxed)).into_iter();
        bits.fold(0, core::ops::BitOr::bitor) & KeyRegister::mask(key.pkey()) != 0
    }

    /// The keys that the context may write to, whatever the closed rights are.
    pub(super) fn writable(&self) -> KeySet {
        let value = self.value(KeyRegister::from_bits(u32::MAX));
        PksKey::all()
            .filter(|key| value.allows(key.pkey(), Access::Write))
            .fold(KeySet::EMPTY, |keys, key| keys.with(key.pkey()))
    }

    /// Keeps counts, and clears the bits of the register that they stand for. The register itself does not change.
    pub(super) fn set_counts(&self, key: PksKey, counts: GrantCounts) {
        self.counts[key.pkey().index()].store(counts.bits(), Relaxed);
        let held = match counts.held() {
            Rights::ReadOnly if mutant::is(Mutant::PksCountsAreOne) => Rights::ReadWrite,
            held => held,
        };
        let others = self.opened.load(Relaxed) & !KeyRegister::mask(key.pkey());
        set(&self.opened, others | cleared_for(key, held));
    }

    /// A fault handler gives these rights, and takes back that it had denied them.
    pub(super) fn lend(&self, key: PksKey, rights: Rights) {
        let bits = cleared_for(key, rights);
        set(&self.lent, self.lent.load(Relaxed) | bits);
        set(&self.denied, self.denied.load(Relaxed) & !bits);
    }

    /// A fault handler leaves no more than these rights.
    pub(super) fn deny(&self, key: PksKey, rights: Rights) {
        let bits = KeyRegister::mask(key.pkey()) & !cleared_for(key, rights);
        set(&self.lent, self.lent.load(Relaxed) & !bits);
        set(&self.denied, self.denied.load(Relaxed) | bits);
    }

    /// What an access needs clear in the register.
    pub(super) fn needed_bits(key: PksKey, access: Access) -> u32 {
        cleared_for(key, needed_for(access))
    }

    /// The bits that are clear for one instruction.
    pub(super) fn stepped(&self) -> u32 {
        self.stepped.load(Relaxed)
    }

    /// A fault handler gives the right to one access for one instruction, beside those that it has given for the same.
    pub(super) fn lend_for_step(&self, key: PksKey, access: Access) {
        let bits = Self::needed_bits(key, access);
        set(&self.stepped, self.stepped.load(Relaxed) | bits);
    }

    /// What was given for one instruction is over.
    pub(super) fn end_step(&self) {
        set(&self.stepped, 0);
    }

    /// What fault handlers have given or denied is over, but for the instruction that is being stepped.
    pub(super) fn end_pardons(&self) {
        if self.lent.load(Relaxed) | self.denied.load(Relaxed) != 0 {
            set(&self.lent, 0);
            set(&self.denied, 0);
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

fn set(word: &AtomicU32, bits: u32) {
    word.store(bits, Relaxed);
}

/// The rights without which the register stops an access.
pub(super) const fn needed_for(access: Access) -> Rights {
    match access {
        Access::Read => Rights::ReadOnly,
        Access::Write => Rights::ReadWrite,
        Access::Fetch => Rights::NoAccess,
    }
}

/// The bits of a key that are clear for somebody with these rights.
const fn cleared_for(key: PksKey, rights: Rights) -> u32 {
    KeyRegister::mask(key.pkey()) & !denied_by(key, rights).bits()
}

/// A register with the bits of a key set that these rights leave set, and no others.
///
/// Without rights both are, AD and WD, although AD alone would do: rights are given by clearing bits, and a context that
/// gets AD cleared, for reading, must find WD set.
pub(super) const fn denied_by(key: PksKey, rights: Rights) -> KeyRegister {
    let bits = match rights {
        Rights::NoAccess => AccessBits::ALL,
        rights => rights.access_bits(),
    };
    KeyRegister::ALL_OPEN.with(key.pkey(), bits)
}

/// A CPU starts to use keys, with a context for what runs on it now.
///
/// The register comes first, then the cache, and the bit in CR4 last, so that no access is checked against what the
/// register had at reset or what a boot loader has left in it. Before that the CPU's cache holds [`INVALID`], and
/// nothing else is called for the CPU; the caller keeps interrupts out.
pub fn start_cpu(cpu: &impl PksCpu, context: &Context) {
    cpu.set_current(context);
    cpu.set_cached(INVALID);
    load(cpu);
    cpu.enable();
}

/// The first instructions of an exception, an interrupt or an NMI, or of the softirqs: the handler runs in a context of its
/// own, closed. The caller keeps the reference to the interrupted context for [`leave`], in the saved frame.
///
/// No WRMSR if the interrupted context had no rights beyond the closed ones.
#[inline]
pub fn enter(cpu: &impl PksCpu, handler: &Context) {
    if mutant::is(Mutant::PksContextKept) {
        load_value(cpu, || cpu.closed());
        return;
    }
    handler
        .is_within_write
        .store(cpu.cached() == INVALID, Relaxed);
    cpu.set_current(handler);
    load(cpu);
}

/// The last instructions of a handler: the interrupted context goes on with what it had, or with what a fault handler has
/// given it. What the handler's own context has ends here.
#[inline]
pub fn leave(cpu: &impl PksCpu, interrupted: &Context) {
    let is_within_write = cpu.current().is_within_write.load(Relaxed);
    cpu.set_current(interrupted);
    load(cpu);
    if is_within_write && !mutant::is(Mutant::PksCacheRevalidated) {
        cpu.set_cached(INVALID);
    }
}

/// The scheduler switches to another thread, interrupts off or on.
///
/// No WRMSR if the two have the same rights.
#[inline]
pub fn switch_to(cpu: &impl PksCpu, next: &Context) {
    cpu.set_current(next);
    load(cpu);
}

/// The running thread is about to return to user mode, or has come to the end of a work item: what it was pardoned for is
/// over. (The context of a handler ends with [`leave`].)
#[inline]
pub fn end_of_context(cpu: &impl PksCpu) {
    let context = cpu.current();
    if !mutant::is(Mutant::PksPardonOutlivesContext) {
        context.end_pardons();
    }
    context.step.forget();
    load(cpu);
}

/// The closed rights have changed: this CPU loads them. Called on every CPU, by an interrupt, before the change counts as
/// made.
///
/// It writes the register whatever the cache says. A write that was interrupted by one change, and has looked again while
/// the opposite change was made and not yet told, has left the value of the one in the register and that of the other in
/// the cache.
#[inline]
pub fn refresh(cpu: &impl PksCpu) {
    cpu.set_cached(INVALID);
    load(cpu);
}
