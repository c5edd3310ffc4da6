//! A region: memory behind a key, which opens for an access and closes behind it.

use core::fmt;

use lock_api::RawMutex;
use pkeys_core::Rights;

use super::error::{AccessError, Lent, RegionError};
use super::host::Host;
use super::memory::KeyedMemory;
use super::page::Pages;
use super::regions::{Protected, Regions};
use super::table::Openers;
use crate::pks::{Grant, PksCpu, PksKey};

/// Memory of the kernel that nobody reaches but through a guard, for as long as there is one.
///
/// Reading needs a [`ReadGuard`], which grants the right to read and no more; writing needs a [`WriteGuard`], of which
/// there is one at a time. A guard belongs to the context that made it, and its grant ends when it is dropped. The memory
/// itself is lent only by the guard, so that no reference into it outlives the grant.
///
/// ```compile_fail,E0505
/// # use pkeys_kernel::pks::region::{Host, KeyedMemory, Region};
/// # fn case<H: Host, L: lock_api::RawMutex, M: KeyedMemory>(region: &Region<'_, H, L, M>) {
/// let guard = region.read();
/// let memory = guard.memory();
/// drop(guard); // closes the key
/// memory.pages();
/// # }
/// ```
///
/// ```
/// # use pkeys_kernel::pks::region::{Host, KeyedMemory, Region};
/// # fn case<H: Host, L: lock_api::RawMutex, M: KeyedMemory>(region: &Region<'_, H, L, M>) {
/// let guard = region.read();
/// let memory = guard.memory();
/// memory.pages();
/// drop(guard);
/// # }
/// ```
pub struct Region<'r, H: Host, L: RawMutex, M> {
    // First, so that the pages have lost their key when the memory is dropped.
    protected: Protected<'r, H, L>,
    memory: M,
    len_bytes: usize,
}

impl<'r, H: Host, L: RawMutex, M: KeyedMemory> Region<'r, H, L, M> {
    /// Puts memory behind a key, which it shares with all other regions of that key.
    ///
    /// # Errors
    ///
    /// [`RegionError`]; the memory is dropped then.
    pub fn new(
        regions: &'r Regions<'r, H, L>,
        memory: M,
        key: PksKey,
        openers: Openers,
    ) -> Result<Self, RegionError<H::Error>> {
        let pages = memory.pages().map_err(RegionError::NoPages)?;
        Ok(Self {
            protected: Protected::new(regions, pages, key, openers)?,
            memory,
            len_bytes: usize::try_from(pages.len_bytes()).unwrap_or(usize::MAX),
        })
    }

    /// Takes the key away and gives the memory back.
    ///
    /// # Errors
    ///
    /// The region as it was, while pages of it are lent out.
    pub fn close(mut self) -> Result<M, (Self, Lent)> {
        match self.protected.end() {
            Ok(()) => Ok(self.memory),
            Err(lent) => Err((self, lent)),
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The pages.
    #[must_use]
    pub const fn pages(&self) -> Pages {
        self.protected.pages()
    }

    /// The key; `None` if the mode was off when the region was made, and nothing is protected.
    #[must_use]
    pub fn key(&self) -> Option<PksKey> {
        self.protected.key()
    }

    /// Opens it for reading.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, H::Cpu, M> {
        ReadGuard {
            memory: &self.memory,
            len_bytes: self.len_bytes,
            _grant: self.open(Rights::ReadOnly),
        }
    }

    /// Opens it for reading and writing.
    #[inline]
    pub fn write(&mut self) -> WriteGuard<'_, H::Cpu, M> {
        let grant = self.open(Rights::ReadWrite);
        WriteGuard {
            memory: &mut self.memory,
            len_bytes: self.len_bytes,
            _grant: grant,
        }
    }

    /// Opens it for one read.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    #[inline]
    pub fn read_at(&self, at: usize, into: &mut [u8]) -> Result<(), AccessError<M::Fault>> {
        self.read().read(at, into)
    }

    /// Opens it for one write.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    #[inline]
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), AccessError<M::Fault>> {
        self.write().write(at, bytes)
    }

    fn open(&self, rights: Rights) -> Option<Grant<'r, H::Cpu>> {
        let key = self.key()?;
        Some(Grant::new(self.protected.host().cpu(), key, rights))
    }
}

/// A region that is open for reading.
#[must_use = "the region is closed when it is dropped"]
pub struct ReadGuard<'g, C: PksCpu, M> {
    memory: &'g M,
    len_bytes: usize,
    _grant: Option<Grant<'g, C>>,
}

impl<C: PksCpu, M: KeyedMemory> ReadGuard<'_, C, M> {
    /// Reads bytes, beginning so many behind the start of the region.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<(), AccessError<M::Fault>> {
        check(self.len_bytes, at, into.len())?;
        self.memory.read(at, into).map_err(AccessError::Fault)
    }

    /// The memory, for what else can be done with it.
    pub fn memory(&self) -> &M {
        self.memory
    }
}

/// A region that is open for reading and writing.
#[must_use = "the region is closed when it is dropped"]
pub struct WriteGuard<'g, C: PksCpu, M> {
    memory: &'g mut M,
    len_bytes: usize,
    _grant: Option<Grant<'g, C>>,
}

impl<C: PksCpu, M: KeyedMemory> WriteGuard<'_, C, M> {
    /// Reads bytes, beginning so many behind the start of the region.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<(), AccessError<M::Fault>> {
        check(self.len_bytes, at, into.len())?;
        self.memory.read(at, into).map_err(AccessError::Fault)
    }

    /// Writes bytes, beginning so many behind the start of the region.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), AccessError<M::Fault>> {
        check(self.len_bytes, at, bytes.len())?;
        self.memory.write(at, bytes).map_err(AccessError::Fault)
    }

    /// The memory, for what else can be done with it.
    pub fn memory(&mut self) -> &mut M {
        self.memory
    }
}

impl<H: Host, L: RawMutex, M> fmt::Debug for Region<'_, H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("protected", &self.protected)
            .finish_non_exhaustive()
    }
}

fn check<F>(of: usize, at: usize, len_bytes: usize) -> Result<(), AccessError<F>> {
    match at.checked_add(len_bytes) {
        Some(end) if end <= of => Ok(()),
        _ => Err(AccessError::OutOfRange { at, len_bytes, of }),
    }
}

impl<C: PksCpu, M> fmt::Debug for ReadGuard<'_, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

impl<C: PksCpu, M> fmt::Debug for WriteGuard<'_, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").finish_non_exhaustive()
    }
}
