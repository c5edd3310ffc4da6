//! Wrappers: what stands in place of functions of the C and C++ libraries.
//!
//! * [`memory`]: `malloc(3)` and its family, `operator new` and `operator delete`.
//! * [`signals`]: `sigaction(2)` and `signal(2)`, which must not replace the fault handlers.
//! * [`threads`]: `pthread_create(3)` and `thrd_create`, so that no thread starts with a key open.
//! * [`exec`]: `execve(2)` and its kin, of the guarded process itself.
//! * [`exits`]: `_exit(2)` and `quick_exit(3)`, by which a program ends without destructors.
//! * [`later`]: functions of a guarded library that are left with somebody who calls them later.
//! * [`pages`]: `mmap(2)` and its kin, with `--mmap`.
//!
//! Long jumps have no wrapper in Rust: `gate.s` gives frames up and goes on.

pub(crate) mod exec;
pub(crate) mod exits;
pub(crate) mod later;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod signals;
pub(crate) mod threads;

use crate::real::Slot;

/// How a wrapper is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It takes the arguments as they are.
    Plain,
    /// It takes the domain of the caller as fourth argument.
    WithDomain,
    /// Frames are given up first; then the function itself.
    Longjmp,
}

/// A wrapper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapper {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Its address; 0 for long jumps.
    pub(crate) function: usize,
    /// Where the function that it stands for is noted.
    pub(crate) slot: Option<&'static Slot>,
}

impl Wrapper {
    /// One that takes the arguments as they are.
    pub(crate) fn plain(
        name: &'static str,
        function: *const (),
        slot: impl Into<Option<&'static Slot>>,
    ) -> Self {
        Self {
            name,
            kind: Kind::Plain,
            function: function as usize,
            slot: slot.into(),
        }
    }

    /// One that takes the domain of the caller as fourth argument.
    pub(crate) fn with_domain(
        name: &'static str,
        function: *const (),
        slot: impl Into<Option<&'static Slot>>,
    ) -> Self {
        Self {
            kind: Kind::WithDomain,
            ..Self::plain(name, function, slot)
        }
    }

    /// One in front of a long jump.
    fn jump(name: &'static str) -> Self {
        Self {
            kind: Kind::Longjmp,
            ..Self::plain(name, core::ptr::null(), None)
        }
    }
}

/// Names of long jumps; with `_FORTIFY_SOURCE` the last.
const JUMPS: [&str; 4] = ["longjmp", "_longjmp", "siglongjmp", "__longjmp_chk"];

/// The wrapper for a function of that name, when a guarded library or another object asks for it.
pub(crate) fn find(name: &str, is_guarded: bool) -> Option<Wrapper> {
    if let Some(&name) = JUMPS.iter().find(|jump| **jump == name) {
        return Some(Wrapper::jump(name));
    }
    let of_guarded = || {
        memory::for_guarded(name)
            .or_else(|| later::find(name))
            .or_else(|| pages::for_guarded(name))
    };
    let guarded = if is_guarded { of_guarded() } else { None };
    guarded
        .or_else(|| memory::for_all(name))
        .or_else(|| signals::find(name))
        .or_else(|| threads::find(name))
        .or_else(|| exec::find(name))
        .or_else(|| exits::find(name))
        .or_else(|| pages::for_all(name))
}
