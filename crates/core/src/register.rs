//! The key register: two bits for each of sixteen keys in 32 bits.
//!
//! PKRU (user pages) and PKRS (supervisor pages) have the same layout and differ in everything else: how they are
//! read and written, which pages they rule, who saves them. Key *k* has AD in bit 2*k* and WD in bit 2*k* + 1. To
//! confuse the two, or to give a key four bits, is the commonest mistake in code about keys, and it opens what it
//! should close; this file is the only one that shifts by a key.
//!
//! A [`KeyRegister`] is a value, not the register: reading the hardware's register gives one, writing takes one.
//! Changes go through [`KeyRegister::with`] and [`KeyRegister::merge`], which leave all other keys as they were,
//! because those belong to somebody else.
//!
//! Source: SDM Vol. 3A, 2.7 and 4.6.2; Linux `arch/x86/include/asm/pkru.h`, `arch/x86/mm/pkeys.c`.

use core::fmt;

use crate::key_set::KeySet;
use crate::pkey::Pkey;
use crate::rights::{Access, AccessBits, Rights};

/// The value of PKRU or of PKRS.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct KeyRegister(u32);

impl KeyRegister {
    /// Every key open: the hardware's value at reset, and what XRSTOR loads when the saved state has no PKRU.
    pub const ALL_OPEN: Self = Self(0);

    /// Linux's initial value of PKRU: key 0 open, AD set for each other key.
    ///
    /// Programs start with it, and so does every signal handler, whatever the interrupted code had. It can be set to
    /// something else by the boot parameter `init_pkru=` and in debugfs (`arch/x86/mm/pkeys.c`).
    pub const LINUX_INIT: Self = Self(0x5555_5554);

    /// The register with these bits. All 2^32 values are possible.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, as RDPKRU and RDMSR give them and WRPKRU and WRMSR take them.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The bits of one key, at their place in the register.
    #[must_use]
    #[inline]
    pub const fn mask(pkey: Pkey) -> u32 {
        AccessBits::ALL.bits() << shift(pkey)
    }

    /// The two bits of a key.
    #[must_use]
    #[inline]
    pub const fn get(self, pkey: Pkey) -> AccessBits {
        AccessBits::truncate(self.0 >> shift(pkey))
    }

    /// The register with the two bits of one key replaced and all others as they were.
    #[must_use]
    #[inline]
    pub const fn with(self, pkey: Pkey, bits: AccessBits) -> Self {
        Self(self.0 & !Self::mask(pkey) | bits.bits() << shift(pkey))
    }

    /// What the register lets one do with pages of a key.
    #[must_use]
    #[inline]
    pub const fn rights(self, pkey: Pkey) -> Rights {
        self.get(pkey).rights()
    }

    /// Whether the register's bits allow an access to pages of a key. The whole rule, with the cases in which the
    /// processor does not look at the register, is [`crate::KeyCheck::is_allowed`].
    #[must_use]
    #[inline]
    pub const fn allows(self, pkey: Pkey, access: Access) -> bool {
        self.get(pkey).allows(access)
    }

    /// The register with the bits of the keys in `keys` taken from `from`, and all others as they were.
    #[must_use]
    #[inline]
    pub const fn merge(self, from: Self, keys: KeySet) -> Self {
        let mask = keys.register_mask();
        Self(self.0 & !mask | from.0 & mask)
    }
}

/// Where the two bits of a key begin.
const fn shift(pkey: Pkey) -> u32 {
    pkey.get() as u32 * 2
}

impl fmt::Debug for KeyRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRegister({self})")
    }
}

/// Eight hexadecimal digits after `0x`, as Linux prints the register.
impl fmt::Display for KeyRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::LowerHex for KeyRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
