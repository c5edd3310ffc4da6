//! `readv(2)` and `writev(2)`: one call, several buffers.
//!
//! A pipe takes them as one write. Elsewhere they are read or written one after the other, up to the first that does not
//! come to its end.
//!
//! Source: Linux `fs/read_write.c` (`vfs_readv`, `vfs_writev`).

use crate::abi::Errno;
use crate::files::File;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::syscall::iovec::{self, Segment};

impl<P: Platform> Kernel<P> {
    /// `ssize_t readv(int fd, const struct iovec *iov, int iovcnt);`
    pub(crate) fn readv(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        list: u64,
        count: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let file = here.file_to_read(fd)?;
        let segments = iovec::import(here, list, count)?;
        self.read_file(here, &file, &segments, done)
    }

    /// `ssize_t writev(int fd, const struct iovec *iov, int iovcnt);`
    pub(crate) fn writev(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        list: u64,
        count: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let file = here.file_to_write(fd)?;
        let segments = iovec::import(here, list, count)?;
        self.write_file(here, &file, &segments, done)
    }

    /// Reads from a file that was opened for it.
    pub(super) fn read_file(
        &self,
        here: &Here<'_, P>,
        file: &File<P>,
        segments: &[Segment],
        done: u64,
    ) -> Result<u64, CallEnd> {
        match file {
            File::Pipe {
                pipe,
                is_nonblocking,
                ..
            } => self.read_pipe(here, pipe, segments, *is_nonblocking),
            File::Socket(socket) => self.receive(here, socket, segments, false, done),
            File::Console => Ok(0),
            File::Memory(file) => Ok(one_by_one(segments, |one| {
                file.read(here, one.base, one.len)
            })?),
            File::Text(text) => Ok(one_by_one(segments, |one| text.read(here, one))?),
            File::Process(file) => Ok(one_by_one(segments, |one| file.read(here, one))?),
        }
    }

    /// Writes to a file that was opened for it.
    pub(super) fn write_file(
        &self,
        here: &Here<'_, P>,
        file: &File<P>,
        segments: &[Segment],
        done: u64,
    ) -> Result<u64, CallEnd> {
        match file {
            File::Pipe {
                pipe,
                is_nonblocking,
                is_packets,
                ..
            } => self.write_to_pipe(here, pipe, segments, done, [*is_packets, *is_nonblocking]),
            File::Socket(socket) => self.send_to_socket(here, socket, segments, 0, done),
            File::Console => Ok(one_by_one(segments, |one| {
                self.write_console(here, one.base, one.len)
            })?),
            File::Memory(file) => Ok(one_by_one(segments, |one| {
                file.write(here, one.base, one.len)
            })?),
            File::Process(file) => Ok(one_by_one(segments, |one| file.write(here, one))?),
            File::Text(_) => Err(Errno::BadDescriptor.into()),
        }
    }
}

/// Goes through buffers up to the first that was not filled or emptied. Its error counts only if nothing was done before.
fn one_by_one(
    segments: &[Segment],
    mut access: impl FnMut(Segment) -> Result<u64, Errno>,
) -> Result<u64, Errno> {
    let mut done = 0;
    for segment in segments {
        match access(*segment) {
            Ok(len) if len == segment.len => done += len,
            Ok(len) => return Ok(done + len),
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}
