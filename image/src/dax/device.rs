//! What the store needs of its memory: accesses, and when they are there to stay.
//!
//! Memory that keeps what is written to it, and is written by ordinary stores, has caches in between. A store is there to stay
//! when its cache line has been written back and a fence has waited for that. Until then it may be there or not after the
//! power has gone, on its own and in any order, since caches write lines back when they like. Only an aligned word of eight
//! bytes is there as a whole or not at all.

/// Memory like that.
pub trait Device {
    /// What an access can end with instead.
    type Fault;

    /// The size in bytes.
    fn len_bytes(&self) -> usize;

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// The access that did not go through.
    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Self::Fault>;

    /// Writes bytes. Any of them may be there after the power has gone, until they are flushed and a fence follows.
    ///
    /// # Errors
    ///
    /// As [`Device::read`].
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Self::Fault>;

    /// Writes eight bytes, at a multiple of eight, in one store: after the power has gone they are there, or what was there
    /// before is.
    ///
    /// # Errors
    ///
    /// As [`Device::read`].
    fn write_word(&mut self, at: usize, word: u64) -> Result<(), Self::Fault>;

    /// Starts to write the cache lines of some bytes back (CLWB).
    ///
    /// # Errors
    ///
    /// As [`Device::read`].
    fn flush(&mut self, at: usize, len_bytes: usize) -> Result<(), Self::Fault>;

    /// Waits until everything that was flushed is there to stay (SFENCE).
    ///
    /// # Errors
    ///
    /// As [`Device::read`].
    fn fence(&mut self) -> Result<(), Self::Fault>;
}
