//! The vault: secrets in a region that is closed to reads, and the functions that use them.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use lock_api::RawMutex;
use pkeys_core::Rights;
use pkeys_kernel::pks::PksKey;
use pkeys_kernel::pks::region::{AccessError, Host, KeyedMemory, Openers, Region, Regions};
use zeroize::{Zeroize, Zeroizing};

use super::error::{NoVault, VaultError};
use super::hmac::{self, BLOCK, TAG_LEN};

/// A secret in a vault. It says nothing about the secret, and becomes void when that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretId {
    place: usize,
    /// How many secrets there were at this place before.
    age: u64,
}

/// A place for a secret.
#[derive(Debug, Clone, Copy)]
struct Place {
    age: u64,
    is_used: bool,
}

/// Secrets for message authentication, which leave their region for no longer than a computation with them takes.
pub struct Vault<'r, H: Host, L: RawMutex, M: KeyedMemory> {
    region: Region<'r, H, L, M>,
    places: Vec<Place>,
}

impl<'r, H: Host, L: RawMutex, M: KeyedMemory> Vault<'r, H, L, M> {
    /// Makes a vault of memory, whose contents are erased, behind a key that should be its own alone.
    ///
    /// # Errors
    ///
    /// [`NoVault`].
    pub fn new(
        regions: &'r Regions<'r, H, L>,
        memory: M,
        key: PksKey,
    ) -> Result<Self, NoVault<H::Error, M::Fault>> {
        if regions.keys().closed().rights(key.pkey()) != Rights::NoAccess {
            return Err(NoVault::Readable { key });
        }
        let region = Region::new(regions, memory, key, Openers::Owner).map_err(NoVault::Region)?;
        let place = Place {
            age: 0,
            is_used: false,
        };
        let nr_places = region.len_bytes() / BLOCK;
        let mut vault = Self {
            region,
            places: vec![place; nr_places],
        };
        vault.erase().map_err(NoVault::Memory)?;
        Ok(vault)
    }

    /// Moves a secret into the vault: what it is copied from is erased, also when it is refused.
    ///
    /// # Errors
    ///
    /// [`VaultError::BadSecret`], [`VaultError::Full`], [`VaultError::Memory`].
    pub fn insert(&mut self, secret: &mut [u8]) -> Result<SecretId, VaultError<M::Fault>> {
        let secret = Erased(secret);
        let len_bytes = secret.0.len();
        let mut block = Zeroizing::new([0; BLOCK]);
        match block.get_mut(..len_bytes) {
            Some(start) if len_bytes > 0 => start.copy_from_slice(secret.0),
            _ => return Err(VaultError::BadSecret { len_bytes }),
        }
        let nr_secrets = self.places.len();
        let free = self.places.iter().position(|place| !place.is_used);
        let place = free.ok_or(VaultError::Full { nr_secrets })?;
        self.region
            .write_at(place * BLOCK, &*block)
            .map_err(VaultError::Memory)?;
        let at = &mut self.places[place];
        at.is_used = true;
        Ok(SecretId { place, age: at.age })
    }

    /// The tag of a message under a secret: HMAC with SHA-256.
    ///
    /// # Errors
    ///
    /// [`VaultError::NoSuchSecret`], [`VaultError::Memory`].
    pub fn sign(
        &self,
        id: SecretId,
        message: &[u8],
    ) -> Result<[u8; TAG_LEN], VaultError<M::Fault>> {
        self.check(id)?;
        let mut block = Zeroizing::new([0; BLOCK]);
        self.region
            .read_at(id.place * BLOCK, &mut *block)
            .map_err(VaultError::Memory)?;
        Ok(hmac::tag(&block, message))
    }

    /// Whether a tag is that of a message under a secret. How long this takes does not depend on the tag.
    ///
    /// # Errors
    ///
    /// As [`Vault::sign`].
    pub fn verify(
        &self,
        id: SecretId,
        message: &[u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<bool, VaultError<M::Fault>> {
        Ok(hmac::is_same(&self.sign(id, message)?, tag))
    }

    /// Erases a secret.
    ///
    /// # Errors
    ///
    /// [`VaultError::NoSuchSecret`], [`VaultError::Memory`].
    pub fn remove(&mut self, id: SecretId) -> Result<(), VaultError<M::Fault>> {
        self.check(id)?;
        self.region
            .write_at(id.place * BLOCK, &[0; BLOCK])
            .map_err(VaultError::Memory)?;
        let at = &mut self.places[id.place];
        at.is_used = false;
        at.age += 1;
        Ok(())
    }

    /// How many secrets there can be.
    #[must_use]
    pub fn nr_places(&self) -> usize {
        self.places.len()
    }

    fn check(&self, id: SecretId) -> Result<(), VaultError<M::Fault>> {
        match self.places.get(id.place) {
            Some(at) if at.is_used && at.age == id.age => Ok(()),
            _ => Err(VaultError::NoSuchSecret),
        }
    }
}

impl<H: Host, L: RawMutex, M: KeyedMemory> Vault<'_, H, L, M> {
    fn erase(&mut self) -> Result<(), AccessError<M::Fault>> {
        let len_bytes = self.region.len_bytes();
        let mut guard = self.region.write();
        for at in (0..len_bytes).step_by(BLOCK) {
            guard.write(at, &[0; BLOCK])?;
        }
        Ok(())
    }
}

/// The secrets are erased before their pages lose the key.
impl<H: Host, L: RawMutex, M: KeyedMemory> Drop for Vault<'_, H, L, M> {
    fn drop(&mut self) {
        // Memory that cannot be written any more is nobody's to read either.
        let _: Result<(), AccessError<M::Fault>> = self.erase();
    }
}

impl<H: Host, L: RawMutex, M: KeyedMemory> fmt::Debug for Vault<'_, H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nr_secrets = self.places.iter().filter(|place| place.is_used).count();
        f.debug_struct("Vault")
            .field("nr_secrets", &nr_secrets)
            .finish_non_exhaustive()
    }
}

/// Bytes that are erased in the end.
struct Erased<'a>(&'a mut [u8]);

impl Drop for Erased<'_> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
