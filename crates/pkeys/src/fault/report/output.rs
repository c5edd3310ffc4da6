//! `write(2)` from a signal handler: bounded in time, harmless where it fails.
//!
//! A report goes to descriptors that belong to the program, and may find anything there: a pipe that nobody reads any
//! more (EPIPE, and SIGPIPE that would kill), a pipe whose reader sleeps, a full disk, a file at its size limit (SIGXFSZ). None
//! of these may end or hang the program. So room is waited for with `poll(2)`, no longer than the caller says; pieces
//! are small enough for a pipe that has room to take them whole; and the two signals are kept from the thread while it
//! writes. All calls are raw system calls or on the list of `signal-safety(7)`.
#![allow(unsafe_code, reason = "write(2), poll(2) and the signal mask")]

use core::ffi::c_int;
use core::ptr;

use crate::fault::report::{clock, errno};

/// The kernel's signal set: bit `n - 1` for signal `n`.
type KernelSigset = u64;

/// What a pipe with any room takes without blocking (`PIPE_BUF`, `pipe(7)`).
const PIECE_BYTES: usize = 4096;

/// Some of the text is not where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unwritten {
    /// How much is.
    pub(super) written_bytes: usize,
}

/// `ssize_t write(int fd, const void buf[.count], size_t count)`, repeated: writes the text, and waits for room until the
/// monotonic clock shows `until_ns`. `errno` is not kept.
pub(super) fn write_all(fd: c_int, text: &[u8], until_ns: u64) -> Result<(), Unwritten> {
    let mute = Mute::begin();
    // Regular files are always ready and take any size in one piece, which keeps the lines of several writers whole.
    let is_regular = Identity::of(fd).is_some_and(|identity| identity.is_regular);
    let piece_bytes = if is_regular { usize::MAX } else { PIECE_BYTES };
    let mut rest = text;
    let result = loop {
        if rest.is_empty() {
            break Ok(());
        }
        match write_piece(fd, rest.get(..piece_bytes).unwrap_or(rest), until_ns) {
            Some(written) => rest = rest.get(written..).unwrap_or(&[]),
            None => {
                break Err(Unwritten {
                    written_bytes: text.len() - rest.len(),
                });
            }
        }
    };
    mute.end();
    result
}

/// Writes some of the text; `None` when that fails or takes too long.
fn write_piece(fd: c_int, text: &[u8], until_ns: u64) -> Option<usize> {
    loop {
        wait_for_room(fd, until_ns)?;
        // SAFETY: address and length are the text's.
        let written = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(0) => return None,
            Ok(written) => return Some(written),
            Err(_) if matches!(errno::get(), libc::EINTR | libc::EAGAIN) => {}
            Err(_) => return None,
        }
    }
}

/// Waits until the descriptor takes bytes, or has an error to tell; `None` when it does neither in time.
fn wait_for_room(fd: c_int, until_ns: u64) -> Option<()> {
    loop {
        let left_ns = until_ns.saturating_sub(clock::monotonic_ns());
        let left_ms = c_int::try_from(left_ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        let mut ask = libc::pollfd {
            fd,
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one entry, this function's own.
        match unsafe { libc::poll(&raw mut ask, 1, left_ms) } {
            0 => return None,
            1.. => return Some(()),
            _ if errno::get() == libc::EINTR => {}
            _ => return None,
        }
    }
}

/// Which file a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    is_regular: bool,
}

impl Identity {
    /// `int fstat(int fd, struct stat *statbuf)`; `None` for a descriptor that is not open.
    #[inline(never)]
    pub(super) fn of(fd: c_int) -> Option<Self> {
        let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the buffer has the size of a `stat`.
        if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: the call has filled it.
        let stat = unsafe { stat.assume_init_ref() };
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            is_regular: stat.st_mode & libc::S_IFMT == libc::S_IFREG,
        })
    }
}

/// SIGPIPE and SIGXFSZ, kept from the calling thread for a while.
struct Mute {
    mask_before: KernelSigset,
    pending_before: KernelSigset,
}

const MUTED: KernelSigset = 1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGXFSZ - 1);

impl Mute {
    fn begin() -> Self {
        Self {
            mask_before: change_mask(libc::SIG_BLOCK, MUTED),
            pending_before: pending(),
        }
    }

    /// Takes back what a write has raised and nobody else had before, then lets the signals through again.
    fn end(self) {
        let raised = pending() & MUTED & !self.pending_before;
        if raised != 0 {
            let at_once = clock::timespec(0);
            // SAFETY: the set is eight bytes, as the length says; no siginfo is asked for.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigtimedwait,
                    &raw const raised,
                    ptr::null::<libc::siginfo_t>(),
                    &raw const at_once,
                    size_of::<KernelSigset>(),
                )
            };
        }
        change_mask(libc::SIG_SETMASK, self.mask_before);
    }
}

fn change_mask(how: c_int, mask: KernelSigset) -> KernelSigset {
    let mut before: KernelSigset = 0;
    // SAFETY: both sets are eight bytes, as the length says.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const mask,
            &raw mut before,
            size_of::<KernelSigset>(),
        )
    };
    before
}

fn pending() -> KernelSigset {
    let mut set: KernelSigset = 0;
    // SAFETY: the set is eight bytes, as the length says.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigpending,
            &raw mut set,
            size_of::<KernelSigset>(),
        )
    };
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    const SOON_NS: u64 = 50_000_000;

    fn soon() -> u64 {
        clock::monotonic_ns() + SOON_NS
    }

    #[test]
    fn a_long_text_passes_a_short_pipe() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let text: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let far = clock::monotonic_ns() + 60 * clock::SECOND_NS;
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut got = Vec::new();
                reader.read_to_end(&mut got).unwrap();
                got
            });
            assert_eq!(write_all(writer.as_raw_fd(), &text, far), Ok(()));
            drop(writer);
            assert_eq!(reading.join().unwrap(), text);
        });
    }

    #[test]
    fn a_reader_that_sleeps_is_not_waited_for_beyond_the_bound() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let text = vec![b'x'; 1 << 20];
        let until = soon();
        let result = write_all(writer.as_raw_fd(), &text, until);
        assert!(matches!(result, Err(Unwritten { written_bytes }) if written_bytes < text.len()));
        let late_ns = clock::monotonic_ns() - until;
        assert!(late_ns < 10 * clock::SECOND_NS, "{late_ns} ns late");
    }

    /// The signal is neither delivered nor left behind, with its default action it would end this test.
    #[test]
    fn a_reader_that_is_gone_raises_no_signal() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        // SAFETY: a default action, and the one that Rust's runtime had set afterwards.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let mask = change_mask(libc::SIG_BLOCK, 0);
        let result = write_all(writer.as_raw_fd(), b"text", soon());
        assert_eq!(result, Err(Unwritten { written_bytes: 0 }));
        assert_eq!(pending() & MUTED, 0);
        assert_eq!(change_mask(libc::SIG_BLOCK, 0), mask);
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let result = write_all(full.as_raw_fd(), b"text", soon());
        assert_eq!(result, Err(Unwritten { written_bytes: 0 }));
    }

    #[test]
    fn a_closed_descriptor_is_an_error() {
        let result = write_all(1_000_000, b"text", soon());
        assert_eq!(result, Err(Unwritten { written_bytes: 0 }));
        assert_eq!(Identity::of(1_000_000), None);
    }
}
