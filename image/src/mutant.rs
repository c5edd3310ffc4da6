//! Rules of [`crate::pks`] that tests may break, one at a time; here none is broken. The kernel library's module of that name
//! will replace it.

#![allow(dead_code, reason = "named by the protocol, in all its parts or not")]
#![allow(clippy::enum_variant_names, reason = "a part of a list")]

#[derive(Clone, Copy)]
pub(crate) enum Mutant {
    PksCacheFirst,
    PksRegisterFirst,
    PksContextKept,
    PksAlwaysWrites,
}

pub(crate) const fn is(_: Mutant) -> bool {
    false
}
