//! What may be done with the pages of a key: as two bits of the register, and as a choice of three.
//!
//! The hardware has two bits a key, access-disable (AD) and write-disable (WD), and so four values for three meanings:
//!
//! | WD | AD | [`AccessBits`] | [`Rights`] |
//! |---|---|---|---|
//! | 0 | 0 | `UNRESTRICTED` (0) | `ReadWrite` |
//! | 0 | 1 | `DISABLE_ACCESS` (1) | `NoAccess` |
//! | 1 | 0 | `DISABLE_WRITE` (2) | `ReadOnly` |
//! | 1 | 1 | `ALL` (3) | `NoAccess` |
//!
//! [`AccessBits`] is what is in the register, which a system call gives and takes as it is. [`Rights`] is what somebody
//! wants, with an order: more rights are greater. Reducing bits to rights loses the difference between 1 and 3, so
//! code that puts a register back keeps bits. None of the bits stops an instruction fetch.
//!
//! Source: SDM Vol. 3A, 4.6.2; `pkey_alloc(2)`; Linux `include/uapi/asm-generic/mman-common.h`.

use core::fmt;

/// What a memory access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A data read.
    Read,
    /// A data write; also a read-modify-write, which the processor checks as a write.
    Write,
    /// An instruction fetch. Protection keys never stop one.
    Fetch,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Fetch => "fetch",
        })
    }
}

/// The two bits of one key as they stand in the register: bit 0 is AD, bit 1 is WD.
///
/// The same numbers are the rights argument of `pkey_alloc(2)` and of glibc's `pkey_set(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct AccessBits(u8);

impl AccessBits {
    /// Nothing is disabled (`PKEY_UNRESTRICTED`).
    pub const UNRESTRICTED: Self = Self(0);

    /// AD: neither reads nor writes (`PKEY_DISABLE_ACCESS`).
    pub const DISABLE_ACCESS: Self = Self(1);

    /// WD: no writes (`PKEY_DISABLE_WRITE`). Supervisor writes heed it only while CR0.WP is set.
    pub const DISABLE_WRITE: Self = Self(2);

    /// Both bits.
    pub const ALL: Self = Self(3);

    /// The bits, or `None` when there are others than the two. `pkey_alloc(2)` answers those with `EINVAL`.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits <= 3 {
            Some(Self::truncate(bits))
        } else {
            None
        }
    }

    /// The low two bits; the others are ignored.
    #[must_use]
    #[inline]
    pub const fn truncate(bits: u32) -> Self {
        Self((bits & 3) as u8)
    }

    /// The bits, 0 to 3.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Whether an access of that kind passes these bits, if they are heeded at all: in which cases they are not is the
    /// matter of [`crate::access`].
    #[must_use]
    #[inline]
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.0 & Self::DISABLE_ACCESS.0 == 0,
            Access::Write => self.0 == 0,
            Access::Fetch => true,
        }
    }

    /// What the bits come to.
    #[must_use]
    #[inline]
    pub const fn rights(self) -> Rights {
        if self.allows(Access::Write) {
            Rights::ReadWrite
        } else if self.allows(Access::Read) {
            Rights::ReadOnly
        } else {
            Rights::NoAccess
        }
    }
}

impl fmt::Debug for AccessBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessBits({self})")
    }
}

/// The names of the bits that are set, or `none`.
impl fmt::Display for AccessBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match *self {
            Self::UNRESTRICTED => "none",
            Self::DISABLE_ACCESS => "AD",
            Self::DISABLE_WRITE => "WD",
            _ => "AD|WD",
        })
    }
}

impl From<Rights> for AccessBits {
    fn from(rights: Rights) -> Self {
        rights.access_bits()
    }
}

/// What may be done with the pages of a key. More is greater: `NoAccess < ReadOnly < ReadWrite`.
///
/// Other architectures tell more apart (Arm has a bit against execution), so there may be more values one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rights {
    /// Neither reads nor writes.
    NoAccess,
    /// Reads.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

impl Rights {
    /// The bits that give these rights.
    ///
    /// `NoAccess` sets both bits (3), although AD alone would do. Linux starts every thread and every signal handler
    /// with AD alone (1) for keys 1 to 15, see [`crate::KeyRegister::LINUX_INIT`]. So in a register that only this
    /// project writes, 3 is a key that was closed on purpose and 1 is a key that nobody touched since the start.
    #[must_use]
    #[inline]
    pub const fn access_bits(self) -> AccessBits {
        match self {
            Self::NoAccess => AccessBits::ALL,
            Self::ReadOnly => AccessBits::DISABLE_WRITE,
            Self::ReadWrite => AccessBits::UNRESTRICTED,
        }
    }

    /// Whether they allow an access of that kind. Fetches are always allowed.
    #[must_use]
    #[inline]
    pub const fn allows(self, access: Access) -> bool {
        self.access_bits().allows(access)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoAccess => "no access",
            Self::ReadOnly => "read only",
            Self::ReadWrite => "read and write",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    /// The whole meaning of the two bits: value, rights, read, write, name.
    const TABLE: [(u32, Rights, bool, bool, &str); 4] = [
        (0, Rights::ReadWrite, true, true, "none"),
        (1, Rights::NoAccess, false, false, "AD"),
        (2, Rights::ReadOnly, true, false, "WD"),
        (3, Rights::NoAccess, false, false, "AD|WD"),
    ];

    #[test]
    fn bits_mean_what_the_manual_says() {
        for (value, rights, read, write, name) in TABLE {
            let bits = AccessBits::from_bits(value).unwrap();
            assert_eq!(bits.bits(), value);
            assert_eq!(bits.rights(), rights);
            assert_eq!(bits.allows(Access::Read), read);
            assert_eq!(bits.allows(Access::Write), write);
            assert!(bits.allows(Access::Fetch));
            assert_eq!(bits.to_string(), name);
            assert_eq!(format!("{bits:?}"), format!("AccessBits({name})"));
        }
        assert_eq!(AccessBits::UNRESTRICTED.bits(), 0);
        assert_eq!(AccessBits::DISABLE_ACCESS.bits(), 1);
        assert_eq!(AccessBits::DISABLE_WRITE.bits(), 2);
        assert_eq!(AccessBits::ALL.bits(), 3);
    }

    #[test]
    fn other_bits_are_refused_or_cut_off() {
        for value in (0..0x1_0000).chain((2..32).map(|bit| 1 << bit)) {
            assert_eq!(AccessBits::from_bits(value).is_some(), value < 4);
            assert_eq!(AccessBits::truncate(value).bits(), value % 4);
        }
    }

    #[test]
    fn rights_survive_the_way_through_bits_and_closing_sets_both() {
        for (rights, value) in [
            (Rights::NoAccess, 3),
            (Rights::ReadOnly, 2),
            (Rights::ReadWrite, 0),
        ] {
            assert_eq!(rights.access_bits().bits(), value);
            assert_eq!(AccessBits::from(rights).rights(), rights);
        }
    }

    #[test]
    fn more_rights_are_greater_and_allow_no_less() {
        let order = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];
        let allowed = |rights: Rights| {
            [Access::Read, Access::Write, Access::Fetch].map(|access| rights.allows(access))
        };
        assert_eq!(allowed(order[0]), [false, false, true]);
        assert_eq!(allowed(order[1]), [true, false, true]);
        assert_eq!(allowed(order[2]), [true, true, true]);
        assert!(order.is_sorted_by(|less, more| less < more));
    }

    #[test]
    fn names_are_those_of_the_reports() {
        assert_eq!(Rights::NoAccess.to_string(), "no access");
        assert_eq!(Rights::ReadOnly.to_string(), "read only");
        assert_eq!(Rights::ReadWrite.to_string(), "read and write");
        let accesses = [Access::Read, Access::Write, Access::Fetch];
        assert_eq!(accesses.map(|a| a.to_string()), ["read", "write", "fetch"]);
    }
}
