//! The pages of a region: mapped without access, handed to the domain, unmapped when the region goes.
//!
//! Anonymous pages start at a multiple of 2 MiB and ask for huge pages where they fill one: the key of 1 GiB then changes
//! in microseconds instead of milliseconds. Alignment costs addresses, not memory.
#![allow(unsafe_code, reason = "mmap(2), munmap(2), madvise(2)")]

use core::ffi::c_int;
use core::fmt;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use pkeys_core::Rights;
use zeroize::Zeroize;

use crate::domain::inner::{DomainInner, Pages};
use crate::sys::{self, HUGE_PAGE_BYTES, PAGE_BYTES, Prot};
use crate::window::Window;

/// Pages that belong to a domain. They stay mapped and tagged as long as this lives.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) domain: Arc<DomainInner>,
    base: NonNull<u8>,
    /// A multiple of the page size.
    len_bytes: usize,
    secrecy: Secrecy,
}

// SAFETY: an address range and a reference count; the data in it is reached through windows only.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing here changes through a shared reference.
unsafe impl Sync for Mapping {}

/// What a mapping is used for beyond plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Like any memory.
    Plain,
    /// Left out of core dumps, empty in a child of `fork(2)`, zeroed before it is unmapped.
    Secret,
}

impl Mapping {
    /// Maps zeroed pages for `len_bytes` bytes, rounded up to whole pages.
    pub(crate) fn anonymous(
        domain: &Arc<DomainInner>,
        len_bytes: usize,
        label: &'static str,
        secrecy: Secrecy,
    ) -> Result<Self, MapError> {
        let len_bytes = whole_pages(len_bytes)?;
        let base = map_aligned(len_bytes)?;
        let unattached = Unattached { base, len_bytes };
        if len_bytes >= HUGE_PAGE_BYTES {
            // Advice: a kernel without huge pages answers EINVAL, and small ones serve.
            let _ = unattached.advise(libc::MADV_HUGEPAGE);
        }
        if secrecy == Secrecy::Secret {
            unattached
                .advise(libc::MADV_DONTDUMP)
                .and_then(|()| unattached.advise(libc::MADV_WIPEONFORK))
                .map_err(MapError::os("madvise", len_bytes))?;
        }
        unattached.attach(domain, label, true, secrecy)
    }

    /// Maps the first `len_bytes` bytes of a file, shared with whoever else maps or writes it.
    pub(crate) fn file(
        domain: &Arc<DomainInner>,
        len_bytes: usize,
        label: &'static str,
        file: BorrowedFd<'_>,
        is_writable: bool,
    ) -> Result<Self, MapError> {
        let len_bytes = whole_pages(len_bytes)?;
        // The widest protection that is ever asked for, so that a descriptor that forbids it is refused here; the
        // domain narrows it before anyone learns the address.
        let prot = if is_writable {
            Prot::ReadWrite
        } else {
            Prot::Read
        };
        let base = sys::mmap_file(len_bytes, prot, file.as_raw_fd())
            .map_err(MapError::os("mmap", len_bytes))?;
        Unattached { base, len_bytes }.attach(domain, label, is_writable, Secrecy::Plain)
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes: whole pages.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    fn zeroize(&mut self) {
        // Where no window opens nobody else can read the pages either, and they are gone in a moment.
        if let Ok(_window) = Window::open(&self.domain, Rights::ReadWrite) {
            let bytes = core::ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.len_bytes);
            // SAFETY: the pages are mapped, open, and borrowed by nobody: their owner is being dropped.
            unsafe { &mut *bytes }.zeroize();
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.secrecy == Secrecy::Secret {
            self.zeroize();
        }
        self.domain.detach(self.base.addr().get(), self.len_bytes);
    }
}

/// Pages that are mapped and not yet a domain's: unmapped on drop.
struct Unattached {
    base: NonNull<u8>,
    len_bytes: usize,
}

impl Unattached {
    fn attach(
        self,
        domain: &Arc<DomainInner>,
        label: &'static str,
        is_writable: bool,
        secrecy: Secrecy,
    ) -> Result<Mapping, MapError> {
        domain
            .attach(Pages {
                start: self.base.addr().get(),
                len_bytes: self.len_bytes,
                label,
                is_writable,
            })
            .map_err(MapError::os("pkey_mprotect", self.len_bytes))?;
        let Self { base, len_bytes } = self;
        core::mem::forget(self);
        Ok(Mapping {
            domain: Arc::clone(domain),
            base,
            len_bytes,
            secrecy,
        })
    }

    fn advise(&self, advice: c_int) -> io::Result<()> {
        // SAFETY: the pages are this value's own (1); the callers' advice drops no contents here (2).
        unsafe { sys::madvise(self.base.addr().get(), self.len_bytes, advice) }
    }
}

impl Drop for Unattached {
    fn drop(&mut self) {
        unmap_own(self.base.addr().get(), self.len_bytes);
    }
}

fn unmap_own(start: usize, len_bytes: usize) {
    if len_bytes > 0 {
        // SAFETY: the callers mapped the range a moment ago and gave it to nobody (1).
        let result = unsafe { sys::munmap(start, len_bytes) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}

/// Maps pages without access at a multiple of 2 MiB.
fn map_aligned(len_bytes: usize) -> Result<NonNull<u8>, MapError> {
    let with_slack = len_bytes
        .checked_add(HUGE_PAGE_BYTES)
        .ok_or(MapError::TooLarge {
            count: len_bytes,
            element_bytes: 1,
        })?;
    let raw =
        sys::mmap_anonymous(with_slack, Prot::None).map_err(MapError::os("mmap", len_bytes))?;
    let start = raw.addr().get();
    let before = start.next_multiple_of(HUGE_PAGE_BYTES) - start;
    unmap_own(start, before);
    unmap_own(start + before + len_bytes, HUGE_PAGE_BYTES - before);
    // SAFETY: `before` is less than the slack, so the result lies in the mapping.
    Ok(unsafe { raw.add(before) })
}

fn whole_pages(len_bytes: usize) -> Result<usize, MapError> {
    if len_bytes == 0 {
        return Err(MapError::ZeroLength);
    }
    len_bytes
        .checked_next_multiple_of(PAGE_BYTES)
        .filter(|&len_bytes| isize::try_from(len_bytes).is_ok())
        .ok_or(MapError::TooLarge {
            count: len_bytes,
            element_bytes: 1,
        })
}

/// A region was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum MapError {
    /// No elements, or elements of size 0: a region has at least one byte.
    ZeroLength,
    /// The size in bytes is beyond what an allocation may have (`isize::MAX`).
    TooLarge {
        /// How many elements were asked for.
        count: usize,
        /// The size of an element in bytes.
        element_bytes: usize,
    },
    /// An element wants a larger alignment than its pages have: those of a file start at 4 KiB, others at 2 MiB.
    Alignment {
        /// What the element wants, in bytes.
        align_bytes: usize,
    },
    /// The file is something else than a regular file, or one that cannot be mapped: a directory, a pipe, a terminal.
    NotAFile,
    /// The file is empty or holds less than one element.
    FileTooShort {
        /// The length of the file in bytes.
        file_bytes: u64,
        /// The size of an element in bytes.
        element_bytes: usize,
    },
    /// A system call failed; nothing is left behind.
    Os {
        /// Which one.
        call: &'static str,
        /// The size that was asked for, in bytes.
        len_bytes: usize,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl MapError {
    pub(crate) fn os(call: &'static str, len_bytes: usize) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Os {
            call,
            len_bytes,
            source,
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroLength => f.write_str("a region of 0 bytes"),
            Self::TooLarge {
                count,
                element_bytes,
            } => write!(
                f,
                "{count} elements of {element_bytes} bytes are more than an allocation may have"
            ),
            Self::Alignment { align_bytes } => write!(
                f,
                "an alignment of {align_bytes} bytes is more than pages have ({PAGE_BYTES} those of a file, \
                 {HUGE_PAGE_BYTES} others)"
            ),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::FileTooShort {
                file_bytes,
                element_bytes,
            } => write!(
                f,
                "the file has {file_bytes} bytes, less than one element of {element_bytes}"
            ),
            Self::Os {
                call,
                len_bytes,
                source,
            } => write!(f, "{call}(2) of {len_bytes} bytes failed: {source}"),
        }
    }
}

impl core::error::Error for MapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}
