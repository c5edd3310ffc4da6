//! The bytes of a file in memory, as `read(2)`, `write(2)` and `ftruncate(2)` see them.
//!
//! They lie in the frames that mappings of the file map. A page that nobody touched has no frame and reads as zeros; a
//! write gives it one, and the file ends behind the last byte that was written. A file that is made shorter loses its
//! frames behind the end, and the bytes behind the end in its last page become zeros. Mappings keep leaves of such frames
//! until [`Space::drop_behind`] was called on their address spaces; from the change of the length on they get no new ones.
//!
//! Source: Linux 6.12 `mm/shmem.c` (`shmem_file_read_iter`, `shmem_setattr`, `shmem_truncate_range`), `mm/memory.c`
//! (`unmap_mapping_range`).

use alloc::vec::Vec;

use lock_api::RawMutex;
use pkeys_core::LeafSize;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysAddr, PhysMemory};
use crate::memory::layout::{Addresses, PAGE_SIZE};
use crate::memory::object::Object;
use crate::memory::pool::Pool;
use crate::memory::space::Space;
use crate::memory::tables::Tables;

/// What is written behind the end when a file is made shorter.
const ZEROS: [u8; 4096] = [0; 4096];

impl<M: PhysMemory, L: RawMutex> Object<M, L> {
    /// An empty file, opened.
    pub(crate) fn file(pool: &Pool<M, L>) -> Self {
        Self::new(pool, LeafSize::Size4K, 0, false).reopen()
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.state().len
    }

    /// Reads what one page has of a range, up to the end of the file. Gives how many bytes: 0 at the end.
    pub(crate) fn read_at(&self, at: u64, into: &mut [u8]) -> usize {
        let state = self.state();
        let len = in_page(at, into.len()).min(bytes(state.len.saturating_sub(at)));
        let Some(into) = into.get_mut(..len) else {
            return 0;
        };
        match state.pages.get(&(at / PAGE_SIZE)) {
            Some(frame) => self.pool().memory().read(inside(*frame, at), into),
            None => into.fill(0),
        }
        len
    }

    /// Writes what fits into one page. Gives how many bytes. The end of the range is at most the largest `i64`.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`].
    pub(crate) fn write_at(&self, at: u64, from: &[u8]) -> Result<usize, Errno> {
        let len = in_page(at, from.len());
        let from = from.get(..len).unwrap_or_default();
        let mut state = self.state();
        let index = at / PAGE_SIZE;
        let frame = match state.pages.get(&index) {
            Some(frame) => *frame,
            None => {
                let frame = self.pool().allocate().ok_or(Errno::NoMemory)?;
                state.pages.insert(index, frame);
                frame
            }
        };
        self.pool().memory().write(inside(frame, at), from);
        state.len = state.len.max(at.saturating_add(len as u64));
        Ok(len)
    }

    /// Makes it longer or shorter. The answer is whether pages behind the end may still be mapped.
    pub(crate) fn set_len(&self, len: u64) -> bool {
        let mut state = self.state();
        let is_longer = len > state.len;
        let was_behind = state.len > len.next_multiple_of(PAGE_SIZE);
        state.len = len;
        if is_longer {
            return false;
        }
        let behind = state.pages.split_off(&len.div_ceil(PAGE_SIZE));
        if let Some(frame) = state.pages.get(&(len / PAGE_SIZE)) {
            let rest = in_page(len, ZEROS.len());
            let zeros = ZEROS.get(..rest).unwrap_or_default();
            self.pool().memory().write(inside(*frame, len), zeros);
        }
        drop(state);
        for frame in behind.into_values() {
            self.give_back(frame);
        }
        was_behind
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Takes out all that is mapped of a file behind a length that it was given, copies in private mappings as well.
    /// `cpu` is the one that executes this; it need not run the space.
    pub(crate) fn drop_behind<C: Cpu>(&self, cpu: &C, file: &Object<M, L>, len: u64) {
        self.drop_where(cpu, |object| object.is_same(file).then_some(len));
    }

    /// The same for all files, as long as they are now: what a child process got of its parent's private mappings while
    /// a file was made shorter.
    pub(crate) fn drop_behind_ends<C: Cpu>(&self, cpu: &C) {
        self.drop_where(cpu, |object| Some(object.len()));
    }

    fn drop_where<C: Cpu>(&self, cpu: &C, len_of: impl Fn(&Object<M, L>) -> Option<u64>) {
        let mut inner = self.inner.lock();
        let behind = inner.vmas.iter().filter_map(|vma| {
            let object = vma.object.as_ref().filter(|_| !vma.is_huge())?;
            let end = len_of(object)?.div_ceil(PAGE_SIZE);
            let kept = end.saturating_sub(vma.first_page).saturating_mul(PAGE_SIZE);
            let start = vma.start.saturating_add(kept);
            (start < vma.end).then_some(start..vma.end)
        });
        let behind: Vec<Addresses> = behind.collect();
        for range in behind {
            // Whole pages, so that nothing is split and no table needed; the tables stay.
            if let Ok(flush) = inner.tables.unmap(range, 0..0) {
                self.settle(cpu, flush);
            }
        }
    }
}

/// How many of `len` bytes lie in the page of the first one.
fn in_page(at: u64, len: usize) -> usize {
    len.min(bytes(PAGE_SIZE - at % PAGE_SIZE))
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Where a byte of the file is, whose page has this frame.
const fn inside(frame: PhysAddr, at: u64) -> PhysAddr {
    PhysAddr(frame.0 + at % PAGE_SIZE)
}
