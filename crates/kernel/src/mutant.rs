//! Deliberately broken rules, for tests that have to notice them.
//!
//! A test that compares this kernel with Linux is worth something only if it finds differences. So the places where
//! kernels are known to go wrong can be broken on purpose, one at a time: `set` chooses a [`Mutant`] for the whole
//! program, and the code at that place asks [`is`]. Without the feature `mutants`, `is` is the constant `false` and the
//! broken branch is not compiled in.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Mutant {
    /// `mprotect` gives its pages key 0.
    MprotectDropsKey = 1,
    /// The local TLB is not told of a change of protection.
    ForgottenFlush,
    /// The other CPUs are not told of it.
    ForgottenShootDown,
    /// A key fault on a page that is not present is reported as `SEGV_ACCERR`.
    NotPresentIsAccerr,
    /// The two bits of a key are taken for each other.
    AdAndWdSwapped,
    /// `pkey_alloc` gives key 0 although it is allocated.
    KeyZeroHandedOut,
    /// A signal handler runs with the interrupted thread's PKRU.
    HandlerKeepsPkru,
    /// Changes to PKRU in a signal frame are ignored at return.
    FramePkruIgnored,
    /// A cleared bit of `XSTATE_BV` is ignored at return.
    XstateBvIgnored,
    /// `execve` leaves PKRU as it was.
    ExecKeepsPkru,
    /// A new thread starts with the initial PKRU.
    CloneResetsPkru,
    /// A child process starts with an empty allocation map.
    ForkForgetsKeys,
    /// The allocation map is read twice for one decision.
    MapReadTwice,
    /// `pkey_free` refuses key 0.
    FreeRefusesKeyZero,
    /// `pkey_free` accepts the execute-only key.
    FreeAcceptsExecuteOnly,
    /// `pkey_mprotect` checks the key before it looks at a length of zero.
    KeyCheckedBeforeLength,
    /// `pkey_alloc` gives the highest free key.
    HighestFreeKey,
    /// `pkey_alloc` leaves the caller's PKRU alone.
    AllocLeavesPkru,
    /// The other bits of PKRU are overwritten by `pkey_alloc`.
    AllocOverwritesPkru,
    /// Leaving execute-only keeps the key.
    ExecuteOnlyKeyStays,
    /// The kernel's own accesses to user memory ignore PKRU.
    UserAccessIgnoresPkru,
    /// A fetch is checked against the key.
    FetchIsChecked,
    /// `mremap` gives the moved pages key 0.
    MremapDropsKey,
    /// `mprotect` stops before, and not at, a hole.
    HoleUndoesMprotect,
    /// Supervisor keys: the cache gets its value before the register.
    PksCacheFirst,
    /// Supervisor keys: the register gets its value while the cache still has the old one.
    PksRegisterFirst,
    /// Supervisor keys: a handler starts with the register closed, but the interrupted context stays the current one.
    PksContextKept,
    /// Supervisor keys: a new thread starts with what its creator has.
    PksContextInherited,
    /// Supervisor keys: the register is written whether or not it has the value.
    PksAlwaysWrites,
    /// Supervisor keys: what the register is to have is not looked at again after it was written.
    PksLoadsOnce,
    /// Supervisor keys: a handler that has interrupted a write of the register leaves a valid cache behind.
    PksCacheRevalidated,
    /// Supervisor keys: the right to read counts as the right to write.
    PksCountsAreOne,
    /// Supervisor keys: a key is given back while pages carry it.
    PksPagesUncounted,
    /// Supervisor keys: a key is given back while a thread has it open.
    PksOpenKeyReleased,
    /// Supervisor keys: a pardon does not end with the outermost grant.
    PksPardonOutlivesGrant,
    /// Supervisor keys: a pardon does not end with the return to user mode.
    PksPardonOutlivesContext,
    /// Supervisor keys: the right to read is pardoned with the right to write.
    PksPardonTooWide,
    /// Supervisor keys: a fault of an access that is allowed by now is judged.
    PksFalseFaultJudged,
    /// Supervisor keys: strict pardons.
    PksStrictPardons,
    /// Supervisor keys: the modes of shared pages and of others are taken for each other.
    PksKnobsSwapped,
    /// Supervisor keys: a mode that is off leaves the closed rights as they are.
    PksOffStaysClosed,
    /// Supervisor keys: a program's fault on the kernel's memory is judged as the kernel's.
    PksUserJudged,
    /// Supervisor keys: every access under relaxed is told of.
    PksSitesForgotten,
    /// Supervisor keys: of a second fault in a step, the flags that the first has set are taken for the program's.
    PksStepKeepsOurFlags,
    /// Supervisor keys: the flags that a stepped instruction has loaded are undone.
    PksStepUndoesPopf,
    /// Supervisor keys: the flags that a stepped instruction has stored are left.
    PksStepLeavesPushf,
    /// Supervisor keys: a step ends after the first iteration of a repeated instruction.
    PksStepEndsRep,
    /// Supervisor keys: a step over a repeated instruction goes on for ever.
    PksStepNeverEndsRep,
    /// Supervisor keys: a step is not called off.
    PksStepNotCalledOff,
}

impl Mutant {
    /// Those of the user side: what programs may notice.
    pub const ALL: &[Self] = &[
        Self::MprotectDropsKey,
        Self::ForgottenFlush,
        Self::ForgottenShootDown,
        Self::NotPresentIsAccerr,
        Self::AdAndWdSwapped,
        Self::KeyZeroHandedOut,
        Self::HandlerKeepsPkru,
        Self::FramePkruIgnored,
        Self::XstateBvIgnored,
        Self::ExecKeepsPkru,
        Self::CloneResetsPkru,
        Self::ForkForgetsKeys,
        Self::MapReadTwice,
        Self::FreeRefusesKeyZero,
        Self::FreeAcceptsExecuteOnly,
        Self::KeyCheckedBeforeLength,
        Self::HighestFreeKey,
        Self::AllocLeavesPkru,
        Self::AllocOverwritesPkru,
        Self::ExecuteOnlyKeyStays,
        Self::UserAccessIgnoresPkru,
        Self::FetchIsChecked,
        Self::MremapDropsKey,
        Self::HoleUndoesMprotect,
    ];

    /// Those of supervisor keys: no program notices them.
    pub const PKS: &[Self] = &[
        Self::PksCacheFirst,
        Self::PksRegisterFirst,
        Self::PksContextKept,
        Self::PksContextInherited,
        Self::PksAlwaysWrites,
        Self::PksLoadsOnce,
        Self::PksCacheRevalidated,
        Self::PksCountsAreOne,
        Self::PksPagesUncounted,
        Self::PksOpenKeyReleased,
        Self::PksPardonOutlivesGrant,
        Self::PksPardonOutlivesContext,
        Self::PksPardonTooWide,
        Self::PksFalseFaultJudged,
        Self::PksStrictPardons,
        Self::PksKnobsSwapped,
        Self::PksOffStaysClosed,
        Self::PksUserJudged,
        Self::PksSitesForgotten,
        Self::PksStepKeepsOurFlags,
        Self::PksStepUndoesPopf,
        Self::PksStepLeavesPushf,
        Self::PksStepEndsRep,
        Self::PksStepNeverEndsRep,
        Self::PksStepNotCalledOff,
    ];
}

#[cfg(feature = "mutants")]
mod chosen {
    use core::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Breaks one rule in the whole program, or none.
    pub fn set(mutant: Option<Mutant>) {
        CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::Relaxed);
    }

    /// Whether this rule is broken.
    #[must_use]
    #[inline]
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(not(feature = "mutants"))]
mod chosen {
    use super::Mutant;

    /// Whether this rule is broken: never, without the feature `mutants`.
    #[must_use]
    #[inline]
    pub const fn is(_: Mutant) -> bool {
        false
    }
}

pub use chosen::*;
