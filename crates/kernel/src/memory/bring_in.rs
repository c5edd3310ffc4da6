//! Bringing a page in: what is done about a fault once it is allowed.
//!
//! | mapping | there is | read | write |
//! |---|---|---|---|
//! | private, of no file | nothing | the page of zeros, not writable | a new page |
//! | private, of a file | nothing | the file's page, not writable; and see the module `fault_around` | a copy of the file's page |
//! | private | a page that others have as well, or the file | nothing to do | a copy of one's own |
//! | private | a page that only this leaf has | nothing to do | writable from now on |
//! | shared | nothing | the object's page, with all rights; and see the module `fault_around` | the object's page |
//! | huge pages | nothing | a new page, from the reserve | the same |
//!
//! A page that is there with all that was wanted means that the fault came from a TLB that did not know it yet: this
//! CPU forgets what it has of the page.
//!
//! Source: Linux 6.12 `mm/memory.c` (`handle_pte_fault`, `do_anonymous_page`, `do_read_fault`, `do_cow_fault`,
//! `do_shared_fault`, `do_wp_page`), `mm/hugetlb.c`.

use lock_api::RawMutex;
use pkeys_core::LeafSize;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysAddr, PhysMemory, Stale};
use crate::memory::fault_around::fault_around;
use crate::memory::layout::align_down;
use crate::memory::object::{NoFrame, Object};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{Leaf, NoTable, OldFrame, Tables};
use crate::memory::vma::{Vma, VmaFlags};

/// What the page is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// To read or to execute.
    Read,
    /// To write. In a private mapping without `PROT_WRITE`, which only a tracer gets this far: an own page that the
    /// program cannot write to.
    Write,
}

/// Why a page cannot be brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No memory for a page or a table.
    NoMemory,
    /// SIGBUS: behind the end of the object, or no huge page is left.
    Bus,
    /// No mapping.
    NoMapping,
}

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoMemory => Self::NoMemory,
            Failure::Bus | Failure::NoMapping => Self::Fault,
        }
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Brings in the page of an address, which the caller has found to be allowed.
    pub(super) fn bring_in<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        addr: u64,
        want: Want,
    ) -> Result<(), Failure> {
        let Inner { vmas, tables, .. } = inner;
        let mut vma = vmas.at(addr).ok_or(Failure::NoMapping)?;
        let base = align_down(addr, vma.attrs.page.bytes());
        let old = tables.look_up(addr);
        let needs_own = !vma.is_shared()
            && match old {
                Some(leaf) => want == Want::Write && !leaf.mode.is_writable,
                None => want == Want::Write || vma.is_huge(),
            };
        if needs_own && vma.anon.is_none() {
            let start = vma.start;
            vmas.prepare_family(start, || self.pool.new_id());
            vma = vmas.at(addr).ok_or(Failure::NoMapping)?;
        }
        let leaf = match old {
            None => {
                if want == Want::Read {
                    fault_around(vma, tables, base);
                    if tables.look_up(base).is_some() {
                        return Ok(());
                    }
                }
                let leaf = self.first_leaf(vma, base, want).inspect_err(|_| {
                    // Linux looks around first, so that it has done so when the page itself cannot be had.
                    if want == Want::Read {
                        fault_around(vma, tables, base);
                    }
                })?;
                tables.map(base, leaf).map_err(|NoTable| {
                    if vma.has(VmaFlags::RESERVED) {
                        self.pool.take_back(leaf.frame, leaf.size);
                    } else {
                        self.pool.release(leaf.old_frame());
                    }
                    Failure::NoMemory
                })?;
                return Ok(());
            }
            Some(old) if needs_own => self.own_leaf(vma, &old)?,
            Some(old) => Leaf {
                mode: old.allowed(vma.attrs.mode(), vma.is_shared(), self.pool.zeros()),
                ..old
            },
        };
        if old == Some(leaf) {
            let end = base + leaf.size.bytes();
            cpu.flush(Stale::Range { start: base, end });
        } else {
            let flush = tables.replace(base, leaf);
            self.settle(cpu, flush);
        }
        Ok(())
    }

    /// The leaf of a page that has none.
    fn first_leaf(&self, vma: &Vma<Object<M, L>>, base: u64, want: Want) -> Result<Leaf, Failure> {
        let mut leaf = Leaf {
            frame: self.pool.zeros(),
            size: vma.attrs.page,
            is_shared: false,
            mode: vma.attrs.mode(),
        };
        // A private mapping of huge pages maps nothing of its object.
        let mapped = vma.object.as_ref();
        if let Some(object) = mapped.filter(|_| vma.is_shared() || !vma.is_huge()) {
            let page = vma.page_at(base);
            if !vma.is_shared() && want == Want::Write {
                leaf.frame = self.copy_of(object, page)?;
            } else {
                leaf.frame = object_frame(object, page, leaf.size)?;
                leaf.is_shared = true;
                leaf.mode.is_writable &= vma.is_shared();
            }
        } else if leaf.size != LeafSize::Size4K || want == Want::Write {
            leaf.frame = self.new_frame(leaf.size, vma.has(VmaFlags::RESERVED))?;
        } else {
            leaf.mode.is_writable = false;
        }
        Ok(leaf)
    }

    /// A frame of one's own with what a page of a file has in it.
    fn copy_of(&self, file: &Object<M, L>, page: u64) -> Result<PhysAddr, Failure> {
        let size = LeafSize::Size4K;
        let own = self.new_frame(size, false)?;
        match object_frame(file, page, size) {
            Ok(frame) => {
                self.pool.memory().copy(frame, own, size);
                file.give_back(frame);
                Ok(own)
            }
            Err(failure) => {
                self.pool.release(OldFrame {
                    at: own,
                    size,
                    is_shared: false,
                });
                Err(failure)
            }
        }
    }

    /// The leaf of a private page that is written to: the same frame if nobody else has it, else a copy.
    fn own_leaf(&self, vma: &Vma<Object<M, L>>, old: &Leaf) -> Result<Leaf, Failure> {
        let zeros = self.pool.zeros();
        let is_own = old.frame != zeros && (!old.is_shared || self.pool.has_one_owner(old.frame));
        let frame = if is_own {
            old.frame
        } else {
            let frame = self.new_frame(old.size, false)?;
            if old.frame != zeros {
                self.pool.memory().copy(old.frame, frame, old.size);
            }
            frame
        };
        Ok(Leaf {
            frame,
            size: old.size,
            is_shared: false,
            mode: vma.attrs.mode(),
        })
    }

    fn new_frame(&self, size: LeafSize, is_promised: bool) -> Result<PhysAddr, Failure> {
        match size {
            LeafSize::Size4K => self.pool.allocate().ok_or(Failure::NoMemory),
            size => self
                .pool
                .allocate_huge(size, is_promised)
                .ok_or(Failure::Bus),
        }
    }
}

/// The frame that an object has for a page, of which the caller has a share.
fn object_frame<M: PhysMemory, L: RawMutex>(
    object: &Object<M, L>,
    page: u64,
    size: LeafSize,
) -> Result<PhysAddr, Failure> {
    object.frame(page).map_err(|none| match none {
        NoFrame::NoMemory if size == LeafSize::Size4K => Failure::NoMemory,
        NoFrame::NoMemory | NoFrame::Behind => Failure::Bus,
    })
}
