//! How many grants of each kind are open for one key: nested requests for rights, added up.
//!
//! A thread may open a key for reading, call something that opens it for writing, and close the two in any order. What
//! it may do in between is the greatest of what is still open, so reads and writes are counted apart. Both counts
//! stand in one 32-bit word, because a signal handler reads them at any moment and must not see one from before and
//! one from after a change.
//!
//! A count that reaches its maximum stays there, and closing does not lower it any more: the alternative is a count
//! that wraps, and a window that closes under code which is still using it. The price is that the key stays open to
//! this thread from then on, a loss of protection and not of memory safety. Closing a count of zero leaves zero.
//!
//! Opening and closing are on the way of every window, which costs two writes of the register of about 25 cycles
//! each, so they are a handful of instructions without a jump.
//!
//! Neighbours: [`effective`] joins the counts to the closed rights of a domain; the register is [`crate::register`].

use core::fmt;

use crate::rights::Rights;

/// One open read grant.
const ONE_READ: u32 = 1;
/// One open write grant.
const ONE_WRITE: u32 = 1 << 16;

/// The open grants of one key: reads in the low sixteen bits, writes in the high.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct GrantCounts(u32);

impl GrantCounts {
    /// No grant is open.
    pub const EMPTY: Self = Self(0);

    /// The counts in a word, as [`GrantCounts::bits`] gives it. Every word is a pair of counts.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The word: reads in the low sixteen bits, writes in the high.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// How many read grants are open; 65535 is "that many or more".
    #[must_use]
    #[inline]
    pub const fn reads(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// How many write grants are open; 65535 is "that many or more".
    #[must_use]
    #[inline]
    pub const fn writes(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The counts with one more grant of these rights. [`Rights::NoAccess`] asks for nothing and adds nothing.
    #[must_use]
    #[inline]
    pub const fn open(self, rights: Rights) -> Self {
        let (one, full) = Self::field(rights);
        // For no access `one` is 0, so that either way nothing is added.
        Self(if self.0 & full == full {
            self.0
        } else {
            self.0 + one
        })
    }

    /// The counts with one grant of these rights less. A count of zero, and one that has reached the maximum, stay.
    #[must_use]
    #[inline]
    pub const fn close(self, rights: Rights) -> Self {
        let (one, full) = Self::field(rights);
        let count = self.0 & full;
        Self(if count == 0 || count == full {
            self.0
        } else {
            self.0 - one
        })
    }

    /// What the open grants give together.
    #[must_use]
    #[inline]
    pub const fn held(self) -> Rights {
        if self.0 >= ONE_WRITE {
            Rights::ReadWrite
        } else if self.0 >= ONE_READ {
            Rights::ReadOnly
        } else {
            Rights::NoAccess
        }
    }

    /// Whether no grant is open.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a count has reached the maximum, so that it will not go down again.
    #[must_use]
    #[inline]
    pub const fn is_saturated(self) -> bool {
        self.reads() == u16::MAX || self.writes() == u16::MAX
    }

    /// What one grant of these rights counts, and the bits of the count that it goes to.
    #[inline]
    const fn field(rights: Rights) -> (u32, u32) {
        let one = match rights {
            Rights::NoAccess => 0,
            Rights::ReadOnly => ONE_READ,
            Rights::ReadWrite => ONE_WRITE,
        };
        (one, one * 0xFFFF)
    }
}

impl fmt::Debug for GrantCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantCounts")
            .field("reads", &self.reads())
            .field("writes", &self.writes())
            .finish()
    }
}

/// The rights that a thread has: the greater of a domain's closed rights and of what its open grants give.
#[must_use]
#[inline]
pub const fn effective(closed: Rights, held: Rights) -> Rights {
    if (held as u8) > (closed as u8) {
        held
    } else {
        closed
    }
}
