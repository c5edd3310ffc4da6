//! `futex(2)`: sleeping until a word changes, without anything a signal handler may not touch.
#![allow(unsafe_code, reason = "futex(2)")]

use core::ptr;
use core::sync::atomic::AtomicU32;

use crate::fault::report::clock;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// The word may have changed: look again.
    Look,
    /// The moment came.
    TimedOut,
}

/// `long futex(uint32_t *word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, uint32_t expected, const struct timespec *until,
/// NULL, FUTEX_BITSET_MATCH_ANY)`: sleeps while the word is `expected`, until the monotonic clock shows `until_ns` at
/// the latest. The moment is absolute, so that a wait which a signal broke off can be taken up as it was.
pub(super) fn wait(word: &AtomicU32, expected: u32, until_ns: Option<u64>) -> Woken {
    let until = clock::timespec(until_ns.unwrap_or(0));
    let until = match until_ns {
        Some(_) => &raw const until,
        None => ptr::null(),
    };
    // SAFETY: the word and the moment outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            until,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if result == 0 {
        return Woken::Look;
    }
    match super::errno::get() {
        libc::EAGAIN | libc::EINTR => Woken::Look,
        // ETIMEDOUT; anything else would spin if the caller came back.
        _ => Woken::TimedOut,
    }
}

/// `long futex(uint32_t *word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1)`: wakes one sleeper.
pub(super) fn wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call; waking touches nothing else.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::SeqCst;

    #[test]
    fn a_wait_ends_at_its_moment() {
        let word = AtomicU32::new(7);
        let start = clock::monotonic_ns();
        let until = start + 20_000_000;
        while wait(&word, 7, Some(until)) == Woken::Look {}
        assert!(clock::monotonic_ns() >= until);
    }

    #[test]
    fn a_changed_word_is_not_waited_for() {
        assert_eq!(wait(&AtomicU32::new(8), 7, None), Woken::Look);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                word.store(1, SeqCst);
                wake(&word);
            });
            while word.load(SeqCst) == 0 {
                wait(&word, 0, None);
            }
        });
    }
}
