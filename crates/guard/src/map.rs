//! Memory from the kernel: mapping, protecting, giving back. The system calls are made raw, so that nothing depends on which of the
//! process's two C libraries is at work.
#![allow(unsafe_code, reason = "mmap(2), mprotect(2), munmap(2)")]

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Maps memory that can be read and written, and is not counted against the limit of committed memory.
pub(crate) fn anonymous(len_bytes: usize) -> Option<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address that the kernel chooses.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len_bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    (base != libc::MAP_FAILED).then(|| base.expose_provenance())
}

/// Maps memory at a multiple of `align_bytes`, a power of two.
pub(crate) fn reserve(len_bytes: usize, align_bytes: usize) -> Option<usize> {
    let all = len_bytes.checked_add(align_bytes)?;
    let base = anonymous(all)?;
    let start = (base + align_bytes - 1) & !(align_bytes - 1);
    if start > base {
        unmap(base, start - base);
    }
    let end = (start + len_bytes + PAGE_BYTES - 1) & !(PAGE_BYTES - 1);
    if base + all > end {
        unmap(end, base + all - end);
    }
    Some(start)
}

/// Changes the protection of pages of the guard's own. Gives whether that was possible.
pub(crate) fn protect(start: usize, len_bytes: usize, protection: i32) -> bool {
    let start = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: pages that this crate mapped, or a table of relocations that nobody has read yet; its callers say so.
    unsafe { libc::mprotect(start, len_bytes, protection) == 0 }
}

/// Gives pages back.
pub(crate) fn unmap(start: usize, len_bytes: usize) {
    let start = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: pages that this crate mapped and nobody uses any more.
    unsafe { libc::munmap(start, len_bytes) };
}

/// Gives the memory behind pages back; they read as zero.
pub(crate) fn forget(start: usize, len_bytes: usize) {
    let start = core::ptr::with_exposed_provenance_mut(start);
    // SAFETY: pages of the allocator's, of a block that was freed.
    unsafe { libc::madvise(start, len_bytes, libc::MADV_DONTNEED) };
}
