//! Accesses by somebody else, and accesses that look at keys without touching the memory.
//!
//! Another process (`process_vm_readv(2)`), a tracer (`ptrace(2)`) and `/proc/PID/mem` go by the mapping and not by its
//! key, even if they are the process itself: keys belong to a thread's register, and there is none to ask. With *force*,
//! as tracers have it, a page can be read whatever its protection, and a private mapping without `PROT_WRITE` can be
//! written to: the program gets a copy of its own and still cannot write. A shared mapping without `PROT_WRITE` stays as
//! it is.
//!
//! A thread that hands the kernel its own pages without an access (`vmsplice(2)`, `O_DIRECT`, `futex(2)`) is asked for its
//! keys: [`Space::pin`].
//!
//! Source: Linux 6.12 `mm/gup.c` (`check_vma_flags`, `gup_fast_pte_range`), `arch/x86/include/asm/mmu_context.h`.

use lock_api::RawMutex;
use pkeys_core::Access;

use crate::abi::{Errno, Prot};
use crate::hardware::{Cpu, PhysAddr, PhysMemory};
use crate::keys::fault;
use crate::memory::bring_in::{Failure, Want};
use crate::memory::caller::Caller;
use crate::memory::layout::{PAGE_SIZE, align_down};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::Tables;
use crate::memory::vma::Vma;

/// Whether the mapping lets an access through that is not made by its own thread.
fn is_allowed<O>(vma: &Vma<O>, want: Want, is_forced: bool) -> bool {
    match want {
        Want::Read => is_forced || vma.attrs.prot.contains(Prot::READ),
        Want::Write => vma.is_writable() || is_forced && !vma.is_shared() && !vma.is_huge(),
    }
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Reads memory for somebody else. `cpu` is the one that executes this; it need not run the space.
    ///
    /// # Errors
    ///
    /// How many bytes were not read.
    pub fn read_remote<C: Cpu>(
        &self,
        cpu: &C,
        addr: u64,
        into: &mut [u8],
        force: bool,
    ) -> Result<(), usize> {
        let memory = self.pool.memory();
        self.for_pieces(cpu, addr, into.len(), Want::Read, force, |at, piece| {
            if let Some(into) = into.get_mut(piece) {
                memory.read(at, into);
            }
        })
    }

    /// Writes memory for somebody else. `cpu` is the one that executes this; it need not run the space.
    ///
    /// # Errors
    ///
    /// How many bytes were not written.
    pub fn write_remote<C: Cpu>(
        &self,
        cpu: &C,
        addr: u64,
        bytes: &[u8],
        force: bool,
    ) -> Result<(), usize> {
        let memory = self.pool.memory();
        self.for_pieces(cpu, addr, bytes.len(), Want::Write, force, |at, piece| {
            if let Some(bytes) = bytes.get(piece) {
                memory.write(at, bytes);
            }
        })
    }

    /// Brings in the page of an address for the kernel to use, as an access of the thread would.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`] if the mapping or the key denies it; [`Errno::NoMemory`].
    pub fn pin<C: Cpu>(&self, caller: &Caller<'_, C>, addr: u64, write: bool) -> Result<(), Errno> {
        let (want, access) = if write {
            (Want::Write, Access::Write)
        } else {
            (Want::Read, Access::Read)
        };
        let pkru = caller.register().map(|register| register.read());
        let mut inner = self.inner.lock();
        // A page that is there, other than that of zeros, is judged by its leaf, which on x86 lets reads through
        // wherever it is present.
        let zeros = self.pool.zeros();
        let is_there = inner.tables.look_up(addr).is_some_and(|leaf| {
            leaf.mode.is_present
                && leaf.frame != zeros
                && (leaf.mode.is_writable || !write)
                && fault::permits(leaf.mode.pkey, access, pkru)
        });
        if is_there {
            return Ok(());
        }
        let vma = inner.vmas.at(addr).ok_or(Errno::Fault)?;
        if !is_allowed(vma, want, false) || !fault::permits(vma.attrs.pkey, access, pkru) {
            return Err(Errno::Fault);
        }
        self.ready(&mut inner, caller.cpu, addr, want)?;
        Ok(())
    }

    /// Calls a function for each piece of a range that lies in one page, with its place in memory and in the buffer.
    fn for_pieces<C: Cpu>(
        &self,
        cpu: &C,
        addr: u64,
        len: usize,
        want: Want,
        force: bool,
        mut f: impl FnMut(PhysAddr, core::ops::Range<usize>),
    ) -> Result<(), usize> {
        let mut inner = self.inner.lock();
        let mut done = 0;
        while done < len {
            let rest = len - done;
            let at = addr.checked_add(done as u64).ok_or(rest)?;
            let is_open = inner
                .vmas
                .at(at)
                .is_some_and(|vma| is_allowed(vma, want, force));
            if !is_open {
                return Err(rest);
            }
            let place = self.ready(&mut inner, cpu, at, want).map_err(|_| rest)?;
            let left_in_page = align_down(at, PAGE_SIZE) + PAGE_SIZE - at;
            let piece = usize::try_from(left_in_page).map_or(rest, |left| left.min(rest));
            f(place, done..done + piece);
            done += piece;
        }
        Ok(())
    }

    /// Where an address is in memory, once its page is there for what is wanted.
    pub(super) fn ready<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        cpu: &C,
        addr: u64,
        want: Want,
    ) -> Result<PhysAddr, Failure> {
        let is_ready = inner
            .tables
            .look_up(addr)
            .is_some_and(|leaf| want == Want::Read || leaf.mode.is_writable);
        if !is_ready {
            self.bring_in(inner, cpu, addr, want)?;
        }
        let leaf = inner.tables.look_up(addr).ok_or(Failure::NoMapping)?;
        Ok(PhysAddr(leaf.frame.0 + addr % leaf.size.bytes()))
    }
}
