//! The page on which user space reads the allocation map: [`crate::keys::user`].
//!
//! It is mapped like shared memory that can only be read, with key 0. The kernel changes its own map first and the page
//! then, both under the lock. A child process gets a page of its own at the same address. Where the CPU has no keys there
//! is no page: a program that finds one goes on to execute RDPKRU.

use lock_api::RawMutex;
use pkeys_core::{AllocationState, LeafSize, Pkey};

use crate::abi::{Errno, Prot};
use crate::hardware::{Cpu, PhysAddr, PhysMemory};
use crate::keys::user::KeyPage;
use crate::memory::caller::Caller;
use crate::memory::layout::PAGE_SIZE;
use crate::memory::object::Object;
use crate::memory::place::place;
use crate::memory::pool::Pool;
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{OldFrame, Tables};
use crate::memory::vma::{Attrs, Vma, VmaFlags};

/// The page, from the kernel's side.
pub(super) struct Mirror<M: PhysMemory, L: RawMutex> {
    object: Object<M, L>,
    /// The object's frame, of which this has a share.
    frame: PhysAddr,
    pool: Pool<M, L>,
}

impl<M: PhysMemory, L: RawMutex> Mirror<M, L> {
    fn new(pool: &Pool<M, L>) -> Result<Self, Errno> {
        let object = Object::new(pool, LeafSize::Size4K, 1, false);
        let frame = object.frame(0).map_err(|_| Errno::NoMemory)?;
        Ok(Self {
            object,
            frame,
            pool: pool.clone(),
        })
    }

    fn show(&self, state: AllocationState) {
        // In one store: a reader on another CPU sees the map of before or of now, not half of each.
        let beginning = u64::from_le_bytes(KeyPage::bytes(state));
        self.pool.memory().write_entry(self.frame, beginning);
    }
}

impl<M: PhysMemory, L: RawMutex> Drop for Mirror<M, L> {
    fn drop(&mut self) {
        self.pool.release(OldFrame {
            at: self.frame,
            size: LeafSize::Size4K,
            is_shared: true,
        });
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Maps the page, or finds it mapped, and gives its address.
    ///
    /// # Errors
    ///
    /// [`Errno::NoSystemCall`] on a CPU without keys; [`Errno::NoMemory`].
    pub fn map_key_page<C: Cpu>(&self, caller: &Caller<'_, C>) -> Result<u64, Errno> {
        if !caller.cpu.has_pku() {
            return Err(Errno::NoSystemCall);
        }
        let mut inner = self.inner.lock();
        if inner.mirror.is_none() {
            inner.mirror = Some(Mirror::new(&self.pool)?);
            self.update_mirror(&inner);
        }
        let Some(mirror) = &inner.mirror else {
            return Err(Errno::NoMemory);
        };
        let is_it = |vma: &&Vma<Object<M, L>>| vma.object.as_ref() == Some(&mirror.object);
        if let Some(vma) = inner.vmas.iter().find(is_it) {
            return Ok(vma.start);
        }
        let object = mirror.object.clone();
        let start = place(&inner.vmas, 0, PAGE_SIZE, LeafSize::Size4K, false)?;
        inner.vmas.insert_joined(Vma {
            start,
            end: start + PAGE_SIZE,
            attrs: Attrs {
                prot: Prot::READ,
                pkey: Pkey::DEFAULT,
                flags: VmaFlags::SHARED | VmaFlags::READ_ONLY,
                page: LeafSize::Size4K,
            },
            first_page: 0,
            object: Some(object),
            anon: None,
        });
        Ok(start)
    }

    /// Shows user space what the allocation map is by now.
    pub(super) fn update_mirror(&self, inner: &Inner<M, L, T>) {
        if let Some(mirror) = &inner.mirror {
            mirror.show(self.keys.state());
        }
    }

    /// Gives a child process a page of its own, wherever the parent's is mapped.
    pub(super) fn fork_mirror(
        &self,
        parent: &Inner<M, L, T>,
        child: &mut Inner<M, L, T>,
    ) -> Result<(), Errno> {
        let Some(old) = &parent.mirror else {
            return Ok(());
        };
        let new = Mirror::new(&self.pool)?;
        new.show(self.keys.state());
        for vma in child.vmas.iter_mut() {
            if vma.object.as_ref() == Some(&old.object) {
                vma.object = Some(new.object.clone());
            }
        }
        child.mirror = Some(new);
        Ok(())
    }
}
