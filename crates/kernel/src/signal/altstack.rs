//! The alternate signal stack: `stack_t`, and the rules of `sigaltstack(2)`.
//!
//! A thread is on its stack when its stack pointer lies in it, and while it is, the stack cannot be changed. With
//! `SS_AUTODISARM` the stack is given up when a handler starts and comes back with `rt_sigreturn(2)`, so that nobody has
//! to be asked whether the thread is on it.
//!
//! Source: Linux `kernel/signal.c` (`do_sigaltstack`, `restore_altstack`), `include/linux/sched/signal.h`
//! (`on_sig_stack`, `sas_ss_flags`).

use crate::abi::Errno;
use crate::abi::signal::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK};
use crate::abi::words::{bytes_of, words_of};

/// The size of `stack_t`.
pub const STACK_LEN: usize = 24;

/// A thread's alternate stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AltStack {
    /// `ss_sp`: its lowest address.
    pub start: u64,
    /// `ss_flags`, as they were given.
    pub flags: u32,
    /// `ss_size`, in bytes; 0 if there is none.
    pub len: u64,
}

impl Default for AltStack {
    fn default() -> Self {
        Self::NONE
    }
}

impl AltStack {
    /// No alternate stack.
    pub const NONE: Self = Self {
        start: 0,
        flags: SS_DISABLE,
        len: 0,
    };

    /// The structure in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; STACK_LEN]) -> Self {
        let [start, flags, len] = words_of(bytes);
        Self {
            start,
            // An int, with padding behind it.
            flags: (flags & 0xFFFF_FFFF) as u32,
            len,
        }
    }

    /// Its bytes, with padding of zeros.
    #[must_use]
    pub fn bytes(&self) -> [u8; STACK_LEN] {
        bytes_of(&[self.start, u64::from(self.flags), self.len])
    }

    /// The address behind its end, where a stack starts.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.start.wrapping_add(self.len)
    }

    /// Whether a stack pointer lies in it, `SS_AUTODISARM` or not.
    #[must_use]
    pub const fn contains(&self, sp: u64) -> bool {
        sp > self.start && sp - self.start <= self.len
    }

    /// Whether a thread with this stack pointer counts as on it.
    #[must_use]
    pub const fn is_in_use(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }

    /// Whether a handler that wants it gets it now: there is one, and the thread is not on it.
    #[must_use]
    pub const fn is_free(&self, sp: u64) -> bool {
        self.len != 0 && !self.is_in_use(sp)
    }

    /// What `sigaltstack(2)` says about it to a thread with this stack pointer.
    #[must_use]
    pub const fn seen_at(&self, sp: u64) -> Self {
        let state = if self.len == 0 {
            SS_DISABLE
        } else if self.is_in_use(sp) {
            SS_ONSTACK
        } else {
            0
        };
        Self {
            start: self.start,
            flags: state | self.flags & SS_AUTODISARM,
            len: self.len,
        }
    }

    /// Puts another in its place.
    ///
    /// # Errors
    ///
    /// In this order: [`Errno::Perm`] when the thread is on it; [`Errno::Invalid`] for unknown flags;
    /// [`Errno::NoMemory`] for one smaller than `MINSIGSTKSZ`.
    pub const fn change(&mut self, new: Self, sp: u64) -> Result<(), Errno> {
        if self.is_in_use(sp) {
            return Err(Errno::Perm);
        }
        let mode = new.flags & !SS_AUTODISARM;
        if mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0 {
            return Err(Errno::Invalid);
        }
        let is_same = self.start == new.start && self.len == new.len && self.flags == new.flags;
        if is_same {
            return Ok(());
        }
        if mode == SS_DISABLE {
            *self = Self {
                start: 0,
                flags: new.flags,
                len: 0,
            };
            return Ok(());
        }
        if new.len < MINSIGSTKSZ {
            return Err(Errno::NoMemory);
        }
        *self = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::AltStack;
    use crate::abi::Errno;
    use crate::abi::signal::{SS_AUTODISARM, SS_DISABLE, SS_ONSTACK};

    const STACK: AltStack = AltStack {
        start: 0x1_0000,
        flags: 0,
        len: 0x2000,
    };

    #[test]
    fn the_top_belongs_to_it_and_the_start_does_not() {
        let table = [
            (0x1_0000, false),
            (0x1_0001, true),
            (0x1_2000, true),
            (0x1_2001, false),
            (0, false),
            (u64::MAX, false),
        ];
        for (sp, is_on_it) in table {
            assert_eq!(STACK.is_in_use(sp), is_on_it, "{sp:#x}");
            assert_eq!(STACK.is_free(sp), !is_on_it);
            assert_eq!(
                STACK.seen_at(sp).flags,
                if is_on_it { SS_ONSTACK } else { 0 }
            );
            let disarming = AltStack {
                flags: SS_AUTODISARM,
                ..STACK
            };
            assert!(!disarming.is_in_use(sp) && disarming.is_free(sp));
            assert_eq!(disarming.seen_at(sp).flags, SS_AUTODISARM);
        }
        assert_eq!(AltStack::NONE.seen_at(0x1_1000).flags, SS_DISABLE);
        assert!(!AltStack::NONE.is_free(0x1_1000));
    }

    #[test]
    fn changes_are_checked_in_linuxs_order() {
        let small = AltStack { len: 2047, ..STACK };
        let odd = AltStack {
            flags: 4,
            len: 1,
            ..STACK
        };
        let off = AltStack {
            flags: SS_DISABLE,
            ..STACK
        };
        let table = [
            // On the stack nothing else is looked at.
            (0x1_1000, odd, Err(Errno::Perm), STACK),
            (0x1_1000, STACK, Err(Errno::Perm), STACK),
            (0, odd, Err(Errno::Invalid), STACK),
            (
                0,
                AltStack {
                    flags: SS_ONSTACK | SS_DISABLE,
                    ..STACK
                },
                Err(Errno::Invalid),
                STACK,
            ),
            (0, small, Err(Errno::NoMemory), STACK),
            (0, STACK, Ok(()), STACK),
            (
                0,
                AltStack { len: 2048, ..STACK },
                Ok(()),
                AltStack { len: 2048, ..STACK },
            ),
            (
                0,
                AltStack {
                    flags: SS_ONSTACK,
                    ..STACK
                },
                Ok(()),
                AltStack {
                    flags: SS_ONSTACK,
                    ..STACK
                },
            ),
            (0, off, Ok(()), AltStack::NONE),
        ];
        for (sp, new, expected, after) in table {
            let mut stack = STACK;
            assert_eq!(stack.change(new, sp), expected, "{new:?}");
            assert_eq!(stack, after);
            assert_eq!(AltStack::from_bytes(&new.bytes()), new);
        }
    }
}
