//! What a process can read about itself: its mappings as text, and its memory.
//!
//! A text is made when it is opened, and does not change afterwards; Linux makes it as it is read.
//!
//! Memory is accessed as a tracer would: no key is asked, and private pages without `PROT_WRITE` are written to as copies
//! of the process's own. It is the address space that the process had when the file was opened, and empty once that is
//! gone.
//!
//! Source: Linux `fs/proc/task_mmu.c` (`show_map_vma`, `show_smap`), `fs/proc/base.c` (`mem_rw`).

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use core::fmt::Write as _;

use lock_api::Mutex;

use crate::abi::Errno;
use crate::files::pipe::buffer;
use crate::kernel::Here;
use crate::memory::layout::{PAGE_SIZE, TASK_SIZE};
use crate::platform::{Platform, SpaceOf};
use crate::syscall::iovec::{self, Segment};
use crate::syscall::uaccess::count_or_fault;

/// A text, opened.
pub(crate) struct Text<P: Platform> {
    text: String,
    pub(super) position: Mutex<P::Lock, u64>,
}

impl<P: Platform> Text<P> {
    /// `/proc/PID/maps`; with `is_long`, `/proc/PID/smaps`.
    pub(super) fn of_mappings(space: &SpaceOf<P>, is_long: bool) -> Self {
        let mut text = String::new();
        for mapping in space.mappings() {
            // A string takes everything.
            let _ = if is_long {
                write!(text, "{mapping}")
            } else {
                writeln!(text, "{}", mapping.line())
            };
        }
        Self {
            text,
            position: Mutex::new(0),
        }
    }

    /// A read at the position, which moves on.
    pub(super) fn read(&self, here: &Here<'_, P>, to: Segment) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let done = self.read_at(here, to, *position)?;
        *position += done;
        Ok(done)
    }

    pub(super) fn read_at(&self, here: &Here<'_, P>, to: Segment, at: u64) -> Result<u64, Errno> {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| self.text.as_bytes().get(at..));
        let rest = rest.unwrap_or_default();
        let len = iovec::length(to.len).min(rest.len());
        let bytes = rest.get(..len).unwrap_or_default();
        match here.write_some(to.base, bytes) {
            None => Ok(len as u64),
            Some(written) => count_or_fault(written as u64),
        }
    }
}

/// `/proc/self/mem`, opened.
pub(crate) struct ProcessMemory<P: Platform> {
    space: Weak<SpaceOf<P>>,
    pub(super) position: Mutex<P::Lock, u64>,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
}

impl<P: Platform> ProcessMemory<P> {
    pub(super) fn new(space: &Arc<SpaceOf<P>>, is_readable: bool, is_writable: bool) -> Self {
        Self {
            space: Arc::downgrade(space),
            position: Mutex::new(0),
            is_readable,
            is_writable,
        }
    }

    /// A read at the position, which moves on.
    pub(super) fn read(&self, here: &Here<'_, P>, to: Segment) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let done = self.read_at(here, to, *position)?;
        *position = position.wrapping_add(done);
        Ok(done)
    }

    /// A write at the position, which moves on.
    pub(super) fn write(&self, here: &Here<'_, P>, from: Segment) -> Result<u64, Errno> {
        let mut position = self.position.lock();
        let done = self.write_at(here, from, *position)?;
        *position = position.wrapping_add(done);
        Ok(done)
    }

    pub(super) fn read_at(&self, here: &Here<'_, P>, to: Segment, at: u64) -> Result<u64, Errno> {
        let cpu = here.processor.cpu();
        self.by_pages(to, at, |space, place, bytes, user| {
            if space.read_remote(cpu, place, bytes, true).is_err() {
                return Err(Errno::Io);
            }
            here.write(user, bytes)
        })
    }

    pub(super) fn write_at(
        &self,
        here: &Here<'_, P>,
        from: Segment,
        at: u64,
    ) -> Result<u64, Errno> {
        let cpu = here.processor.cpu();
        self.by_pages(from, at, |space, place, bytes, user| {
            here.read_into(user, bytes)?;
            (space.write_remote(cpu, place, bytes, true)).map_err(|_| Errno::Io)
        })
    }

    /// Page by page, up to one that cannot be moved.
    fn by_pages(
        &self,
        user: Segment,
        at: u64,
        mut copy: impl FnMut(&SpaceOf<P>, u64, &mut [u8], u64) -> Result<(), Errno>,
    ) -> Result<u64, Errno> {
        let Some(space) = self.space.upgrade() else {
            return Ok(0);
        };
        let mut done = 0;
        while done < user.len {
            let place = at.wrapping_add(done);
            let len = (PAGE_SIZE - place % PAGE_SIZE).min(user.len - done);
            let mut bytes = buffer(iovec::length(len));
            let copied = if place < TASK_SIZE {
                copy(&space, place, &mut bytes, user.base.wrapping_add(done))
            } else {
                Err(Errno::Io)
            };
            match copied {
                Ok(()) => done += len,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}
