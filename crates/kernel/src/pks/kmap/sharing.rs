//! Which keys have pages that carry a shared key right now, and what that opens to whoever holds a grant.
//!
//! A context with a grant on a key may use all pages of that key's holder. Some of these may carry a shared key for a
//! while. So for as long as they do, a grant on their own key gives the same right on the shared key: for reading if it was
//! for reading, and no longer than it lasts. Without this, the holder of a local mapping would fault because somebody else
//! made a shared one.
//!
//! It is no part of the context. A context cannot be told by another CPU what it holds from now on, and there may be
//! thousands; so there is one word for the whole system, and every context meets it when it is loaded. Without shared
//! pages the word is 0, and loading costs one comparison more.
//!
//! There are two shared keys, because a page that everybody could read before it was shared is not to lose that: one for
//! pages of keys that are closed to all access, and one for those that are closed to writes.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_core::{AccessBits, KeyRegister, KeySet, Pkey, Rights};

use crate::pks::PksKey;

/// AD of every key; WD is the bit above.
const EACH_AD: u32 = 0x5555_5555;

/// The keys with shared pages, and the shared keys that these carry.
///
/// For each of the two shared keys, 16 bits say whose pages carry it; then its number, in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Sharing(u64);

/// What the pages could be used for by everybody before they were shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Nothing.
    Closed,
    /// Reads.
    Readable,
}

impl Group {
    /// The group of a key with these closed rights; `None` for one that is not protected at all.
    pub(super) const fn of(closed: Rights) -> Option<Self> {
        match closed {
            Rights::NoAccess => Some(Self::Closed),
            Rights::ReadOnly => Some(Self::Readable),
            _ => None,
        }
    }

    /// The closed rights of the group's keys, the shared one among them.
    pub(super) const fn closed(self) -> Rights {
        match self {
            Self::Closed => Rights::NoAccess,
            Self::Readable => Rights::ReadOnly,
        }
    }

    const fn shift(self) -> u32 {
        match self {
            Self::Closed => 0,
            Self::Readable => 32,
        }
    }
}

impl Sharing {
    /// No page is shared.
    pub const NONE: Self = Self(0);

    /// What a context that has `cleared` these bits of the register by grants has cleared beside them.
    #[must_use]
    #[inline]
    pub fn opens(self, cleared: u32) -> u32 {
        if self == Self::NONE {
            return 0;
        }
        self.in_group(Group::Closed, cleared) | self.in_group(Group::Readable, cleared)
    }

    /// The keys whose pages are shared.
    #[must_use]
    pub fn homes(self) -> KeySet {
        let of = |group| self.field(group).0;
        of(Group::Closed).union(of(Group::Readable))
    }

    fn in_group(self, group: Group, cleared: u32) -> u32 {
        let (homes, shared) = self.field(group);
        let cleared = cleared & homes.register_mask();
        // Whatever is clear for one of the keys is clear for the shared one.
        let bits = u32::from(cleared & EACH_AD != 0) | u32::from(cleared & EACH_AD << 1 != 0) << 1;
        let none = KeyRegister::from_bits(0);
        none.with(shared, AccessBits::truncate(bits)).bits()
    }

    fn field(self, group: Group) -> (KeySet, Pkey) {
        let [low, high, shared, _, ..] = (self.0 >> group.shift()).to_le_bytes();
        let homes = KeySet::from_bits(u16::from_le_bytes([low, high]));
        (homes, Pkey::truncate(shared.into()))
    }

    fn with_field(self, group: Group, homes: KeySet, shared: PksKey) -> Self {
        let field = if homes.is_empty() {
            0
        } else {
            u64::from(homes.bits()) | u64::from(shared.pkey().get()) << 16
        };
        let others = self.0 & !(u64::from(u32::MAX) << group.shift());
        Self(others | field << group.shift())
    }
}

/// The word.
#[derive(Debug)]
pub(in crate::pks) struct SharingCell(AtomicU64);

impl SharingCell {
    pub(in crate::pks) const fn new() -> Self {
        Self(AtomicU64::new(Sharing::NONE.0))
    }

    #[inline]
    pub(in crate::pks) fn get(&self) -> Sharing {
        Sharing(self.0.load(Relaxed))
    }

    /// The first page of a key is about to be shared. One writer at a time.
    pub(super) fn add(&self, group: Group, home: PksKey, shared: PksKey) {
        self.change(group, shared, |homes| homes.with(home.pkey()));
    }

    /// The last page has its own key again.
    pub(super) fn remove(&self, group: Group, home: PksKey, shared: PksKey) {
        self.change(group, shared, |homes| homes.without(home.pkey()));
    }

    fn change(&self, group: Group, shared: PksKey, change: impl FnOnce(KeySet) -> KeySet) {
        let now = self.get();
        let homes = change(now.field(group).0);
        self.0
            .store(now.with_field(group, homes, shared).0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use pkeys_core::Access;
    use std::vec::Vec;

    use super::*;
    use crate::pks::Context;

    fn key(number: u32) -> PksKey {
        PksKey::try_from(number).unwrap()
    }

    const CLOSED: KeyRegister = KeyRegister::from_bits(0xFFFF_FFFC);

    /// Keys 1 and 2 are closed, 3 and 4 readable, 14 and 15 their shared keys.
    fn closed() -> KeyRegister {
        [3, 4, 15].into_iter().fold(CLOSED, |closed, number| {
            closed.with(key(number).pkey(), Rights::ReadOnly.access_bits())
        })
    }

    /// Every set of shared pages of the four keys.
    fn sharings() -> Vec<(Vec<u32>, Sharing)> {
        let of = |bits: u32| {
            let cell = SharingCell::new();
            let homes: Vec<_> = (1..=4).filter(|number| bits >> number & 1 == 1).collect();
            for number in &homes {
                match number {
                    1 | 2 => cell.add(Group::Closed, key(*number), key(14)),
                    _ => cell.add(Group::Readable, key(*number), key(15)),
                }
            }
            (homes, cell.get())
        };
        (0..32).step_by(2).map(of).collect()
    }

    #[test]
    fn a_grant_opens_the_shared_key_of_its_own_keys_pages_and_no_more() {
        let choices = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];
        for (homes, sharing) in sharings() {
            for held in 0..81_usize {
                let held: Vec<_> = (0..4)
                    .map(|at| choices[held / 3_usize.pow(at) % 3])
                    .collect();
                let context = Context::new();
                for (number, rights) in (1..).zip(&held) {
                    context.lend(key(number), *rights);
                }
                let value = context.value_while(closed(), sharing);
                let without = context.value(closed());
                for pkey in Pkey::all() {
                    let group = match pkey.get() {
                        14 => 1..=2,
                        15 => 3..=4,
                        _ => {
                            assert_eq!(value.get(pkey), without.get(pkey));
                            continue;
                        }
                    };
                    for access in [Access::Read, Access::Write] {
                        let expected = closed().allows(pkey, access)
                            || homes.iter().any(|home| {
                                group.contains(home) && held[*home as usize - 1].allows(access)
                            });
                        assert_eq!(value.allows(pkey, access), expected, "{homes:?} {held:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_denied_opens_nothing() {
        let (_, sharing) = sharings().pop().unwrap();
        let context = Context::new();
        context.lend(key(1), Rights::ReadWrite);
        let value = context.value_while(closed(), sharing);
        assert_eq!(value.rights(key(14).pkey()), Rights::ReadWrite);
        for rights in [Rights::ReadOnly, Rights::NoAccess] {
            context.deny(key(1), rights);
            let value = context.value_while(closed(), sharing);
            assert_eq!(value.rights(key(14).pkey()), rights);
        }
    }

    #[test]
    fn the_last_page_that_comes_back_leaves_nothing() {
        let cell = SharingCell::new();
        cell.add(Group::Closed, key(1), key(14));
        cell.add(Group::Readable, key(3), key(15));
        cell.add(Group::Closed, key(2), key(14));
        let homes: Vec<_> = cell.get().homes().iter().map(Pkey::get).collect();
        assert_eq!(homes, [1, 2, 3]);
        cell.remove(Group::Closed, key(1), key(14));
        cell.remove(Group::Readable, key(3), key(15));
        assert_ne!(cell.get(), Sharing::NONE);
        cell.remove(Group::Closed, key(2), key(14));
        assert_eq!(cell.get(), Sharing::NONE);
        assert_eq!(Sharing::NONE.opens(u32::MAX), 0);
    }
}
