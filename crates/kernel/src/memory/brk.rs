//! The heap that grows at its end: `brk(2)`.
//!
//! It starts where the program's segments end, which whoever loads the program says ([`Space::set_brk_start`]). Until then
//! there is none, and the call gives 0, whatever it is asked for. A call that cannot do what it is asked for gives the end
//! as it is; there is no error.
//!
//! The heap is private memory as any other, and has key 0 where it grows, whatever the key of the rest.
//!
//! Source: Linux 6.12 `mm/mmap.c` (`brk`), `mm/vma.c` (`do_brk_flags`).

use lock_api::RawMutex;
use pkeys_core::{LeafSize, Pkey};

use crate::abi::Prot;
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::caller::Caller;
use crate::memory::layout::{MAX_MAP_COUNT, PAGE_SIZE, TASK_SIZE, align_up};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::Tables;
use crate::memory::vma::{Attrs, VmaFlags};

/// Where the heap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brk {
    start: u64,
    /// The address behind its last byte, which need not be where a page ends.
    end: u64,
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Says where the heap starts, which is empty so far. Nothing is mapped by that.
    pub fn set_brk_start(&self, start: u64) {
        self.inner.lock().brk = Some(Brk { start, end: start });
    }

    /// `int brk(void *addr);`, which on Linux gives the end of the heap as it is afterwards.
    pub fn brk<C: Cpu>(&self, caller: &Caller<'_, C>, wanted: u64) -> u64 {
        let mut inner = self.inner.lock();
        let Some(brk) = inner.brk else { return 0 };
        if wanted < brk.start || wanted > TASK_SIZE {
            return brk.end;
        }
        let (old, new) = (align_up(brk.end, PAGE_SIZE), align_up(wanted, PAGE_SIZE));
        let is_done = if new > old {
            self.grow(&mut inner, caller.cpu, old, new)
        } else {
            new == old || self.shrink(&mut inner, caller.cpu, new, old)
        };
        if !is_done {
            return brk.end;
        }
        inner.brk = Some(Brk { end: wanted, ..brk });
        wanted
    }

    fn grow<C: Cpu>(&self, inner: &mut Inner<M, L, T>, cpu: &C, old: u64, new: u64) -> bool {
        // One page has to stay free above it, and above it is the gap of a stack.
        let is_free = inner.vmas.is_free_for(old, new - old + PAGE_SIZE);
        if new > TASK_SIZE || !is_free || inner.vmas.len() > MAX_MAP_COUNT {
            return false;
        }
        let attrs = Attrs {
            prot: Prot::READ | Prot::WRITE,
            pkey: Pkey::DEFAULT,
            flags: VmaFlags::empty(),
            page: LeafSize::Size4K,
        };
        self.map_region(inner, cpu, old..new, attrs, None).is_ok()
    }

    fn shrink<C: Cpu>(&self, inner: &mut Inner<M, L, T>, cpu: &C, new: u64, old: u64) -> bool {
        let is_there = inner.vmas.first_in(&(new..old)).is_some();
        is_there && self.unmap(inner, cpu, new, old - new).is_ok()
    }
}
