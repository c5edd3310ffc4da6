//! `fork(2)`: a child's address space.
//!
//! Private pages are shared until one of the two writes: no leaf of them stays writable, on neither side, and each side
//! owns a share. The parent's CPUs are told before the call returns, since one that is not goes on writing to what the
//! child sees. Shared mappings go along without their leaves; the child's faults find the object's frames. So do private
//! ones in which nothing was written yet: they show zeros, and so will the child's faults. The keys are the parent's.
//!
//! Source: Linux 6.12 `kernel/fork.c` (`dup_mmap`), `mm/memory.c` (`copy_page_range`, `vma_needs_copy`), `mm/rmap.c`
//! (`anon_vma_fork`).

use lock_api::RawMutex;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::caller::Caller;
use crate::memory::layout::Addresses;
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{Flush, NoTable, Tables};
use crate::memory::vma::{Anon, VmaFlags};

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// The address space of a child process.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`]. The parent is as it was, but for a write that finds a page shared with nobody.
    pub fn fork<C: Cpu>(&self, caller: &Caller<'_, C>) -> Result<Self, Errno> {
        let mut inner = self.inner.lock();
        let mut child = Self::with_keys(self.pool.clone(), self.keys.fork())?;
        let mut flush = Flush::nothing();
        let result = self.copy_mappings(&mut inner, &mut child, &mut flush);
        self.settle(caller.cpu, flush);
        result?;
        Ok(child)
    }

    fn copy_mappings(
        &self,
        inner: &mut Inner<M, L, T>,
        child: &mut Self,
        flush: &mut Flush,
    ) -> Result<(), Errno> {
        let to = child.inner.get_mut();
        to.brk = inner.brk;
        for vma in inner.vmas.iter() {
            let mut copy = vma.clone();
            let is_wiped = copy.has(VmaFlags::DROPPABLE);
            copy.attrs.flags -= VmaFlags::RESERVED;
            copy.anon = vma.anon.filter(|_| !is_wiped).map(|_| Anon {
                id: self.pool.new_id(),
                is_inherited: true,
            });
            to.vmas.insert(copy);
            if vma.anon.is_some() && !vma.is_shared() && !is_wiped {
                let copied = self.copy_leaves(&mut inner.tables, &mut to.tables, vma.range());
                let (changed, result) = copied;
                *flush = core::mem::take(flush).and(changed);
                result.map_err(|NoTable| Errno::NoMemory)?;
            }
        }
        self.fork_mirror(inner, to)
    }

    /// Gives each private page of a range a second owner.
    fn copy_leaves(
        &self,
        from: &mut T,
        to: &mut T,
        range: Addresses,
    ) -> (Flush, Result<(), NoTable>) {
        let mut result = Ok(());
        let changed = from.change(range, &mut |addr, leaf| {
            if result.is_err() {
                return;
            }
            let mut copy = *leaf;
            copy.mode.is_writable = false;
            copy.is_shared |= leaf.frame != self.pool.zeros();
            result = to.map(addr, copy);
            if result.is_ok() {
                self.pool.share(leaf.frame);
                *leaf = copy;
            }
        });
        match changed {
            Ok(flush) => (flush, result),
            Err(error) => (Flush::nothing(), Err(error)),
        }
    }
}
