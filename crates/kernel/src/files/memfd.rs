//! Files in memory: `memfd_create(2)`, `ftruncate(2)`, `lseek(2)`, and `mmap(2)` of a descriptor.
//!
//! Such a file has no name but `/proc/self/fd/N`, by which a program gets an opening with other rights. It goes with the
//! last descriptor and the last mapping of it. A descriptor and its copies, in child processes too, are one opening: they
//! have one position and the same rights.
//!
//! Source: Linux 6.12 `mm/memfd.c` (`memfd_create`), `fs/open.c` (`do_sys_ftruncate`), `fs/read_write.c`
//! (`generic_file_llseek`), `fs/proc/base.c` (`mem_lseek`), `mm/mmap.c` (`ksys_mmap_pgoff`).

use alloc::sync::Arc;

use lock_api::Mutex;

use crate::abi::task::{MFD_ALLOW_SEALING, MFD_CLOEXEC};
use crate::abi::{Errno, MapFlags};
use crate::files::File;
use crate::kernel::{Here, Kernel};
use crate::memory::layout::{PAGE_SIZE, is_aligned};
use crate::memory::{Backing, Object};
use crate::platform::Platform;

/// The longest name of a file, without the zero at its end.
const NAME_MAX: usize = 249;

/// `SEEK_SET`, `SEEK_CUR`, `SEEK_END`.
const SEEK_SET: u32 = 0;
const SEEK_CUR: u32 = 1;
const SEEK_END: u32 = 2;

/// A file in memory, opened.
pub(crate) struct MemoryFile<P: Platform> {
    pub(super) object: Object<P::Memory, P::Lock>,
    /// Where the next read or write begins: at most the largest `i64`.
    pub(super) position: Mutex<P::Lock, u64>,
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
}

impl<P: Platform> MemoryFile<P> {
    pub(super) fn opening(
        object: Object<P::Memory, P::Lock>,
        [is_readable, is_writable]: [bool; 2],
    ) -> File<P> {
        File::Memory(Arc::new(Self {
            object,
            position: Mutex::new(0),
            is_readable,
            is_writable,
        }))
    }
}

impl<P: Platform> File<P> {
    /// What it is to `mmap(2)`.
    fn backing(&self) -> Backing<P::Memory, P::Lock> {
        Backing {
            file: match self {
                Self::Memory(file) => Some(file.object.clone()),
                _ => None,
            },
            is_readable: self.is_readable(),
            is_writable: self.is_writable(),
        }
    }
}

impl<P: Platform> Kernel<P> {
    /// `int memfd_create(const char *name, unsigned int flags);`
    pub(crate) fn memfd_create(
        &self,
        here: &Here<'_, P>,
        name: u64,
        flags: u32,
    ) -> Result<u64, Errno> {
        if flags & !(MFD_CLOEXEC | MFD_ALLOW_SEALING) != 0 {
            return Err(Errno::Invalid);
        }
        here.read_string(name, NAME_MAX + 1, Errno::Invalid)?;
        let file = MemoryFile::opening(Object::file(&self.pool), [true, true]);
        here.add_file(file, flags & MFD_CLOEXEC != 0)
    }

    /// `int ftruncate(int fd, off_t length);`
    pub(crate) fn ftruncate(&self, here: &Here<'_, P>, fd: i32, len: u64) -> Result<u64, Errno> {
        if len.cast_signed() < 0 {
            return Err(Errno::Invalid);
        }
        let file = here.file(fd)?;
        match file {
            File::Memory(file) if file.is_writable => {
                if file.object.set_len(len) {
                    self.drop_behind(here, &file, len);
                }
                Ok(0)
            }
            _ => Err(Errno::Invalid),
        }
    }

    /// Takes what lies behind the end of a file out of every address space.
    fn drop_behind(&self, here: &Here<'_, P>, file: &MemoryFile<P>, len: u64) {
        let processes: alloc::vec::Vec<_> = self.with_tasks(|tasks| {
            let entries = tasks.processes.values();
            entries.map(|entry| Arc::clone(&entry.process)).collect()
        });
        for space in processes.iter().filter_map(|process| process.space()) {
            space.drop_behind(here.processor.cpu(), &file.object, len);
        }
    }

    /// `off_t lseek(int fd, off_t offset, int whence);`
    pub(crate) fn lseek(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        offset: u64,
        whence: u32,
    ) -> Result<u64, Errno> {
        let file = here.file(fd)?;
        if whence > SEEK_END {
            return Err(Errno::Invalid);
        }
        let (position, end, is_signed) = match &file {
            File::Memory(file) => (&file.position, Some(file.object.len()), true),
            // A text has no end before it was read, and no address is too high for memory.
            File::Text(text) => (&text.position, None, true),
            File::Process(memory) => (&memory.position, None, false),
            File::Console | File::Pipe { .. } | File::Socket(_) => {
                return Err(Errno::IllegalSeek);
            }
        };
        let mut position = position.lock();
        let from = match whence {
            SEEK_SET => 0,
            SEEK_CUR => *position,
            _ => end.ok_or(Errno::Invalid)?,
        };
        *position = if is_signed {
            let sum = from.cast_signed().checked_add(offset.cast_signed());
            let new = sum.and_then(|sum| u64::try_from(sum).ok());
            new.ok_or(Errno::Invalid)?
        } else {
            from.wrapping_add(offset)
        };
        Ok(*position)
    }

    /// `void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);`
    pub(crate) fn mmap(&self, here: &Here<'_, P>, args: [u64; 6]) -> Result<u64, Errno> {
        let [addr, len, prot, flags, fd, offset] = args;
        let space = &here.running.space;
        let caller = here.caller();
        let is_anonymous = flags & MapFlags::ANONYMOUS.bits() != 0;
        if is_anonymous || !is_aligned(offset, PAGE_SIZE) {
            return space.mmap(&caller, addr, len, prot, flags, fd, offset);
        }
        let fd = crate::syscall::int(fd);
        let file = here.file(fd)?;
        space.mmap_file(&caller, addr, len, prot, flags, &file.backing(), offset)
    }
}
