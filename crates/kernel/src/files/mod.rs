//! Descriptors: as many kinds of files as programs need that test memory, which is pipes, files in memory that can be
//! mapped, and somewhere to print.
//!
//! Descriptors 0, 1 and 2 are the console: nothing can be read from it, and what is written goes to
//! [`crate::platform::Platform::print`]. The others are ends of pipes, and what `memfd_create(2)` made.

mod contents;
mod io;
mod memfd;
mod pipe;
mod transfer;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::abi::Errno;
use crate::platform::Platform;

pub(crate) use memfd::MemoryFile;
pub(crate) use pipe::{PAGE_LEN, Pipe};

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
}

impl<P: Platform> File<P> {
    /// Whether it was opened for reading.
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Console => true,
            Self::Pipe { is_writer, .. } => !is_writer,
            Self::Memory(file) => file.is_readable,
        }
    }

    /// Whether it was opened for writing.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Console => true,
            Self::Pipe { is_writer, .. } => *is_writer,
            Self::Memory(file) => file.is_writable,
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
        }
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
            if let File::Pipe {
                pipe, is_writer, ..
            } = &slot.file
            {
                pipe.open(*is_writer);
            }
            Some(Descriptor {
                file: slot.file.clone(),
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

    /// The lowest free number, and its place.
    pub(super) fn lowest_free(&self, limit: usize) -> Result<(i32, usize), Errno> {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or(self.0.len());
        if at >= limit {
            return Err(Errno::TooManyFiles);
        }
        let number = i32::try_from(at).map_err(|_| Errno::TooManyFiles)?;
        Ok((number, at))
    }

    /// Gives a file the lowest free number.
    pub(crate) fn add(
        &mut self,
        file: File<P>,
        closes_on_exec: bool,
        limit: usize,
    ) -> Result<i32, Errno> {
        let (number, at) = self.lowest_free(limit)?;
        let descriptor = Some(Descriptor {
            file,
            closes_on_exec,
        });
        match self.0.get_mut(at) {
            Some(slot) => *slot = descriptor,
            None => self.0.push(descriptor),
        }
        Ok(number)
    }

    /// Closes a number. Gives the threads that have to look at the other end of a pipe.
    pub(crate) fn close(&mut self, fd: i32) -> Result<Vec<i32>, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd));
        let descriptor = slot.and_then(Option::take).ok_or(Errno::BadDescriptor)?;
        Ok(closed(&descriptor.file))
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
            .flat_map(|descriptor| closed(&descriptor.file))
            .collect()
    }
}

/// A descriptor of this file is gone.
fn closed<P: Platform>(file: &File<P>) -> Vec<i32> {
    match file {
        File::Console | File::Memory(_) => Vec::new(),
        File::Pipe {
            pipe, is_writer, ..
        } => pipe.close(*is_writer),
    }
}

impl<P: Platform> fmt::Debug for Files<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.iter().filter(|slot| slot.is_some()).count();
        f.debug_struct("Files").field("open", &open).finish()
    }
}
