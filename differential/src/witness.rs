//! What a step lets a program see, as a list of facts, and who listens.
//!
//! A fact is a kind ([`What`]) and a number. The interpreter tells them to a [`Witness`] in the order in which the program
//! sees them. Two kinds of witnesses listen: a [`struct@Hash`], which costs next to nothing and is enough to tell that two sides
//! agree, and [`Facts`], which keeps them all to say how they do not.

use crate::field::choices;

choices! {
    /// What a number is.
    What {
        /// A system call's answer: a value, or an error number negated.
        Result,
        /// A byte that was read.
        Byte,
        /// An access that went well without giving anything.
        Done,
        /// `si_signo`.
        Signo,
        /// `si_code`.
        Code,
        /// `si_addr`.
        Addr,
        /// `si_pkey`.
        Pkey,
        /// `REG_ERR`.
        Err,
        /// `REG_TRAPNO`.
        Trapno,
        /// `REG_CR2`.
        Cr2,
        /// PKRU as a handler found it.
        PkruInHandler,
        /// PKRU in the frame.
        PkruInFrame,
        /// Whether a handler ran on the alternate stack.
        OnAltstack,
        /// PKRU.
        Pkru,
        /// PKRU directly behind a bare act.
        PkruAfter,
        /// How often a handler ran.
        Runs,
        /// A mapping's protection.
        MappingProt,
        /// A mapping's key.
        MappingKey,
        /// No mapping there.
        NoMapping,
        /// The error number with which something failed, not negated.
        Errno,
        /// The signal that a process was killed by.
        Killed,
        /// The status that a process ended itself with.
        Exited,
        /// A step that could not be done where it stood.
        Skipped,
        /// A peer's own facts, as one number.
        Peer,
    }
}

/// Who is told what a program sees.
pub trait Witness {
    /// Takes a fact.
    fn see(&mut self, what: What, value: u64);
}

/// A fact.
pub type Fact = (What, u64);

/// What was seen, as one number.
#[derive(Debug, Clone, Copy)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hash {
    /// Takes a number. FNV-1a takes a byte at a time; here it is a word, and the high bits, into which a multiplication
    /// moves everything, are brought back down each time.
    #[inline]
    pub const fn add(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn value(self) -> u64 {
        let mixed = self.0.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ mixed >> 32
    }
}

impl Witness for Hash {
    #[inline]
    fn see(&mut self, what: What, value: u64) {
        self.add((what as u64) << 58 ^ value);
        self.add(what as u64);
    }
}

/// What was seen, in full, with its hash.
#[derive(Debug, Default)]
pub struct Facts {
    hash: Hash,
    facts: Vec<Fact>,
}

impl Facts {
    /// The hash of all facts so far.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// All facts in order.
    #[must_use]
    pub fn into_parts(self) -> (Hash, Vec<Fact>) {
        (self.hash, self.facts)
    }
}

impl Witness for Facts {
    fn see(&mut self, what: What, value: u64) {
        self.hash.see(what, value);
        self.facts.push((what, value));
    }
}

impl What {
    /// The word for it in a stream of details.
    #[must_use]
    pub fn word(self) -> String {
        format!("{self:?}")
    }

    /// What that word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|what| what.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Hash, What, Witness};

    #[test]
    fn both_witnesses_hash_alike() {
        let (mut hash, mut facts) = (Hash::default(), Facts::default());
        for (index, what) in (0..).zip(What::ALL) {
            hash.see(*what, index * 3);
            facts.see(*what, index * 3);
            assert_eq!(What::from_word(&what.word()), Some(*what));
        }
        let (same, list) = facts.into_parts();
        assert_eq!(hash.value(), same.value());
        assert_eq!(list.len(), What::ALL.len());
    }

    #[test]
    fn a_kind_a_value_and_an_order_all_count() {
        let of = |facts: &[(What, u64)]| {
            let mut hash = Hash::default();
            for (what, value) in facts {
                hash.see(*what, *value);
            }
            hash.value()
        };
        let all = [
            of(&[]),
            of(&[(What::Byte, 0)]),
            of(&[(What::Byte, 1)]),
            of(&[(What::Result, 1)]),
            of(&[(What::Byte, 1), (What::Result, 0)]),
            of(&[(What::Result, 0), (What::Byte, 1)]),
            of(&[(What::Byte, 0), (What::Byte, 0)]),
        ];
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[..index].contains(hash), "{index}");
        }
    }
}
