//! A supervisor key as a value: any key but 0.
//!
//! Key 0 is every page that has no other key, the kernel's code, stacks and tables among them. A context that loses it
//! cannot even fault: the processor pushes the exception's frame through the same register. So no function that grants,
//! closes, registers or counts takes a bare number. They take a [`PksKey`], and the one gate to it refuses 0.

use core::fmt;

use pkeys_core::Pkey;

/// A supervisor key, 1 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PksKey(Pkey);

impl PksKey {
    /// The key with that number.
    ///
    /// # Errors
    ///
    /// [`NoPksKey::KeyZero`].
    #[inline]
    pub const fn new(pkey: Pkey) -> Result<Self, NoPksKey> {
        if pkey.get() == Pkey::DEFAULT.get() {
            Err(NoPksKey::KeyZero)
        } else {
            Ok(Self(pkey))
        }
    }

    /// As in a page-table entry and in the register.
    #[must_use]
    #[inline]
    pub const fn pkey(self) -> Pkey {
        self.0
    }

    /// All fifteen.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + Clone {
        Pkey::all().filter_map(|pkey| Self::new(pkey).ok())
    }
}

impl From<PksKey> for Pkey {
    #[inline]
    fn from(key: PksKey) -> Self {
        key.0
    }
}

impl TryFrom<Pkey> for PksKey {
    type Error = NoPksKey;

    fn try_from(pkey: Pkey) -> Result<Self, NoPksKey> {
        Self::new(pkey)
    }
}

/// From a bare number.
impl TryFrom<u32> for PksKey {
    type Error = NoPksKey;

    fn try_from(number: u32) -> Result<Self, NoPksKey> {
        let pkey = u8::try_from(number).ok().and_then(Pkey::new);
        pkey.map_or(Err(NoPksKey::TooLarge { number }), Self::new)
    }
}

impl fmt::Display for PksKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a number is no supervisor key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPksKey {
    /// Key 0 is every page without another key.
    KeyZero,
    /// There are sixteen keys.
    TooLarge {
        /// The number.
        number: u32,
    },
}

impl fmt::Display for NoPksKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyZero => f.write_str("key 0 is every page without another key"),
            Self::TooLarge { number } => write!(f, "{number} is no key: there are 16"),
        }
    }
}

impl core::error::Error for NoPksKey {}
