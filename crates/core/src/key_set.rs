//! A set of protection keys, sixteen bits wide.
//!
//! Bit *k* stands for key *k*. The register does not have this form, since it has two bits a key;
//! [`KeySet::register_mask`] spreads a set to it. Sets say which keys are ours, which are held open, which of two
//! registers' keys are to be taken over ([`crate::KeyRegister::merge`]). They are plain values: every operation gives
//! a new one.

use core::fmt;
use core::iter::FusedIterator;

use crate::pkey::Pkey;

/// A set of protection keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct KeySet(u16);

impl KeySet {
    /// No key.
    pub const EMPTY: Self = Self(0);

    /// Every key, key 0 among them.
    pub const ALL: Self = Self(u16::MAX);

    /// The set with that one key.
    #[must_use]
    #[inline]
    pub const fn of(pkey: Pkey) -> Self {
        Self(1 << pkey.get())
    }

    /// The set from its bit map, bit *k* for key *k*. Every bit map is a set.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bit map, bit *k* for key *k*.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether the key is a member.
    #[must_use]
    #[inline]
    pub const fn contains(self, pkey: Pkey) -> bool {
        self.0 & Self::of(pkey).0 != 0
    }

    /// Whether there is no member.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many members there are, 0 to 16.
    #[must_use]
    #[inline]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The set with that key in it, whether or not it was before.
    #[must_use]
    #[inline]
    pub const fn with(self, pkey: Pkey) -> Self {
        self.union(Self::of(pkey))
    }

    /// The set without that key, whether or not it was in it.
    #[must_use]
    #[inline]
    pub const fn without(self, pkey: Pkey) -> Self {
        self.difference(Self::of(pkey))
    }

    /// The keys that are in either set.
    #[must_use]
    #[inline]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The keys that are in both sets.
    #[must_use]
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The keys of this set that are not in the other.
    #[must_use]
    #[inline]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The member with the lowest number.
    #[must_use]
    #[inline]
    pub const fn lowest(self) -> Option<Pkey> {
        if self.0 == 0 {
            None
        } else {
            Some(Pkey::truncate(self.0.trailing_zeros()))
        }
    }

    /// The members, from the lowest number up.
    #[must_use]
    #[inline]
    pub const fn iter(self) -> KeySetIter {
        KeySetIter(self)
    }

    /// The bits that these keys have in a key register: for every member *k* the bits 2*k* and 2*k* + 1.
    #[must_use]
    #[inline]
    pub const fn register_mask(self) -> u32 {
        // Each step halves the groups and moves the upper half of each group away by the group's half width, until
        // bit k stands at 2k. Seven operations without a loop, as this is on the way of a context switch.
        let mut spread = self.0 as u32;
        spread = (spread | spread << 8) & 0x00FF_00FF;
        spread = (spread | spread << 4) & 0x0F0F_0F0F;
        spread = (spread | spread << 2) & 0x3333_3333;
        spread = (spread | spread << 1) & 0x5555_5555;
        spread | spread << 1
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Pkey::get)).finish()
    }
}

/// The numbers with commas between them, or `none`.
impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for pkey in *self {
            write!(f, "{separator}{pkey}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl FromIterator<Pkey> for KeySet {
    fn from_iter<I: IntoIterator<Item = Pkey>>(keys: I) -> Self {
        keys.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl IntoIterator for KeySet {
    type Item = Pkey;
    type IntoIter = KeySetIter;

    fn into_iter(self) -> KeySetIter {
        self.iter()
    }
}

/// The members of a [`KeySet`], from the lowest number up.
#[derive(Debug, Clone)]
pub struct KeySetIter(KeySet);

impl Iterator for KeySetIter {
    type Item = Pkey;

    #[inline]
    fn next(&mut self) -> Option<Pkey> {
        let pkey = self.0.lowest()?;
        // Takes the lowest bit away whatever it is, so that the walk ends after sixteen steps at most.
        let bits = self.0.bits();
        self.0 = KeySet::from_bits(bits & bits.wrapping_sub(1));
        Some(pkey)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for KeySetIter {}
impl FusedIterator for KeySetIter {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;
    use std::string::ToString;

    /// The bit map of a model set, by addition.
    fn bits(model: &BTreeSet<u8>) -> u16 {
        model.iter().map(|&pkey| 2_u16.pow(u32::from(pkey))).sum()
    }

    /// Sets to pair with: some of everything.
    fn partners() -> impl Iterator<Item = KeySet> {
        let patterns = [0, 1, 0x8000, 0x00FF, 0xAAAA, 0x1234, 0xFFFF];
        patterns.into_iter().map(KeySet::from_bits)
    }

    fn model(set: KeySet) -> BTreeSet<u8> {
        let mut rest = set.bits();
        let mut model = BTreeSet::new();
        for number in 0..16 {
            if rest % 2 == 1 {
                model.insert(number);
            }
            rest /= 2;
        }
        model
    }

    #[test]
    fn every_set_agrees_with_a_set_of_numbers() {
        for pattern in 0..=u16::MAX {
            let set = KeySet::from_bits(pattern);
            let model = model(set);
            assert_eq!(set.len(), model.len());
            assert_eq!(set.is_empty(), model.is_empty());
            assert!(set.iter().map(Pkey::get).eq(model.iter().copied()));
            assert_eq!(set.lowest().map(Pkey::get), model.first().copied());
            assert_eq!(set.iter().len(), model.len());
            assert_eq!(set.into_iter().collect::<KeySet>(), set);
        }
    }

    #[test]
    fn every_change_of_one_key_agrees_with_a_set_of_numbers() {
        for pattern in (0..=u16::MAX).step_by(7) {
            let set = KeySet::from_bits(pattern);
            for pkey in Pkey::all() {
                let mut model = model(set);
                assert_eq!(set.contains(pkey), model.contains(&pkey.get()));
                model.insert(pkey.get());
                assert_eq!(set.with(pkey).bits(), bits(&model));
                model.remove(&pkey.get());
                assert_eq!(set.without(pkey).bits(), bits(&model));
            }
        }
    }

    #[test]
    fn operations_on_two_sets_agree_with_sets_of_numbers() {
        for pattern in (0..=u16::MAX).step_by(3) {
            let (a, model_a) = (
                KeySet::from_bits(pattern),
                model(KeySet::from_bits(pattern)),
            );
            for b in partners() {
                let model_b = model(b);
                assert_eq!(a.union(b).bits(), bits(&(&model_a | &model_b)));
                assert_eq!(a.intersection(b).bits(), bits(&(&model_a & &model_b)));
                assert_eq!(a.difference(b).bits(), bits(&(&model_a - &model_b)));
            }
        }
    }

    #[test]
    fn register_mask_has_two_bits_for_each_member() {
        for pattern in 0..=u16::MAX {
            let set = KeySet::from_bits(pattern);
            let expected: u32 = model(set)
                .iter()
                .map(|&k| 3 * 4_u32.pow(u32::from(k)))
                .sum();
            assert_eq!(set.register_mask(), expected, "{set:?}");
        }
    }

    #[test]
    fn text_lists_the_numbers() {
        let set: KeySet = [15, 0, 3].into_iter().filter_map(Pkey::new).collect();
        assert_eq!(set.to_string(), "0, 3, 15");
        assert_eq!(format!("{set:?}"), "{0, 3, 15}");
        assert_eq!(KeySet::EMPTY.to_string(), "none");
        assert_eq!(KeySet::of(Pkey::DEFAULT).to_string(), "0");
    }
}
