//! Where reports go: the terminal, which is standard error, and a file.
//!
//! Handlers read the settings while a program changes them, so they are atomics. The file is known by device and inode
//! as well as by its descriptor: a program that closes all descriptors (a daemon does) may have opened another file
//! under the same number since, and nothing of ours may be written into that one.
#![allow(unsafe_code, reason = "fcntl(2) and dup3(2)")]

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::fault::report::output::{self, Identity, Unwritten};

/// No descriptor.
const NONE: c_int = -1;

/// The two places, and how much of what went there was lost.
#[derive(Debug)]
pub(super) struct Outlets {
    terminal: AtomicI32,
    file: AtomicI32,
    file_device: AtomicU64,
    file_inode: AtomicU64,
    /// Whether the file ends in a line that could not be written to its end.
    is_line_torn: AtomicBool,
    lost: AtomicU64,
}

impl Outlets {
    /// Standard error, and no file.
    pub(super) const fn new() -> Self {
        Self {
            terminal: AtomicI32::new(libc::STDERR_FILENO),
            file: AtomicI32::new(NONE),
            file_device: AtomicU64::new(0),
            file_inode: AtomicU64::new(0),
            is_line_torn: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// How many records could not be written, or not whole.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(SeqCst)
    }

    /// Counts a record that could not be written.
    pub(super) fn note_lost(&self) {
        self.lost.fetch_add(1, SeqCst);
    }

    /// The descriptor of the terminal, where reports are written to it.
    pub(super) fn terminal(&self) -> Option<c_int> {
        Some(self.terminal.load(SeqCst)).filter(|&fd| fd != NONE)
    }

    /// Turns reports on the terminal on, at this descriptor, or off.
    pub(super) fn set_terminal(&self, fd: Option<c_int>) {
        self.terminal.store(fd.unwrap_or(NONE), SeqCst);
    }

    /// Whether reports are written to a file.
    pub(super) fn has_file(&self) -> bool {
        self.file.load(SeqCst) != NONE
    }

    /// Writes to the terminal, if it is on. For signal handlers too.
    pub(super) fn write_terminal(&self, text: &[u8], until_ns: u64) {
        if let Some(fd) = self.terminal()
            && output::write_all(fd, text, until_ns).is_err()
        {
            self.note_lost();
        }
    }

    /// Appends a line to the file, if there is one. For signal handlers too.
    pub(super) fn write_file(&self, line: &[u8], until_ns: u64) {
        let fd = self.file.load(SeqCst);
        if fd == NONE {
            return;
        }
        if !self.is_ours(fd) {
            return self.note_lost();
        }
        // A half line is closed first, so that it takes no good one with it.
        if self.is_line_torn.swap(false, SeqCst) && output::write_all(fd, b"\n", until_ns).is_err()
        {
            self.is_line_torn.store(true, SeqCst);
            return self.note_lost();
        }
        if let Err(Unwritten { written_bytes }) = output::write_all(fd, line, until_ns) {
            if written_bytes > 0 {
                self.is_line_torn.store(true, SeqCst);
            }
            self.note_lost();
        }
    }

    /// Makes this the file. The caller lets one thread at a time do so.
    pub(super) fn set_file(&self, file: OwnedFd) -> io::Result<()> {
        let identity = Identity::of(file.as_raw_fd()).ok_or_else(io::Error::last_os_error)?;
        let old = self.file.load(SeqCst);
        let takes_number = old != NONE && self.is_ours(old);
        if takes_number {
            // The new file takes the old one's number in one step: a handler that is writing at the moment writes to
            // one or the other. One that looks between this step and the next counts its record as lost.
            // SAFETY: both descriptors are this library's own.
            if unsafe { libc::dup3(file.as_raw_fd(), old, libc::O_CLOEXEC) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        self.file_device.store(identity.device, SeqCst);
        self.file_inode.store(identity.inode, SeqCst);
        if !takes_number {
            self.file.store(file.into_raw_fd(), SeqCst);
        }
        self.is_line_torn.store(false, SeqCst);
        Ok(())
    }

    /// Whether the descriptor still stands for the file that was opened.
    fn is_ours(&self, fd: c_int) -> bool {
        Identity::of(fd).is_some_and(|now| {
            now.device == self.file_device.load(SeqCst) && now.inode == self.file_inode.load(SeqCst)
        })
    }
}

/// Opens a file to append to, making it where there is none. A pipe that nobody reads is an error, not a wait.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let file = File::options()
        .append(true)
        .create(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // Not one of the three standard numbers, which may be free and which others would write to.
    // SAFETY: takes and gives descriptors only.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, for this function alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::clock::{SECOND_NS, monotonic_ns};
    use std::fs;
    use std::io::Read;
    use std::path::PathBuf;

    fn soon() -> u64 {
        monotonic_ns() + SECOND_NS
    }

    /// A path in the temporary folder, removed on drop.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("pkeys-outlets-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn lines_are_appended_to_the_file_that_was_set_last() {
        let (one, two) = (Scratch::new("one"), Scratch::new("two"));
        fs::write(&one.0, "kept\n").unwrap();
        let outlets = Outlets::new();
        outlets.write_file(b"nowhere\n", soon());
        outlets.set_file(open(&one.0).unwrap()).unwrap();
        outlets.write_file(b"1\n", soon());
        let fd = outlets.file.load(SeqCst);
        outlets.set_file(open(&two.0).unwrap()).unwrap();
        assert_eq!(outlets.file.load(SeqCst), fd, "no descriptor is lost");
        outlets.write_file(b"2\n", soon());
        assert_eq!(fs::read_to_string(&one.0).unwrap(), "kept\n1\n");
        assert_eq!(fs::read_to_string(&two.0).unwrap(), "2\n");
        assert_eq!(outlets.lost(), 0);
    }

    /// As after a daemon's `closefrom(3)`: the number stands for a database now.
    #[test]
    fn a_file_that_is_not_ours_any_more_is_left_alone() {
        let (ours, theirs) = (Scratch::new("ours"), Scratch::new("theirs"));
        let outlets = Outlets::new();
        outlets.set_file(open(&ours.0).unwrap()).unwrap();
        let fd = outlets.file.load(SeqCst);
        let database = File::create(&theirs.0).unwrap();
        // SAFETY: both descriptors are this test's.
        assert_eq!(unsafe { libc::dup2(database.as_raw_fd(), fd) }, fd);
        outlets.write_file(b"1\n", soon());
        assert_eq!(fs::read(&theirs.0).unwrap(), b"");
        assert_eq!(outlets.lost(), 1);
        // A file that is set now gets a number of its own.
        outlets.set_file(open(&ours.0).unwrap()).unwrap();
        assert_ne!(outlets.file.load(SeqCst), fd);
        outlets.write_file(b"2\n", soon());
        assert_eq!(fs::read(&theirs.0).unwrap(), b"");
        assert_eq!(fs::read(&ours.0).unwrap(), b"2\n");
    }

    /// A pipe that is almost full takes the start of a line.
    #[test]
    fn a_torn_line_is_closed_before_the_next() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlets = Outlets::new();
        outlets.set_file(writer.into()).unwrap();
        let long = vec![b'x'; 1 << 20];
        outlets.write_file(&long, monotonic_ns());
        assert_eq!(outlets.lost(), 1);
        let mut torn = vec![0; 1 << 16];
        let len = reader.read(&mut torn).unwrap();
        assert!(torn[..len].iter().all(|&byte| byte == b'x'));
        outlets.write_file(b"next\n", soon());
        outlets
            .set_file(open(Path::new("/dev/null")).unwrap())
            .unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.trim_start_matches('x'), "\nnext\n");
        assert_eq!(outlets.lost(), 1);
    }

    #[test]
    fn a_terminal_that_is_off_gets_nothing() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlets = Outlets::new();
        outlets.set_terminal(Some(writer.as_raw_fd()));
        outlets.write_terminal(b"on", soon());
        outlets.set_terminal(None);
        outlets.write_terminal(b"off", soon());
        drop(writer);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert_eq!(got, "on");
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let error = |path: &Path| open(path).unwrap_err().raw_os_error().unwrap();
        assert_eq!(error(Path::new("/")), libc::EISDIR);
        assert_eq!(error(Path::new("/nonexistent/file")), libc::ENOENT);
        let pipe = Scratch::new("pipe");
        let path = std::ffi::CString::new(pipe.0.to_str().unwrap()).unwrap();
        // SAFETY: a path with its end mark.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        assert_eq!(error(&pipe.0), libc::ENXIO, "nobody reads the pipe");
    }
}
