//! What regions need of the kernel around them: its page tables, its other CPUs, its settings.

use pkeys_core::{Knobs, Pkey};

use super::page::Pages;
use crate::pks::PksCpu;

/// A kernel with page tables and other CPUs.
pub trait Host {
    /// The CPU that executes the caller.
    type Cpu: PksCpu;

    /// Why page tables could not be changed: there was no memory to break up a large page, say.
    type Error;

    /// The CPU that executes the caller.
    fn cpu(&self) -> &Self::Cpu;

    /// The two knobs, as they are now.
    fn knobs(&self) -> Knobs;

    /// Gives pages a key, in the page tables. CPUs may go by the old one until [`Host::shoot_down`].
    ///
    /// A change of a page that has been changed before, alone or as a part of more, needs no memory and does not fail.
    ///
    /// # Errors
    ///
    /// When nothing, or only a part, was changed. The caller then puts back what there was.
    fn set_pkey(&self, pages: Pages, pkey: Pkey) -> Result<(), Self::Error>;

    /// Makes every CPU forget what its TLB holds of pages, this one too, and returns when that is done.
    fn shoot_down(&self, pages: Pages);

    /// Makes every CPU load its register ([`crate::pks::refresh`]), this one too, and returns when that is done.
    fn refresh(&self);
}
