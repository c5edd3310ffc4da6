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

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    /// Key by key (AD, WD), taken apart without a shift.
    type Model = [(bool, bool); 16];

    fn decode(register: KeyRegister) -> Model {
        let mut rest = register.bits();
        core::array::from_fn(|_| {
            let digit = rest % 4;
            rest /= 4;
            (digit % 2 == 1, digit >= 2)
        })
    }

    fn encode(model: Model) -> KeyRegister {
        let digit = |(ad, wd)| u32::from(ad) + 2 * u32::from(wd);
        let bits = model
            .iter()
            .rev()
            .fold(0, |bits, &pair| bits * 4 + digit(pair));
        KeyRegister::from_bits(bits)
    }

    fn pair(bits: AccessBits) -> (bool, bool) {
        match bits.bits() {
            0 => (false, false),
            1 => (true, false),
            2 => (false, true),
            _ => (true, true),
        }
    }

    fn all_bits() -> impl Iterator<Item = AccessBits> {
        (0..4).map(AccessBits::truncate)
    }

    /// Registers to change: every key alike, every single key different from the rest, and a few thousand mixed.
    fn backgrounds() -> Vec<KeyRegister> {
        let mut registers = Vec::new();
        for digit in 0..4 {
            let alike: Model = [pair(AccessBits::truncate(digit)); 16];
            registers.push(encode(alike));
            for odd in 0..16 {
                for bits in all_bits() {
                    let mut model = alike;
                    model[odd] = pair(bits);
                    registers.push(encode(model));
                }
            }
        }
        let mut random = 0x9E37_79B9_u32;
        registers.extend((0..4000).map(|_| {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            KeyRegister::from_bits(random)
        }));
        registers
    }

    #[test]
    fn a_change_of_one_key_leaves_the_fifteen_others() {
        for before in backgrounds() {
            for pkey in Pkey::all() {
                for bits in all_bits() {
                    let mut model = decode(before);
                    model[pkey.index()] = pair(bits);
                    let after = before.with(pkey, bits);
                    assert_eq!(after, encode(model), "{before} {pkey} {bits}");
                    assert_eq!(after.get(pkey), bits);
                }
            }
        }
    }

    #[test]
    fn every_key_is_read_from_its_own_bits() {
        for register in backgrounds() {
            for (pkey, (ad, wd)) in Pkey::all().zip(decode(register)) {
                assert_eq!(pair(register.get(pkey)), (ad, wd));
                assert_eq!(register.allows(pkey, Access::Read), !ad);
                assert_eq!(register.allows(pkey, Access::Write), !ad && !wd);
                assert!(register.allows(pkey, Access::Fetch));
                let rights = match (ad, wd) {
                    (true, _) => Rights::NoAccess,
                    (false, true) => Rights::ReadOnly,
                    (false, false) => Rights::ReadWrite,
                };
                assert_eq!(register.rights(pkey), rights);
            }
        }
    }

    #[test]
    fn merge_takes_the_listed_keys_and_no_others() {
        let registers = [0, 0xFFFF_FFFF, 0x5555_5554, 0x1234_5678].map(KeyRegister::from_bits);
        for keys in (0..=u16::MAX).step_by(5).chain([1, 0x8000, 0xFFFF]) {
            let keys = KeySet::from_bits(keys);
            for to in registers {
                for from in registers {
                    let mut model = decode(to);
                    for pkey in keys {
                        model[pkey.index()] = decode(from)[pkey.index()];
                    }
                    assert_eq!(to.merge(from, keys), encode(model), "{to} {from} {keys:?}");
                }
            }
        }
    }

    #[test]
    fn masks_cover_the_register_without_overlap() {
        let mut seen = 0_u32;
        for pkey in Pkey::all() {
            let mask = KeyRegister::mask(pkey);
            assert_eq!(seen & mask, 0);
            assert_eq!(mask, KeySet::of(pkey).register_mask());
            seen |= mask;
        }
        assert_eq!(seen, u32::MAX);
        assert_eq!(KeyRegister::mask(Pkey::DEFAULT), 3);
    }

    #[test]
    fn linux_starts_with_key_0_open_and_access_disabled_elsewhere() {
        let mut model: Model = [(true, false); 16];
        model[0] = (false, false);
        assert_eq!(KeyRegister::LINUX_INIT, encode(model));
        assert_eq!(KeyRegister::LINUX_INIT.to_string(), "0x55555554");
        assert_eq!(KeyRegister::ALL_OPEN, encode([(false, false); 16]));
        assert_eq!(KeyRegister::ALL_OPEN.to_string(), "0x00000000");
        assert_eq!(
            format!("{:?}", KeyRegister::ALL_OPEN),
            "KeyRegister(0x00000000)"
        );
        assert_eq!(format!("{:x}", KeyRegister::LINUX_INIT), "55555554");
    }
}
