//! Grants: nested, counted rights of the running context on one key.
//!
//! What a context may do with a key is the greater of the closed rights and of what its open grants give; reads and
//! writes are counted apart, so that grants end in any order. The register is written when that changes something.
//!
//! The order is: counts, then the context's bits, then the register. An interrupt at any point leaves by loading what
//! the context says by then, so the register never has less than the context for longer than the interrupt, and the
//! handler never has any of it.

use pkeys_core::{Pkey, Rights};

use super::Context;
use super::register::{PksCpu, load};

/// A right that was granted: to be given back, once, in the context that has it.
#[must_use = "a grant that is not revoked stays open"]
#[derive(Debug, PartialEq, Eq)]
pub struct Granted {
    pkey: Pkey,
    rights: Rights,
}

/// Gives the running context rights on a key, until [`revoke`].
#[inline]
pub fn grant(cpu: &impl PksCpu, pkey: Pkey, rights: Rights) -> Granted {
    change(cpu, pkey, |context| context.counts(pkey).open(rights));
    Granted { pkey, rights }
}

/// Takes a grant back, in the context that made it.
#[inline]
pub fn revoke(cpu: &impl PksCpu, granted: Granted) {
    let Granted { pkey, rights } = granted;
    change(cpu, pkey, |context| context.counts(pkey).close(rights));
}

#[inline]
fn change(cpu: &impl PksCpu, pkey: Pkey, counts: impl Fn(&Context) -> pkeys_core::GrantCounts) {
    let context = cpu.current();
    context.set_counts(pkey, counts(context));
    load(cpu);
}
