//! Which system calls answer, and how many keys there are: by trying, on a page and with keys of this process's own.
#![allow(unsafe_code, reason = "system calls")]

use core::ffi::c_long;
use core::ptr;
use std::io;

use serde::Serialize;

/// `mseal(2)`, since Linux 6.10. The number is the same on every architecture.
const SYS_MSEAL: c_long = 462;

/// `PKEY_DISABLE_ACCESS`: what a thread that never touched a key has, so that the trial leaves no trace in the register.
const DISABLE_ACCESS: c_long = 1;

/// The keys that a process can have: 16, of which key 0 is everybody's.
const KEYS_IN_ALL: usize = 15;

/// A size that every kernel's pages divide.
const PAGE_BYTES: usize = 4096;

/// What the system calls answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Calls {
    pub(crate) pkey_alloc: Answer,
    pub(crate) pkey_mprotect: Answer,
    pub(crate) pkey_free: Answer,
    pub(crate) mseal: Answer,
    /// Keys that a process can have.
    pub(crate) keys_in_all: usize,
    /// Keys that this process could still have.
    pub(crate) keys_free: usize,
}

/// What a system call answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    /// Whether it does what it is there for, or refuses what it has to refuse.
    pub(crate) answers: bool,
    /// The error's name, as `EPERM`.
    pub(crate) error: Option<String>,
}

impl Calls {
    /// Tries all of them.
    pub(crate) fn try_all() -> Self {
        let (pkey_alloc, keys_free) = count_keys();
        let (pkey_mprotect, mseal) = match map_page() {
            Ok(page) => {
                let answers = (try_mprotect(page), try_mseal(page));
                // SAFETY: the page was mapped for this function and is used by nobody.
                unsafe { libc::munmap(page, PAGE_BYTES) };
                answers
            }
            Err(error) => (Answer::no(&error), Answer::no(&error)),
        };
        Self {
            pkey_alloc,
            pkey_mprotect,
            pkey_free: try_free(),
            mseal,
            keys_in_all: KEYS_IN_ALL,
            keys_free,
        }
    }
}

impl Answer {
    fn yes() -> Self {
        Self {
            answers: true,
            error: None,
        }
    }

    fn no(error: &io::Error) -> Self {
        Self {
            answers: false,
            error: Some(error_name(error)),
        }
    }

    fn of(value: c_long) -> Self {
        if value < 0 {
            Self::no(&io::Error::last_os_error())
        } else {
            Self::yes()
        }
    }
}

/// Takes every key that there is and gives all of them back.
fn count_keys() -> (Answer, usize) {
    let mut taken = Vec::new();
    let answer = loop {
        // SAFETY: takes integers only. A key that nobody uses has no pages, so its rights matter to nobody.
        let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, DISABLE_ACCESS) };
        match key {
            0.. if taken.len() < KEYS_IN_ALL => taken.push(key),
            0.. => break Answer::yes(),
            // Without keys ENOSPC comes at once from some kernels: that is no answer.
            _ if taken.is_empty() => break Answer::of(key),
            _ => break Answer::yes(),
        }
    };
    for &key in &taken {
        // SAFETY: the key was allocated above, and no page carries it.
        unsafe { libc::syscall(libc::SYS_pkey_free, key) };
    }
    (answer, taken.len())
}

fn map_page() -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel picks a free range; nothing that exists is touched.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, libc::PROT_READ, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(page)
    }
}

/// With key -1 the call is `mprotect(2)`, on any machine; what refuses it is a filter.
fn try_mprotect(page: *mut libc::c_void) -> Answer {
    let prot = c_long::from(libc::PROT_READ);
    // SAFETY: the page is this module's own, and stays what it is.
    Answer::of(unsafe { libc::syscall(libc::SYS_pkey_mprotect, page, PAGE_BYTES, prot, -1) })
}

/// A length of 0 seals nothing, and is answered with success where there is the call.
fn try_mseal(page: *mut libc::c_void) -> Answer {
    // SAFETY: no page is sealed.
    Answer::of(unsafe { libc::syscall(SYS_MSEAL, page, 0, 0) })
}

/// Key 16 does not exist: EINVAL is the right answer.
fn try_free() -> Answer {
    // SAFETY: takes an integer only, which is no key.
    let answer = Answer::of(unsafe { libc::syscall(libc::SYS_pkey_free, 16) });
    match answer.error.as_deref() {
        Some("EINVAL") => Answer::yes(),
        _ => answer,
    }
}

/// The name of an error number that these calls are known to give.
fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        Some(libc::EINVAL) => "EINVAL".to_owned(),
        Some(libc::ENOSPC) => "ENOSPC".to_owned(),
        Some(libc::ENOMEM) => "ENOMEM".to_owned(),
        Some(errno) => format!("errno {errno}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counting gives back what it took: it can be done again.
    #[test]
    fn counting_keys_leaves_them_free() {
        let (first, again) = (count_keys(), count_keys());
        assert_eq!(first.1, again.1);
        assert_eq!(first.0.answers, first.1 > 0);
    }

    #[test]
    fn a_trial_leaves_nothing_mapped() {
        let mappings = || {
            std::fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count()
        };
        let before = mappings();
        for _ in 0..64 {
            Calls::try_all();
        }
        assert!(mappings() < before + 32);
    }
}
