//! Raw access to the memory of a region, which is the surrounding kernel's.

use super::page::{NoPages, Pages};

/// Memory that a region is made of, as a handle that owns it: an address and a length, say. It copies bytes in and out, and
/// gives out no reference that lives longer than a borrow of itself. The region lends the handle only while its key is open.
///
/// An implementation checks that an access lies in the memory, whoever asks: the methods are safe to call. On hardware
/// it makes volatile accesses, so that none is moved out of the time in which the key is open, or left out.
pub trait KeyedMemory {
    /// What an access can end with instead. Where a stray access goes to a fault handler, which does not return, there is
    /// nothing: [`core::convert::Infallible`].
    type Fault;

    /// The pages.
    ///
    /// # Errors
    ///
    /// When it is not whole pages.
    fn pages(&self) -> Result<Pages, NoPages>;

    /// Reads bytes, beginning so many behind the start.
    ///
    /// # Errors
    ///
    /// The access that did not go through.
    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Self::Fault>;

    /// Writes bytes, beginning so many behind the start.
    ///
    /// # Errors
    ///
    /// As [`KeyedMemory::read`]; bytes before the one that did not go through are written.
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Self::Fault>;
}
