//! What the vault can refuse.

use core::fmt;

use pkeys_kernel::pks::PksKey;
use pkeys_kernel::pks::region::{AccessError, RegionError};

use super::hmac::BLOCK;

/// Why there is no vault: `E` is what its page tables, `F` what its memory can end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoVault<E, F> {
    /// The key is one that everybody may read.
    Readable {
        /// The key.
        key: PksKey,
    },
    /// There is no region.
    Region(RegionError<E>),
    /// The memory could not be erased.
    Memory(AccessError<F>),
}

impl<E: fmt::Display, F: fmt::Display> fmt::Display for NoVault<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable { key } => write!(f, "everybody may read the pages of key {key}"),
            Self::Region(why) => why.fmt(f),
            Self::Memory(why) => why.fmt(f),
        }
    }
}

impl<E, F> core::error::Error for NoVault<E, F>
where
    E: core::error::Error + 'static,
    F: core::error::Error + 'static,
{
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Readable { .. } => None,
            Self::Region(why) => Some(why),
            Self::Memory(why) => Some(why),
        }
    }
}

/// Why a secret is not taken or not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultError<F> {
    /// Secrets have 1 to 64 bytes.
    BadSecret {
        /// The length that was given.
        len_bytes: usize,
    },
    /// There is no room for one more.
    Full {
        /// How many there are.
        nr_secrets: usize,
    },
    /// There is no such secret, or not any more.
    NoSuchSecret,
    /// The memory's own error.
    Memory(AccessError<F>),
}

impl<F: fmt::Display> fmt::Display for VaultError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSecret { len_bytes } => {
                write!(f, "secrets have 1 to {BLOCK} bytes, this has {len_bytes}")
            }
            Self::Full { nr_secrets } => {
                write!(f, "there are {nr_secrets} secrets, and room for no more")
            }
            Self::NoSuchSecret => f.write_str("there is no such secret"),
            Self::Memory(why) => why.fmt(f),
        }
    }
}

impl<F: core::error::Error + 'static> core::error::Error for VaultError<F> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Memory(why) => Some(why),
            _ => None,
        }
    }
}
