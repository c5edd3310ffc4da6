//! A copy of a stopped thread's stack.
//!
//! The thread waits while it is copied, but not for ever: what is unwound afterwards is the copy, which nobody changes.
//! Words outside it (another stack that a signal handler ran on) are read when they are asked for.

use crate::fault::report::memory;

/// How much is copied, in bytes: some hundred frames. The kernel's main thread has 8 MiB, most of it never used.
const COPY_BYTES: usize = 256 << 10;

/// The part of a stack that is in use, from the stack pointer up.
#[derive(Debug)]
pub(super) struct Stack {
    start: u64,
    bytes: Vec<u8>,
}

impl Stack {
    /// Copies what can be read, from the stack pointer up.
    pub(super) fn copy(stack_pointer: u64) -> Self {
        let mut bytes = vec![0; COPY_BYTES];
        let read = usize::try_from(stack_pointer).map_or(0, |addr| memory::read(addr, &mut bytes));
        bytes.truncate(read);
        Self {
            start: stack_pointer,
            bytes,
        }
    }

    /// The word at an address.
    pub(super) fn word(&self, addr: u64) -> Option<u64> {
        self.copied(addr).or_else(|| memory::read_word(addr))
    }

    fn copied(&self, addr: u64) -> Option<u64> {
        let at = usize::try_from(addr.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn the_copy_does_not_change() {
        let words = [11_u64, 22, 33].map(AtomicU64::new);
        let addr = (&raw const words).addr() as u64;
        let stack = Stack::copy(addr);
        words[1].store(44, SeqCst);
        assert_eq!(stack.word(addr + 8), Some(22));
        assert_eq!(memory::read_word(addr + 8), Some(44));
    }

    #[test]
    fn words_beside_the_copy_are_read_as_they_are() {
        let words = [11_u64, 22];
        let addr = (&raw const words).addr() as u64;
        let stack = Stack::copy(addr + 8);
        assert_eq!(stack.word(addr), Some(11));
        assert_eq!(stack.word(8), None);
        assert_eq!(stack.word(u64::MAX - 3), None);
    }
}
