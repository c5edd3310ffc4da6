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
    /// Supervisor keys: a handler runs in the interrupted context.
    PksContextKept,
    /// Supervisor keys: the register is written whether or not it has the value.
    PksAlwaysWrites,
}

impl Mutant {
    /// All of them.
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
        Self::PksCacheFirst,
        Self::PksRegisterFirst,
        Self::PksContextKept,
        Self::PksAlwaysWrites,
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
