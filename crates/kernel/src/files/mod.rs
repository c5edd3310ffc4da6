//! Descriptors: as many kinds of files as programs need that test memory, which is pipes, files in memory that can be
//! mapped, and somewhere to print.
//!
//! Descriptors 0, 1 and 2 are the console: nothing can be read from it, and what is written goes to
//! [`crate::platform::Platform::print`]. The others are ends of pipes, pairs of sockets, what `memfd_create(2)` made, and
//! what a process can read about itself.
//!
//! | file | what |
//! |---|---|
//! | `io`, `transfer`, `vector` | `read`, `write`, `close`, `pipe2`, `vmsplice`; `readv`, `writev` |
//! | `pipe`, `socket` | what is between two descriptors |
//! | `memfd`, `contents` | files in memory |
//! | `paths`, `proc` | the few names that there are |
//! | `duplicate` | one file under several numbers, and what is kept of a number |
//! | `stat` | what a descriptor is |
//! | `poll` | waiting for any of several |

mod contents;
mod duplicate;
mod io;
mod memfd;
mod paths;
mod pipe;
mod poll;
mod proc;
mod socket;
mod stat;
mod transfer;
mod vector;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::abi::Errno;
use crate::kernel::Here;
use crate::platform::Platform;

pub(crate) use memfd::MemoryFile;
pub(crate) use pipe::{PAGE_LEN, Pipe};
pub(crate) use proc::{ProcessMemory, Text};
pub(crate) use socket::{Message, Socket};

/// What a descriptor stands for.
pub(crate) enum File<P: Platform> {
    Console,
    /// One end of a pipe.
    Pipe {
        pipe: Arc<Pipe<P>>,
        is_writer: bool,
        is_nonblocking: bool,
        is_packets: bool,
    },
    /// A file in memory.
    Memory(Arc<MemoryFile<P>>),
    /// One of a pair of sockets.
    Socket(Arc<Socket<P>>),
    /// A text about the process.
    Text(Arc<Text<P>>),
    /// The memory of a process.
    Process(Arc<ProcessMemory<P>>),
}

impl<P: Platform> File<P> {
    /// Whether it was opened for reading.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Console | Self::Socket(_) | Self::Text(_) => true,
            Self::Pipe { is_writer, .. } => !is_writer,
            Self::Memory(file) => file.is_readable,
            Self::Process(file) => file.is_readable,
        }
    }

    /// Whether it was opened for writing.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Console | Self::Socket(_) => true,
            Self::Pipe { is_writer, .. } => *is_writer,
            Self::Memory(file) => file.is_writable,
            Self::Text(_) => false,
            Self::Process(file) => file.is_writable,
        }
    }

    /// One more descriptor stands for it.
    fn open_again(&self) -> Self {
        match self {
            Self::Pipe {
                pipe, is_writer, ..
            } => pipe.open(*is_writer),
            Self::Socket(socket) => socket.open(),
            Self::Console | Self::Memory(_) | Self::Text(_) | Self::Process(_) => {}
        }
        self.clone()
    }

    /// One descriptor less stands for it. Gives the threads that have to look at the other end.
    fn close(&self) -> Vec<i32> {
        match self {
            Self::Pipe {
                pipe, is_writer, ..
            } => pipe.close(*is_writer),
            Self::Socket(socket) => socket.close(),
            Self::Console | Self::Memory(_) | Self::Text(_) | Self::Process(_) => Vec::new(),
        }
    }
}

impl<P: Platform> Clone for File<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Console => Self::Console,
            Self::Pipe {
                pipe,
                is_writer,
                is_nonblocking,
                is_packets,
            } => Self::Pipe {
                pipe: Arc::clone(pipe),
                is_writer: *is_writer,
                is_nonblocking: *is_nonblocking,
                is_packets: *is_packets,
            },
            Self::Memory(file) => Self::Memory(Arc::clone(file)),
            Self::Socket(socket) => Self::Socket(Arc::clone(socket)),
            Self::Text(text) => Self::Text(Arc::clone(text)),
            Self::Process(file) => Self::Process(Arc::clone(file)),
        }
    }
}

impl<P: Platform> Here<'_, P> {
    /// What a descriptor stands for.
    fn file(&self, fd: i32) -> Result<File<P>, Errno> {
        self.running.thread.process().files.lock().get(fd)
    }

    /// The same for a descriptor that was opened for reading.
    fn file_to_read(&self, fd: i32) -> Result<File<P>, Errno> {
        let file = Some(self.file(fd)?);
        file.filter(File::is_readable).ok_or(Errno::BadDescriptor)
    }

    /// The same for a descriptor that was opened for writing.
    fn file_to_write(&self, fd: i32) -> Result<File<P>, Errno> {
        let file = Some(self.file(fd)?);
        file.filter(File::is_writable).ok_or(Errno::BadDescriptor)
    }

    /// The numbers that descriptors of the process may have.
    fn numbers(&self) -> Range<usize> {
        let process = self.running.thread.process();
        let limit = process.inherited.lock().limits.nr_files();
        0..limit
    }

    /// Gives a file the lowest free number.
    fn add_file(&self, file: File<P>, closes_on_exec: bool) -> Result<u64, Errno> {
        let numbers = self.numbers();
        let mut files = self.running.thread.process().files.lock();
        let number = files.add(numbers, file, closes_on_exec)?;
        Ok(u64::from(number.unsigned_abs()))
    }
}

struct Descriptor<P: Platform> {
    file: File<P>,
    closes_on_exec: bool,
}

/// The descriptors of a process.
pub(crate) struct Files<P: Platform>(Vec<Option<Descriptor<P>>>);

impl<P: Platform> Files<P> {
    /// Those that a first process has.
    pub(crate) fn new() -> Self {
        let console = || {
            Some(Descriptor {
                file: File::Console,
                closes_on_exec: false,
            })
        };
        Self(vec![console(), console(), console()])
    }

    /// A child's.
    pub(crate) fn fork(&self) -> Self {
        let copy = |slot: &Option<Descriptor<P>>| {
            let slot = slot.as_ref()?;
            Some(Descriptor {
                file: slot.file.open_again(),
                closes_on_exec: slot.closes_on_exec,
            })
        };
        Self(self.0.iter().map(copy).collect())
    }

    /// What a number stands for.
    pub(crate) fn get(&self, fd: i32) -> Result<File<P>, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get(fd));
        match slot {
            Some(Some(descriptor)) => Ok(descriptor.file.clone()),
            _ => Err(Errno::BadDescriptor),
        }
    }

    /// Those of some numbers that stand for nothing.
    fn free(&self, numbers: Range<usize>) -> impl Iterator<Item = usize> {
        let is_free = |at: &usize| !matches!(self.0.get(*at), Some(Some(_)));
        numbers.filter(is_free)
    }

    /// The lowest free one of some numbers.
    fn lowest_free(&self, numbers: Range<usize>) -> Result<usize, Errno> {
        self.free(numbers).next().ok_or(Errno::TooManyFiles)
    }

    /// Gives a file the lowest free one of some numbers.
    pub(crate) fn add(
        &mut self,
        numbers: Range<usize>,
        file: File<P>,
        closes_on_exec: bool,
    ) -> Result<i32, Errno> {
        let at = self.lowest_free(numbers)?;
        let number = i32::try_from(at).map_err(|_| Errno::TooManyFiles)?;
        self.put(at, file, closes_on_exec);
        Ok(number)
    }

    /// Gives a file a number, whatever that stood for, and gives that.
    fn put(&mut self, at: usize, file: File<P>, closes_on_exec: bool) -> Option<File<P>> {
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        let new = Descriptor {
            file,
            closes_on_exec,
        };
        let old = self.0.get_mut(at)?.replace(new)?;
        Some(old.file)
    }

    /// Closes a number. Gives the threads that have to look at the other end of a pipe.
    pub(crate) fn close(&mut self, fd: i32) -> Result<Vec<i32>, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd));
        let descriptor = slot.and_then(Option::take).ok_or(Errno::BadDescriptor)?;
        Ok(descriptor.file.close())
    }

    /// Closes everything.
    pub(crate) fn close_all(&mut self) -> Vec<i32> {
        self.close_if(|_| true)
    }

    /// Closes what a new program does not get.
    pub(crate) fn close_on_exec(&mut self) -> Vec<i32> {
        self.close_if(|descriptor| descriptor.closes_on_exec)
    }

    fn close_if(&mut self, is_chosen: impl Fn(&Descriptor<P>) -> bool) -> Vec<i32> {
        let chosen = self
            .0
            .iter_mut()
            .filter_map(|slot| slot.take_if(|descriptor| is_chosen(descriptor)));
        chosen
            .flat_map(|descriptor| descriptor.file.close())
            .collect()
    }
}

impl<P: Platform> fmt::Debug for Files<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.iter().filter(|slot| slot.is_some()).count();
        f.debug_struct("Files").field("open", &open).finish()
    }
}
