//! Grants: nested, counted rights of the running context on one key.
//!
//! What a context may do with a key is the greater of the closed rights and of what its open grants give; reads and
//! writes are counted apart, so that grants end in any order. The register is written when that changes something.
//!
//! The order is: counts, then the context's bits, then the register. An interrupt at any point leaves by loading what
//! the context says by then, so the register never has less than the context for longer than the interrupt, and the
//! handler never has any of it.
//!
//! [`Grant`] is the one to use: it ends with its scope. [`grant`] and [`revoke`] are for rights that outlive a scope, such
//! as a mapping that one call of a thread makes and another takes away. Either belongs to one context. A grant that is
//! forgotten leaves the key open to that context, a loss of protection and not of memory safety.
//!
//! The end of the outermost grant of a context also ends what fault handlers have given it: see [`super::pardon`].

use core::marker::PhantomData;

use pkeys_core::Rights;

use super::key::PksKey;
use super::register::{PksCpu, load};
use crate::mutant::{self, Mutant};

/// A right that was granted: to be given back, once, in the context that has it.
#[must_use = "a grant that is not revoked stays open"]
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    key: PksKey,
    rights: Rights,
}

impl Granted {
    /// What it is a grant on.
    #[must_use]
    pub const fn key(&self) -> PksKey {
        self.key
    }

    /// What was asked for.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        self.rights
    }
}

/// Gives the running context rights on a key, until [`revoke`].
#[inline]
pub fn grant(cpu: &impl PksCpu, key: PksKey, rights: Rights) -> Granted {
    let context = cpu.current();
    context.set_counts(key, context.counts(key).open(rights));
    load(cpu);
    Granted { key, rights }
}

/// Takes a grant back, in the context that made it.
#[inline]
pub fn revoke(cpu: &impl PksCpu, granted: Granted) {
    let Granted { key, rights } = granted;
    let context = cpu.current();
    context.set_counts(key, context.counts(key).close(rights));
    if context.is_closed() && !mutant::is(Mutant::PksPardonOutlivesGrant) {
        context.end_pardons();
    }
    load(cpu);
}

/// Rights of the running context on a key, for a scope.
///
/// It stays with the thread that made it, which may be preempted and go on elsewhere: each method of `C` is about the CPU
/// that executes. So it is sent to no other thread, unlike the bare number of a key:
///
/// ```
/// # use pkeys_kernel::pks::{Grant, PksCpu, PksKey};
/// fn is_sent<T: Send>() {}
/// fn check<C: PksCpu + Sync + 'static>() {
///     is_sent::<PksKey>();
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use pkeys_kernel::pks::{Grant, PksCpu, PksKey};
/// fn is_sent<T: Send>() {}
/// fn check<C: PksCpu + Sync + 'static>() {
///     is_sent::<Grant<'static, C>>();
/// }
/// ```
#[must_use = "the grant ends when the guard is dropped"]
#[derive(Debug)]
pub struct Grant<'c, C: PksCpu> {
    cpu: &'c C,
    key: PksKey,
    rights: Rights,
    /// A raw pointer is neither `Send` nor `Sync`.
    in_one_context: PhantomData<*mut ()>,
}

impl<'c, C: PksCpu> Grant<'c, C> {
    /// Gives the running context rights on a key.
    #[inline]
    pub fn new(cpu: &'c C, key: PksKey, rights: Rights) -> Self {
        let Granted { key, rights } = grant(cpu, key, rights);
        Self {
            cpu,
            key,
            rights,
            in_one_context: PhantomData,
        }
    }
}

impl<C: PksCpu> Drop for Grant<'_, C> {
    #[inline]
    fn drop(&mut self) {
        let Self { key, rights, .. } = *self;
        revoke(self.cpu, Granted { key, rights });
    }
}
