//! Memory that keeps what is written to it, behind a key.
//!
//! Each access opens the region for what it is and closes it behind itself: a read, and a flush, which the processor checks as a
//! read (SDM Vol. 2, CLWB), for reading; a write for writing. A fence accesses nothing and opens nothing. So a defect in the
//! store's code that writes where it should read stops there, and one anywhere else reaches no byte at all.

use lock_api::RawMutex;
use pkeys_kernel::pks::region::{AccessError, Host, KeyedMemory, Region};

use super::device::Device;

/// Memory of which stores can be made to stay. The methods check where they access, as those of [`KeyedMemory`] do.
pub trait Persistent: KeyedMemory {
    /// Waits until everything that was flushed is there to stay. It needs no memory: CPUs have one fence for all of it.
    type Fence: Fence;

    /// Writes eight bytes, at a multiple of eight, in one store.
    ///
    /// # Errors
    ///
    /// As [`KeyedMemory::write`].
    fn write_word(&mut self, at: usize, word: u64) -> Result<(), Self::Fault>;

    /// Starts to write the cache lines of some bytes back.
    ///
    /// # Errors
    ///
    /// As [`KeyedMemory::read`].
    fn flush(&self, at: usize, len_bytes: usize) -> Result<(), Self::Fault>;
}

/// SFENCE.
pub trait Fence {
    /// Waits.
    fn fence(&self);
}

/// A region as a device.
#[derive(Debug)]
pub struct RegionDevice<'r, H: Host, L: RawMutex, M: Persistent> {
    region: Region<'r, H, L, M>,
    fence: M::Fence,
}

impl<'r, H: Host, L: RawMutex, M: Persistent> RegionDevice<'r, H, L, M> {
    /// All of a region.
    pub const fn new(region: Region<'r, H, L, M>, fence: M::Fence) -> Self {
        Self { region, fence }
    }

    /// The region.
    pub fn into_region(self) -> Region<'r, H, L, M> {
        self.region
    }

    fn check(&self, at: usize, len_bytes: usize) -> Result<(), AccessError<M::Fault>> {
        let of = self.region.len_bytes();
        match at.checked_add(len_bytes) {
            Some(end) if end <= of => Ok(()),
            _ => Err(AccessError::OutOfRange { at, len_bytes, of }),
        }
    }
}

impl<H: Host, L: RawMutex, M: Persistent> Device for RegionDevice<'_, H, L, M> {
    type Fault = AccessError<M::Fault>;

    fn len_bytes(&self) -> usize {
        self.region.len_bytes()
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Self::Fault> {
        self.region.read_at(at, into)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Self::Fault> {
        self.region.write_at(at, bytes)
    }

    fn write_word(&mut self, at: usize, word: u64) -> Result<(), Self::Fault> {
        self.check(at, 8)?;
        let mut guard = self.region.write();
        let written = guard.memory().write_word(at, word);
        written.map_err(AccessError::Fault)
    }

    fn flush(&mut self, at: usize, len_bytes: usize) -> Result<(), Self::Fault> {
        self.check(at, len_bytes)?;
        let guard = self.region.read();
        let flushed = guard.memory().flush(at, len_bytes);
        flushed.map_err(AccessError::Fault)
    }

    fn fence(&mut self) -> Result<(), Self::Fault> {
        self.fence.fence();
        Ok(())
    }
}
