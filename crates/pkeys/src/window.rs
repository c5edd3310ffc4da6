//! Windows: the time in which a thread may touch a domain's data.
//!
//! Opening counts a grant for the thread and the key, and then compares what the thread should be able to do with the
//! register itself. Not with the counts alone: in a signal handler, and after a `siglongjmp` out of one, the
//! counts say open while the register is closed. The register is written only where it must change, and only the two
//! bits of this domain's key change; a nested window that gives nothing new costs an RDPKRU.
//!
//! Closing takes the grant back, and touches the register only where the thread's rights shrink. Rights follow from the
//! counts of what is still open, not from what was there before, so windows may be dropped in any order. A window
//! that is leaked (`mem::forget`) leaves its thread with its rights: protection is lost there, memory stays sound.
#![allow(unsafe_code, reason = "WRPKRU")]

use core::fmt;
use core::marker::PhantomData;
use std::io;

use pkeys_core::{GrantCounts, KeyRegister, Pkey, Rights, effective};

use crate::domain::inner::{DomainInner, Gate};
use crate::support::Keys;
use crate::thread::{self, ThreadState};

/// A thread's leave to touch a domain's data, until it is dropped.
///
/// It belongs to the thread that opened it (neither `Send` nor `Sync`), and every reference to the data borrows it, so
/// none outlives it.
#[derive(Debug)]
#[must_use = "a window that is dropped at once is closed at once"]
pub struct Window<'d> {
    domain: &'d DomainInner,
    rights: Rights,
    /// The thread's grants on the key before this one. Windows mostly close in order, and the close then puts this back
    /// without waiting for what the open has stored.
    before: GrantCounts,
    /// The register is the thread's.
    _not_send: PhantomData<*mut ()>,
}

impl<'d> Window<'d> {
    #[inline(always)]
    pub(crate) fn open(domain: &'d DomainInner, rights: Rights) -> Result<Self, OpenError> {
        if rights == Rights::NoAccess {
            return Err(OpenError::NoRights);
        }
        let before = match domain.gate {
            Gate::Pkey(keys, pkey) => {
                // SAFETY: used in this expression only (1).
                let thread = unsafe { thread::current() };
                open_key(thread, domain, keys, pkey, rights)
            }
            _ => {
                open_without_key(domain, rights)?;
                GrantCounts::EMPTY
            }
        };
        Ok(Self {
            domain,
            rights,
            before,
            _not_send: PhantomData,
        })
    }

    /// What the window gives its thread.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// The name of the domain that the window is on.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        &self.domain.name
    }

    /// Checks that the window is on that domain and gives these rights.
    #[inline(always)]
    pub(crate) fn check(&self, domain: &DomainInner, rights: Rights) -> Result<(), OpenError> {
        if !core::ptr::eq(self.domain, domain) {
            return Err(self.wrong_domain(domain));
        }
        if self.rights < rights {
            return Err(OpenError::InsufficientRights {
                needed: rights,
                given: self.rights,
            });
        }
        Ok(())
    }

    #[cold]
    fn wrong_domain(&self, domain: &DomainInner) -> OpenError {
        OpenError::WrongDomain {
            window: self.domain.name.clone(),
            region: domain.name.clone(),
        }
    }
}

impl Drop for Window<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.domain.gate {
            Gate::Pkey(keys, pkey) => {
                // SAFETY: used in this expression only (1).
                let thread = unsafe { thread::current() };
                close_key(thread, self, keys, pkey);
            }
            _ => close_without_key(self.domain, self.rights),
        }
    }
}

#[cold]
#[inline(never)]
fn open_without_key(domain: &DomainInner, rights: Rights) -> Result<(), OpenError> {
    match domain.gate {
        Gate::Mprotect => domain.open_soft(rights).map_err(OpenError::os("mprotect")),
        _ => Ok(()),
    }
}

#[cold]
#[inline(never)]
fn close_without_key(domain: &DomainInner, rights: Rights) {
    if let Gate::Mprotect = domain.gate {
        let result = domain.close_soft(rights);
        // The pages are whole mappings, whose protection changes without new memory: see `protect_pages`.
        debug_assert!(result.is_ok(), "mprotect: {result:?}");
    }
}

#[inline(always)]
fn open_key(
    thread: &ThreadState,
    domain: &DomainInner,
    keys: Keys,
    pkey: Pkey,
    rights: Rights,
) -> GrantCounts {
    let before = thread.grants(pkey);
    let grants = before.open(rights);
    thread.set_grants(pkey, grants);
    let now = keys.pku.read();
    // At least what this window gives, which the compiler knows; the counts may say more.
    let held = match rights {
        Rights::ReadWrite => Rights::ReadWrite,
        _ => grants.held(),
    };
    let want = now.with(pkey, effective(domain.closed, held).access_bits());
    if want != now
        && (thread.is_ready(pkey, domain.window_serial()) || prepare(thread, domain, pkey))
    {
        // SAFETY: the key is never key 0 (1), and it is this domain's (2).
        unsafe { keys.pku.write(want) };
    }
    before
}

/// The long path of a window that changes its thread's rights: the first of the thread on the domain, or one since the
/// mode was off. Gives whether the register is to be written.
#[cold]
#[inline(never)]
fn prepare(thread: &ThreadState, domain: &DomainInner, pkey: Pkey) -> bool {
    let is_off = domain.record.is_off();
    if is_off {
        thread.note_opened(pkey, domain.serial);
        thread.set_unwritten(pkey, true);
    } else {
        thread.set_unwritten(pkey, false);
        thread.make_ready(pkey, domain.serial);
    }
    !is_off
}

#[inline(always)]
fn close_key(thread: &ThreadState, window: &Window<'_>, keys: Keys, pkey: Pkey) {
    let now = window.before.open(window.rights);
    if thread.grants(pkey) != now {
        return close_out_of_order(thread, window, keys, pkey);
    }
    take_back(thread, window.domain, keys, pkey, now, window.before);
}

/// Closes a window while one that was opened after it is still open, or closed in between and left its mark.
#[cold]
#[inline(never)]
fn close_out_of_order(thread: &ThreadState, window: &Window<'_>, keys: Keys, pkey: Pkey) {
    let now = thread.grants(pkey);
    take_back(
        thread,
        window.domain,
        keys,
        pkey,
        now,
        now.close(window.rights),
    );
}

/// Takes a grant back, and rights with it where no other grant gives them.
#[inline(always)]
fn take_back(
    thread: &ThreadState,
    domain: &DomainInner,
    keys: Keys,
    pkey: Pkey,
    before: GrantCounts,
    after: GrantCounts,
) {
    thread.set_grants(pkey, after);
    let closed = domain.closed;
    let rights = effective(closed, after.held());
    if rights != effective(closed, before.held()) {
        let now = keys.pku.read();
        let want = now.with(pkey, rights.access_bits());
        if want != now {
            // SAFETY: the key is never key 0 (1), and it is the domain's whose window closes (2).
            unsafe { keys.pku.write(want) };
        }
    }
    if thread.has_leftovers() {
        see_to_leftovers(thread, keys, pkey);
    }
}

#[cold]
#[inline(never)]
fn see_to_leftovers(thread: &ThreadState, keys: Keys, pkey: Pkey) {
    if thread.grants(pkey).is_empty() && thread.unwritten().contains(pkey) {
        thread.set_unwritten(pkey, false);
    }
    if !thread.pardoned().is_empty() {
        end_pardons(thread, keys);
    }
}

/// Closes what a pardon left open, when the thread's outermost window has closed.
fn end_pardons(thread: &ThreadState, keys: Keys) {
    if !thread.holds_nothing() {
        return;
    }
    let mut register = keys.pku.read();
    for pkey in thread.pardoned().iter() {
        thread.set_pardoned(pkey, false);
        register = register.with(pkey, thread.fault.closed_bits(pkey));
    }
    write_own(keys, register);
}

fn write_own(keys: Keys, register: KeyRegister) {
    // SAFETY: the callers changed the bits of this library's keys only (2), of which key 0 is none (1).
    unsafe { keys.pku.write(register) };
}

/// A window was not opened, or does not serve for the data that was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// A window that gives no rights was asked for.
    NoRights,
    /// The window is on another domain than the data.
    WrongDomain {
        /// The domain that the window is on.
        window: Box<str>,
        /// The domain that the data is in.
        region: Box<str>,
    },
    /// The window gives too little.
    InsufficientRights {
        /// The rights that are needed.
        needed: Rights,
        /// The rights that the window gives.
        given: Rights,
    },
    /// The file behind the region was mapped for reading.
    ReadOnlyFile,
    /// The file behind the region has become shorter than its mapping: an access beyond its end would be a SIGBUS.
    Truncated {
        /// The length of the mapping in bytes.
        mapped_bytes: u64,
        /// The length of the file in bytes.
        file_bytes: u64,
    },
    /// A system call failed.
    Os {
        /// Which one.
        call: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn os(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Os { call, source }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRights => f.write_str("a window with no access opens nothing"),
            Self::WrongDomain { window, region } => write!(
                f,
                "the window is on domain {window:?}, the data in domain {region:?}"
            ),
            Self::InsufficientRights { needed, given } => {
                write!(f, "the window gives {given}, needed is {needed}")
            }
            Self::ReadOnlyFile => f.write_str("the file was mapped for reading only"),
            Self::Truncated {
                mapped_bytes,
                file_bytes,
            } => write!(
                f,
                "the file has {file_bytes} bytes now and is mapped with {mapped_bytes}"
            ),
            Self::Os { call, source } => write!(f, "{call}(2) failed: {source}"),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}
