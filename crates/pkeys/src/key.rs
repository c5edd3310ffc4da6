//! A bare protection key, checked: for code that tags memory of its own.
//!
//! Linux once was to have `pkey_get` and `pkey_set` as system calls that refuse a key which is not allocated; glibc's
//! functions of that name check nothing, and happily change the rights of a key that was freed, or of somebody else's.
//! Here both look at the allocation map first: one load of one atomic word, no lock, no system call.

use core::fmt;
use std::io;

use pkeys_core::{Pkey, Rights};

use crate::registry::keys;
use crate::support::{self, Keys, Unsupported};
use crate::sys;

/// A protection key that was allocated through this library. A copyable number, like a file descriptor: it can be freed
/// while copies are left, and these then give [`KeyError::NotAllocated`].
///
/// ```
/// # if pkeys::support().is_err() { return Ok(()) }
/// use pkeys::{Key, Rights};
///
/// let key = Key::alloc(Rights::NoAccess)?;
/// key.set(Rights::ReadOnly)?;
/// assert_eq!(key.get()?, Rights::ReadOnly);
/// # #[allow(unsafe_code)]
/// // SAFETY: no page was ever tagged with it.
/// unsafe { key.free()? };
/// assert!(key.get().is_err());
/// # Ok::<(), pkeys::KeyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    keys: Keys,
    pkey: Pkey,
}

impl Key {
    /// `int pkey_alloc(unsigned int flags, unsigned int access_rights)`, `pkey_alloc(2)`: takes the lowest free key. The
    /// calling thread gets `initial` rights to it; other threads keep what their register says, usually nothing.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unsupported`] where there are no keys; [`KeyError::Os`] with `ENOSPC` when all are taken.
    #[doc(alias = "pkey_alloc")]
    pub fn alloc(initial: Rights) -> Result<Self, KeyError> {
        let keys = support::keys()?;
        let pkey = sys::pkey_alloc(initial.access_bits()).map_err(|source| KeyError::Os {
            call: "pkey_alloc",
            source,
        })?;
        keys::mark(pkey, true);
        Ok(Self { keys, pkey })
    }

    /// The key's number.
    #[must_use]
    pub const fn pkey(self) -> Pkey {
        self.pkey
    }

    /// `int pkey_get(int pkey)`, `pkey_get(3)`, checked: what the calling thread may do with pages of this key.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAllocated`] after the key was freed.
    #[inline]
    #[doc(alias = "pkey_get")]
    pub fn get(self) -> Result<Rights, KeyError> {
        self.check()?;
        Ok(self.keys.pku.read().rights(self.pkey))
    }

    /// `int pkey_set(int pkey, unsigned int access_rights)`, `pkey_set(3)`, checked: changes what the calling thread may do
    /// with pages of this key, and nothing else in its register.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAllocated`] after the key was freed.
    #[inline]
    #[doc(alias = "pkey_set")]
    #[allow(unsafe_code, reason = "WRPKRU")]
    pub fn set(self, rights: Rights) -> Result<(), KeyError> {
        self.check()?;
        let register = self.keys.pku.read().with(self.pkey, rights.access_bits());
        // SAFETY: the kernel never hands out key 0 while it is allocated, and nobody frees it here (1); the key is
        // the caller's (2).
        unsafe { self.keys.pku.write(register) };
        Ok(())
    }

    /// `int pkey_free(int pkey)`, `pkey_free(2)`: gives the key back. The calling thread's rights to it are closed.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAllocated`] when it was freed before.
    ///
    /// # Safety
    ///
    /// 1. No page carries the key any more, and no other thread has it open: its next owner would share both.
    #[doc(alias = "pkey_free")]
    #[allow(unsafe_code, reason = "pkey_free(2)")]
    pub unsafe fn free(self) -> Result<(), KeyError> {
        self.set(Rights::NoAccess)?;
        // One of several callers takes the bit out of the map and goes on to free the number.
        if !keys::mark(self.pkey, false) {
            return Err(KeyError::NotAllocated { pkey: self.pkey });
        }
        // SAFETY: the caller's word (1).
        unsafe { sys::pkey_free(self.pkey) }.map_err(|source| KeyError::Os {
            call: "pkey_free",
            source,
        })
    }

    /// `int pkey_mprotect(void addr[.size], size_t size, int prot, int pkey)`, `pkey_mprotect(2)`: tags pages, which stay
    /// readable and writable, with this key.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAllocated`] after the key was freed; [`KeyError::Os`] with what the kernel answered.
    ///
    /// # Safety
    ///
    /// 1. The caller owns the pages of `addr..addr + len_bytes`.
    /// 2. No reference into them exists while the key is closed.
    #[doc(alias = "pkey_mprotect")]
    #[allow(unsafe_code, reason = "pkey_mprotect(2)")]
    pub unsafe fn protect(self, addr: *mut u8, len_bytes: usize) -> Result<(), KeyError> {
        self.check()?;
        // SAFETY: the caller's word (1, 2).
        unsafe { sys::pkey_mprotect(addr.addr(), len_bytes, sys::Prot::ReadWrite, self.pkey) }
            .map_err(|source| KeyError::Os {
                call: "pkey_mprotect",
                source,
            })
    }

    #[inline]
    fn check(self) -> Result<(), KeyError> {
        if keys::is_allocated(self.pkey) {
            return Ok(());
        }
        Err(KeyError::NotAllocated { pkey: self.pkey })
    }
}

/// An operation on a [`Key`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// There are no protection keys here.
    Unsupported(Unsupported),
    /// The key is not allocated, or no longer.
    NotAllocated {
        /// Its number.
        pkey: Pkey,
    },
    /// A system call failed.
    Os {
        /// Which one.
        call: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(unsupported) => unsupported.fmt(f),
            Self::NotAllocated { pkey } => write!(f, "protection key {pkey} is not allocated"),
            Self::Os { call, source } => write!(f, "{call}(2) failed: {source}"),
        }
    }
}

impl core::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Unsupported> for KeyError {
    fn from(unsupported: Unsupported) -> Self {
        Self::Unsupported(unsupported)
    }
}
