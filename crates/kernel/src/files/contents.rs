//! `read(2)`, `write(2)`, `pread64(2)` and `pwrite64(2)` of files in memory.
//!
//! Bytes go page by page, and a call that meets memory that the program cannot access gives what it has done until then,
//! to the byte. The keys of the program's memory count, those of mappings of the file do not: a file can be read through
//! a descriptor whatever the key of the pages on which it is mapped.
//!
//! Source: Linux 6.12 `fs/read_write.c` (`vfs_read`, `vfs_write`, `rw_verify_area`), `mm/shmem.c`
//! (`shmem_file_read_iter`), `mm/filemap.c` (`generic_perform_write`).

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::files::io::checked_count;
use crate::files::memfd::MemoryFile;
use crate::files::pipe::buffer;
use crate::files::{File, ProcessMemory, Text};
use crate::kernel::{Here, Kernel};
use crate::memory::layout::PAGE_SIZE;
use crate::platform::Platform;
use crate::syscall::iovec::{self, Segment};
use crate::syscall::uaccess::count_or_fault;

impl<P: Platform> MemoryFile<P> {
    /// A read at the position of the descriptor, which moves on.
    pub(super) fn read(&self, here: &Here<'_, P>, buf: u64, count: u64) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let done = self.read_at(here, buf, count, *position)?;
        *position += done;
        Ok(done)
    }

    /// A write at the position of the descriptor, which moves on.
    pub(super) fn write(&self, here: &Here<'_, P>, buf: u64, count: u64) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let done = self.write_at(here, buf, count, *position)?;
        *position += done;
        Ok(done)
    }

    fn read_at(&self, here: &Here<'_, P>, buf: u64, count: u64, at: u64) -> Result<u64, Errno> {
        if !self.is_readable {
            return Err(Errno::BadDescriptor);
        }
        let len = checked_range(buf, count, at)?;
        let mut done = 0;
        while done < len {
            let mut bytes = page_buffer(at + done, len - done);
            let found = self.object.read_at(at + done, &mut bytes);
            let bytes = bytes.get(..found).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if let Some(written) = here.write_some(buf + done, bytes) {
                return count_or_fault(done + written as u64);
            }
            done += found as u64;
        }
        Ok(done)
    }

    fn write_at(&self, here: &Here<'_, P>, buf: u64, count: u64, at: u64) -> Result<u64, Errno> {
        if !self.is_writable {
            return Err(Errno::BadDescriptor);
        }
        let len = checked_range(buf, count, at)?;
        let mut done = 0;
        while done < len {
            let mut bytes = page_buffer(at + done, len - done);
            let copied = here.read_some(buf + done, &mut bytes);
            let from = bytes.get(..copied).unwrap_or_default();
            let written = if from.is_empty() {
                Err(Errno::Fault)
            } else {
                self.object.write_at(at + done, from)
            };
            match written {
                Ok(written) => done += written as u64,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

impl<P: Platform> Kernel<P> {
    /// `ssize_t pread64(int fd, void *buf, size_t count, off_t offset);`
    pub(crate) fn pread(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        buf: u64,
        count: u64,
        at: u64,
    ) -> Result<u64, Errno> {
        let to = Segment {
            base: buf,
            len: count,
        };
        match seekable(here, fd, at)? {
            Seekable::Memory(file) => file.read_at(here, buf, count, at),
            Seekable::Text(text) => text.read_at(here, checked(to)?, at),
            Seekable::Process(memory) if memory.is_readable => {
                memory.read_at(here, checked(to)?, at)
            }
            Seekable::Process(_) => Err(Errno::BadDescriptor),
        }
    }

    /// `ssize_t pwrite64(int fd, const void *buf, size_t count, off_t offset);`
    pub(crate) fn pwrite(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        buf: u64,
        count: u64,
        at: u64,
    ) -> Result<u64, Errno> {
        let from = Segment {
            base: buf,
            len: count,
        };
        match seekable(here, fd, at)? {
            Seekable::Memory(file) => file.write_at(here, buf, count, at),
            Seekable::Process(memory) if memory.is_writable => {
                memory.write_at(here, checked(from)?, at)
            }
            Seekable::Process(_) | Seekable::Text(_) => Err(Errno::BadDescriptor),
        }
    }
}

/// A file that has places.
enum Seekable<P: Platform> {
    Memory(Arc<MemoryFile<P>>),
    Text(Arc<Text<P>>),
    Process(Arc<ProcessMemory<P>>),
}

/// The file of a descriptor, which has to be one that has places.
fn seekable<P: Platform>(here: &Here<'_, P>, fd: i32, at: u64) -> Result<Seekable<P>, Errno> {
    if at.cast_signed() < 0 {
        return Err(Errno::Invalid);
    }
    let file = here.file(fd)?;
    match file {
        File::Memory(file) => Ok(Seekable::Memory(file)),
        File::Text(text) => Ok(Seekable::Text(text)),
        File::Process(memory) => Ok(Seekable::Process(memory)),
        File::Console | File::Pipe { .. } | File::Socket(_) => Err(Errno::IllegalSeek),
    }
}

/// The program's side of a transfer, no longer than a call may move.
fn checked(segment: Segment) -> Result<Segment, Errno> {
    let len = checked_count(segment.base, segment.len)?;
    Ok(Segment { len, ..segment })
}

/// How many bytes a call may move. No byte of a file has a number above the largest `i64`.
fn checked_range(buf: u64, count: u64, at: u64) -> Result<u64, Errno> {
    let checked = checked_count(buf, count)?;
    if at.saturating_add(count).cast_signed() < 0 {
        return Err(Errno::Invalid);
    }
    Ok(checked)
}

/// Space for what one page of the file has of a range.
fn page_buffer(at: u64, len: u64) -> alloc::vec::Vec<u8> {
    buffer(iovec::length(len.min(PAGE_SIZE - at % PAGE_SIZE)))
}
