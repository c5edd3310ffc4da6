//! The system calls of this crate, each with its C prototype and an [`io::Error`] for its `errno`.
//!
//! glibc has wrappers for the key calls since 2.27 and musl has none; the raw numbers work with both.
#![allow(
    unsafe_code,
    reason = "system calls; each wrapper states what its caller owes"
)]

use core::ffi::{c_int, c_long};
use core::ptr::NonNull;
use std::io;

use pkeys_core::{AccessBits, Pkey};

/// What a page may be used for, as `mmap(2)` and `mprotect(2)` take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prot {
    /// `PROT_NONE`
    None,
    /// `PROT_READ`
    Read,
    /// `PROT_READ | PROT_WRITE`
    ReadWrite,
}

impl Prot {
    const fn bits(self) -> c_int {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

fn result(value: c_long) -> io::Result<c_long> {
    if value < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// `int pkey_alloc(unsigned int flags, unsigned int access_rights)`, `pkey_alloc(2)`: the lowest free key; the
/// calling thread's rights to it become `initial`, other threads keep what they have.
pub(crate) fn pkey_alloc(initial: AccessBits) -> io::Result<Pkey> {
    // SAFETY: takes integers only. A key that nobody uses has no pages, so its rights matter to nobody.
    let number = result(unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, initial.bits()) })?;
    u8::try_from(number)
        .ok()
        .and_then(Pkey::new)
        .ok_or_else(|| io::Error::other(format!("pkey_alloc gave key {number}, beyond 15")))
}

/// `int pkey_free(int pkey)`, `pkey_free(2)`: gives the number back. Pages that carry it keep it.
///
/// # Safety
///
/// 1. No page carries the key, and no thread has it open: the next owner of the number would share them.
pub(crate) unsafe fn pkey_free(pkey: Pkey) -> io::Result<()> {
    // SAFETY: takes integers only; the caller answers for the number (1).
    result(unsafe { libc::syscall(libc::SYS_pkey_free, c_long::from(pkey.get())) }).map(drop)
}

/// `int pkey_mprotect(void addr[.size], size_t size, int prot, int pkey)`, `pkey_mprotect(2)`.
///
/// # Safety
///
/// 1. The caller owns the pages of `addr..addr + len_bytes`, and no reference is used that the new protection forbids.
pub(crate) unsafe fn pkey_mprotect(
    addr: usize,
    len_bytes: usize,
    prot: Prot,
    pkey: Pkey,
) -> io::Result<()> {
    // SAFETY: the range is the caller's (1); the kernel checks the rest.
    let value = unsafe {
        libc::syscall(
            libc::SYS_pkey_mprotect,
            addr,
            len_bytes,
            c_long::from(prot.bits()),
            c_long::from(pkey.get()),
        )
    };
    result(value).map(drop)
}

/// `int mprotect(void addr[.size], size_t size, int prot)`, `mprotect(2)`.
///
/// # Safety
///
/// 1. As for [`pkey_mprotect`].
pub(crate) unsafe fn mprotect(addr: usize, len_bytes: usize, prot: Prot) -> io::Result<()> {
    // SAFETY: the range is the caller's (1).
    let value = unsafe {
        libc::mprotect(
            core::ptr::with_exposed_provenance_mut(addr),
            len_bytes,
            prot.bits(),
        )
    };
    result(c_long::from(value)).map(drop)
}

/// `void *mmap(NULL, size_t length, int prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)`, `mmap(2)`: new,
/// zeroed pages.
pub(crate) fn mmap_anonymous(len_bytes: usize, prot: Prot) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: without MAP_FIXED the kernel picks a free range; nothing that exists is touched.
    let base = unsafe { libc::mmap(core::ptr::null_mut(), len_bytes, prot.bits(), flags, -1, 0) };
    mapped(base)
}

/// `void *mmap(NULL, size_t length, PROT_NONE, MAP_SHARED, int fd, 0)`, `mmap(2)`: a file's first bytes.
pub(crate) fn mmap_file(len_bytes: usize, prot: Prot, fd: c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: without MAP_FIXED the kernel picks a free range; a bad descriptor is an error.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len_bytes,
            prot.bits(),
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    mapped(base)
}

fn mapped(base: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    base.expose_provenance();
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))
}

/// `int munmap(void addr[.length], size_t length)`, `munmap(2)`.
///
/// # Safety
///
/// 1. The caller owns the pages, and no reference into them is left.
pub(crate) unsafe fn munmap(addr: usize, len_bytes: usize) -> io::Result<()> {
    // SAFETY: the range is the caller's (1).
    let value = unsafe { libc::munmap(core::ptr::with_exposed_provenance_mut(addr), len_bytes) };
    result(c_long::from(value)).map(drop)
}

/// `int madvise(void addr[.length], size_t length, int advice)`, `madvise(2)`, for advice that keeps the contents.
///
/// # Safety
///
/// 1. The caller owns the pages.
/// 2. `advice` neither drops nor replaces what is in them for this process.
pub(crate) unsafe fn madvise(addr: usize, len_bytes: usize, advice: c_int) -> io::Result<()> {
    // SAFETY: the range is the caller's (1), its contents stay (2).
    let value = unsafe {
        libc::madvise(
            core::ptr::with_exposed_provenance_mut(addr),
            len_bytes,
            advice,
        )
    };
    result(c_long::from(value)).map(drop)
}

/// The size of a page in bytes: 4096 on x86-64.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The size that a huge page has on x86-64 (a leaf at the page-directory level), in bytes.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;
