//! Reading this process's own memory in a way that cannot fault.
//!
//! The reporter looks at stacks that may be gone in a moment and at modules that may be unloaded. `process_vm_readv(2)` on
//! oneself answers EFAULT where a load would raise SIGSEGV; a sandbox may forbid the call, then `/proc/self/mem` does
//! the same. Protection keys do not hold for either, which is fine: what is read here is not keyed.
#![allow(unsafe_code, reason = "process_vm_readv(2)")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::sys::PAGE_BYTES;

/// How many pages one call reads; the kernel takes up to 1024 pieces.
const PAGES_A_CALL: usize = 64;

/// Reads from `addr` on into `buffer`, until it is full or a page cannot be read. Gives the number of bytes read.
pub(super) fn read(addr: usize, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let Some(from) = addr.checked_add(done) else {
            break;
        };
        let wanted = rest.len().min(PAGES_A_CALL * PAGE_BYTES);
        let read = read_some(from, &mut rest[..wanted]);
        done += read;
        if read < wanted {
            break;
        }
    }
    done
}

/// Reads one little-endian word.
pub(super) fn read_word(addr: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let addr = usize::try_from(addr).ok()?;
    (read(addr, &mut bytes) == bytes.len()).then(|| u64::from_le_bytes(bytes))
}

/// Reads `len_bytes` bytes, or nothing.
pub(super) fn read_exact(addr: usize, len_bytes: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len_bytes).ok()?;
    bytes.resize(len_bytes, 0);
    (read(addr, &mut bytes) == len_bytes).then_some(bytes)
}

fn read_some(addr: usize, buffer: &mut [u8]) -> usize {
    match read_by_call(addr, buffer) {
        Ok(read) => read,
        Err(libc::EFAULT) => 0,
        Err(_) => read_by_file(addr, buffer),
    }
}

/// `ssize_t process_vm_readv(pid_t pid, const struct iovec *local_iov, 1, const struct iovec *remote_iov, unsigned long
/// riovcnt, 0)`: reads page by page, as a transfer stops only between pieces.
fn read_by_call(addr: usize, buffer: &mut [u8]) -> Result<usize, i32> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let pieces = pieces(addr, buffer.len());
    // SAFETY: takes nothing. A thread's number, as the process's stands for its first thread, which may have ended.
    let tid = unsafe { libc::gettid() };
    // SAFETY: the local piece is the buffer; what the remote pieces point to is for the kernel to check.
    let read = unsafe {
        libc::process_vm_readv(
            tid,
            &raw const local,
            1,
            pieces.as_ptr(),
            pieces.len() as u64,
            0,
        )
    };
    usize::try_from(read).map_err(|_| super::errno::get())
}

fn pieces(addr: usize, len_bytes: usize) -> Vec<libc::iovec> {
    let mut pieces = Vec::with_capacity(len_bytes / PAGE_BYTES + 2);
    let mut done = 0;
    while done < len_bytes {
        let from = addr.saturating_add(done);
        let len = (PAGE_BYTES - from % PAGE_BYTES).min(len_bytes - done);
        pieces.push(libc::iovec {
            iov_base: core::ptr::without_provenance_mut(from),
            iov_len: len,
        });
        done += len;
    }
    pieces
}

/// The same by `/proc/self/mem`. Opened each time: in a child of `fork(2)` an old one would be the parent's.
fn read_by_file(addr: usize, buffer: &mut [u8]) -> usize {
    let Ok(file) = File::open("/proc/self/mem") else {
        return 0;
    };
    let mut done = 0;
    for piece in pieces(addr, buffer.len()) {
        let end = done + piece.iov_len;
        let into = &mut buffer[done..end];
        if file.read_exact_at(into, (addr + done) as u64).is_err() {
            break;
        }
        done = end;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{self, Prot};

    const READERS: [fn(usize, &mut [u8]) -> usize; 3] = [
        read,
        |addr, buffer| read_by_call(addr, buffer).unwrap_or(0),
        read_by_file,
    ];

    #[test]
    fn what_is_there_is_read() {
        let source: Vec<u8> = (0..300_000_u32)
            .map(|n| (n % 251).to_le_bytes()[0])
            .collect();
        for reader in READERS {
            for (at, len) in [(0, 0), (0, 1), (1, 8191), (4095, 2), (77, 200_000)] {
                let mut buffer = vec![0; len];
                assert_eq!(reader(source.as_ptr().addr() + at, &mut buffer), len);
                assert_eq!(buffer, source[at..at + len]);
            }
        }
        assert_eq!(read_exact(source.as_ptr().addr(), 300_000).unwrap(), source);
    }

    /// Two pages, of which the second cannot be read.
    #[test]
    fn reading_stops_at_a_page_that_cannot_be_read() {
        let base = sys::mmap_anonymous(2 * PAGE_BYTES, Prot::ReadWrite).unwrap();
        let addr = base.addr().get();
        // SAFETY: the pages are this test's own.
        unsafe { sys::mprotect(addr + PAGE_BYTES, PAGE_BYTES, Prot::None) }.unwrap();
        let mut buffer = [1; 100];
        for reader in &READERS[..2] {
            assert_eq!(reader(addr + PAGE_BYTES - 10, &mut buffer), 10);
            assert_eq!(reader(addr + PAGE_BYTES, &mut buffer), 0);
        }
        // SAFETY: as above.
        unsafe { sys::munmap(addr, 2 * PAGE_BYTES) }.unwrap();
        // Below the first address that Linux maps (`vm.mmap_min_addr`).
        for reader in READERS {
            assert_eq!(reader(8, &mut buffer), 0);
        }
        assert_eq!(read(usize::MAX - 10, &mut buffer), 0);
        assert_eq!(read_word(u64::MAX), None);
        assert_eq!(read_exact(8, 8), None);
    }
}
