//! The error code of a page fault.
//!
//! The processor pushes it with exception 14; Linux shows it to a signal handler as `REG_ERR`. Two things about it
//! are easily taken wrong:
//!
//! * Bit 5 (PK) says that a key was among the reasons, but its absence does not say that none was. A fault on a page
//!   that is not present has the bit clear even if the key would have denied the access as well, and Linux reports
//!   such a fault as one of keys. In a program, classify by `si_code`: [`crate::siginfo::is_pkey_fault`].
//! * The key itself is not in it. Whoever wants it looks it up by the address, after the fact.
//!
//! What the access did is always in it: [`PageFaultErrorCode::access`].
//!
//! Source: SDM Vol. 3A, 4.7; Linux `arch/x86/include/asm/trap_pf.h`.

use core::fmt;

use crate::rights::Access;

/// The error code of a page fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PageFaultErrorCode(u32);

impl PageFaultErrorCode {
    /// P, bit 0: the page was present, so that its protection was violated.
    pub const P: u32 = 1 << 0;
    /// W/R, bit 1: the access was a write.
    pub const W: u32 = 1 << 1;
    /// U/S, bit 2: the access was made in user mode.
    pub const U: u32 = 1 << 2;
    /// RSVD, bit 3: a reserved bit is set in an entry of the page tables.
    pub const RSVD: u32 = 1 << 3;
    /// I/D, bit 4: the access was an instruction fetch.
    pub const I: u32 = 1 << 4;
    /// PK, bit 5: a protection key denied the access.
    pub const PK: u32 = 1 << 5;
    /// SS, bit 6: the access was one to a shadow stack.
    pub const SS: u32 = 1 << 6;
    /// SGX, bit 15: the fault has to do with SGX and not with paging.
    pub const SGX: u32 = 1 << 15;

    const KNOWN: u32 =
        Self::P | Self::W | Self::U | Self::RSVD | Self::I | Self::PK | Self::SS | Self::SGX;

    /// The code with these bits. Bits without a name here are kept.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of these bits are set.
    #[must_use]
    #[inline]
    pub const fn contains(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// What the access did: a fetch by bit 4, else a write by bit 1, else a read.
    #[must_use]
    #[inline]
    pub const fn access(self) -> Access {
        if self.contains(Self::I) {
            Access::Fetch
        } else if self.contains(Self::W) {
            Access::Write
        } else {
            Access::Read
        }
    }

    /// Whether the access was made in user mode.
    #[must_use]
    #[inline]
    pub const fn is_user(self) -> bool {
        self.contains(Self::U)
    }

    /// Whether the page was present.
    #[must_use]
    #[inline]
    pub const fn is_present(self) -> bool {
        self.contains(Self::P)
    }

    /// Whether the processor found a key among the reasons. If not, a key may still be one: see the top of this
    /// module.
    #[must_use]
    #[inline]
    pub const fn has_pkey_bit(self) -> bool {
        self.contains(Self::PK)
    }
}

impl fmt::Debug for PageFaultErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageFaultErrorCode({:#x}: {self})", self.0)
    }
}

/// In words, such as `user write, page present, protection key`.
impl fmt::Display for PageFaultErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.is_user() { "user" } else { "supervisor" };
        let presence = if self.is_present() { "" } else { "not " };
        write!(f, "{mode} {}, page {presence}present", self.access())?;
        // The processor does not report a write and a fetch at once; should it, neither is lost.
        if self.contains(Self::W | Self::I) {
            f.write_str(", write")?;
        }
        for (bit, name) in [
            (Self::RSVD, "reserved bit"),
            (Self::PK, "protection key"),
            (Self::SS, "shadow stack"),
            (Self::SGX, "SGX"),
        ] {
            if self.contains(bit) {
                write!(f, ", {name}")?;
            }
        }
        match self.0 & !Self::KNOWN {
            0 => Ok(()),
            others => write!(f, ", other bits {others:#x}"),
        }
    }
}

impl From<u32> for PageFaultErrorCode {
    fn from(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn codes_read_as_sentences() {
        // The codes of key faults as processors give them, and their neighbours.
        let table = [
            (0x00, "supervisor read, page not present"),
            (0x04, "user read, page not present"),
            (0x07, "user write, page present"),
            (0x15, "user fetch, page present"),
            (0x21, "supervisor read, page present, protection key"),
            (0x23, "supervisor write, page present, protection key"),
            (0x25, "user read, page present, protection key"),
            (0x27, "user write, page present, protection key"),
            (0x47, "user write, page present, shadow stack"),
            (
                0x8029,
                "supervisor read, page present, reserved bit, protection key, SGX",
            ),
            (0x12, "supervisor fetch, page not present, write"),
            (
                0x1_0080,
                "supervisor read, page not present, other bits 0x10080",
            ),
        ];
        for (bits, text) in table {
            let code = PageFaultErrorCode::from(bits);
            assert_eq!(code.to_string(), text, "{bits:#x}");
            assert_eq!(
                format!("{code:?}"),
                format!("PageFaultErrorCode({bits:#x}: {text})")
            );
        }
    }

    #[test]
    fn every_code_is_taken_apart_bit_by_bit() {
        for bits in 0..=0xFFFF_u32 {
            let code = PageFaultErrorCode::from_bits(bits);
            let bit = |number: u32| bits / 2_u32.pow(number) % 2 == 1;
            let access = match (bit(4), bit(1)) {
                (true, _) => Access::Fetch,
                (false, true) => Access::Write,
                (false, false) => Access::Read,
            };
            assert_eq!(code.access(), access, "{bits:#x}");
            assert_eq!(code.is_present(), bit(0));
            assert_eq!(code.is_user(), bit(2));
            assert_eq!(code.has_pkey_bit(), bit(5));
            assert_eq!(code.contains(PageFaultErrorCode::RSVD), bit(3));
            assert_eq!(code.contains(PageFaultErrorCode::SS), bit(6));
            assert_eq!(code.contains(PageFaultErrorCode::SGX), bit(15));
            assert_eq!(code.bits(), bits);
        }
    }

    #[test]
    fn contains_asks_for_all_of_the_bits() {
        let write = PageFaultErrorCode::from_bits(0x23);
        assert!(write.contains(PageFaultErrorCode::P | PageFaultErrorCode::PK));
        assert!(!write.contains(PageFaultErrorCode::U | PageFaultErrorCode::PK));
        assert!(write.contains(0));
    }
}
