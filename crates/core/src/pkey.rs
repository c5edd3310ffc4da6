//! The number of a protection key.
//!
//! x86 has four bits for a key in each leaf entry of the page tables, hence sixteen keys. [`Pkey`] is such a number
//! and nothing more: it does not say that the key is allocated (see [`crate::alloc_map`]) or what may be done with
//! its pages (see [`crate::register`]). The bound is kept by the type, so that whoever holds one may shift and index
//! by it without another check. Numbers from outside, which in Linux's system calls are signed, come in through
//! [`Pkey::checked`]; fields that have only four bits come in through [`Pkey::truncate`].
//!
//! Source: SDM Vol. 3A, 4.6.2; `pkeys(7)`.

use core::fmt;

/// The number of a protection key, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pkey(u8);

impl Pkey {
    /// How many keys there are.
    pub const COUNT: usize = 16;

    /// Key 0, which every page has that was given no other. It also carries stacks, code and the heap: who closes it
    /// closes the program.
    pub const DEFAULT: Self = Self(0);

    /// The key with that number, or `None` from 16 on.
    #[must_use]
    #[inline]
    pub const fn new(pkey: u8) -> Option<Self> {
        if pkey < 16 { Some(Self(pkey)) } else { None }
    }

    /// The key with that number, as system calls take and return it.
    ///
    /// # Errors
    ///
    /// [`InvalidPkey`] when the number is negative or above 15. So `-1`, which `pkey_mprotect(2)` takes for "keep the
    /// key", is no key.
    #[inline]
    pub const fn checked(pkey: i32) -> Result<Self, InvalidPkey> {
        match pkey {
            0..=15 => Ok(Self::truncate(pkey.cast_unsigned())),
            _ => Err(InvalidPkey { pkey }),
        }
    }

    /// The key in the low four bits; the others are ignored.
    #[must_use]
    #[inline]
    pub const fn truncate(bits: u32) -> Self {
        Self((bits & 0xF) as u8)
    }

    /// The number, 0 to 15.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number as an index into an array of [`Pkey::COUNT`] elements, which it never exceeds.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        // The mask changes nothing; it tells the compiler the bound, so that it leaves out the check of the index.
        (self.0 & 0xF) as usize
    }

    /// Every key, from 0 up.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..16).map(Self)
    }
}

impl fmt::Display for Pkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<i32> for Pkey {
    type Error = InvalidPkey;

    fn try_from(pkey: i32) -> Result<Self, InvalidPkey> {
        Self::checked(pkey)
    }
}

impl From<Pkey> for u8 {
    fn from(pkey: Pkey) -> Self {
        pkey.0
    }
}

impl From<Pkey> for u32 {
    fn from(pkey: Pkey) -> Self {
        Self::from(pkey.0)
    }
}

impl From<Pkey> for i32 {
    fn from(pkey: Pkey) -> Self {
        Self::from(pkey.0)
    }
}

/// A number that is no protection key. System calls answer it with `EINVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InvalidPkey {
    /// The number that was given.
    pub pkey: i32,
}

impl fmt::Display for InvalidPkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a protection key: keys are 0 to 15", self.pkey)
    }
}

impl core::error::Error for InvalidPkey {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn numbers_from_0_to_15_are_keys_and_no_others() {
        for number in 0..=u8::MAX {
            let pkey = Pkey::new(number);
            assert_eq!(pkey.is_some(), number < 16, "{number}");
            assert_eq!(pkey.map_or(number, Pkey::get), number);
        }
        for number in (-70_000..70_000).chain([i32::MIN, i32::MIN + 1, i32::MAX - 1, i32::MAX]) {
            match Pkey::try_from(number) {
                Ok(pkey) => {
                    assert!((0..=15).contains(&number), "{number}");
                    assert_eq!(i32::from(pkey), number);
                }
                Err(error) => {
                    assert!(!(0..=15).contains(&number), "{number}");
                    assert_eq!(error.pkey, number);
                    assert!(error.to_string().starts_with(&number.to_string()));
                }
            }
        }
    }

    #[test]
    fn truncate_is_the_remainder_by_sixteen() {
        for bits in (0..0x1_0000).chain([u32::MAX, 0x8000_0000, 0xFFFF_FFF0]) {
            assert_eq!(u32::from(Pkey::truncate(bits)), bits % 16);
        }
    }

    #[test]
    fn all_lists_each_key_once_upwards() {
        let numbers: Vec<u8> = Pkey::all().map(u8::from).collect();
        let expected: Vec<u8> = (0..16).collect();
        assert_eq!(numbers, expected);
        assert_eq!(Pkey::all().len(), Pkey::COUNT);
        for (index, pkey) in Pkey::all().enumerate() {
            assert_eq!(pkey.index(), index);
            assert_eq!(pkey.to_string(), index.to_string());
        }
        assert_eq!(Pkey::all().next(), Some(Pkey::DEFAULT));
    }
}
