//! `mprotect(2)` and `pkey_mprotect(2)`: the protection and the key of pages.
//!
//! The order of checks is Linux's:
//!
//! 1. `PROT_GROWSDOWN` with `PROT_GROWSUP`, an address that is not aligned: `EINVAL`.
//! 2. A length of zero: success, also with a key that is none.
//! 3. A range that wraps: `ENOMEM`. Unknown protections: `EINVAL`.
//! 4. The key, under the lock: `EINVAL` if it is not allocated.
//! 5. No mapping at the start: `ENOMEM`. The flags that grow the range to a border of the mapping, on one that does not
//!    grow that way: `EINVAL`.
//! 6. Then mapping by mapping, from the start up. What was done before a hole (`ENOMEM`), a protection that the
//!    mapping may never have (`EACCES`: more than the page of keys has, writes to a file that was opened for reading), a
//!    seal (`EPERM`) or a cut through a huge page (`EINVAL`) stays done.
//!
//! The key is chosen anew for each mapping ([`crate::keys::SpaceKeys::key_for_protect`]), since plain `mprotect` keeps
//! what each one has.
//!
//! Source: Linux 6.12 `mm/mprotect.c` (`do_mprotect_pkey`, `mprotect_fixup`).

use lock_api::RawMutex;

use crate::abi::{Errno, Prot};
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::caller::Caller;
use crate::memory::layout::{Addresses, PAGE_SIZE, align_up, is_aligned};
use crate::memory::space::{Inner, Space};
use crate::memory::tables::{Flush, Tables};
use crate::memory::vma::{Attrs, VmaFlags};
use crate::mutant::{self, Mutant};

const GROWS: Prot = Prot::GROWSDOWN.union(Prot::GROWSUP);
const VALID: Prot = Prot::ACCESS.union(Prot::SEM);

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// `int mprotect(void *addr, size_t len, int prot);`
    ///
    /// # Errors
    ///
    /// As [`Space::pkey_mprotect`] with the key -1.
    pub fn mprotect<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        start: u64,
        len: u64,
        prot: u64,
    ) -> Result<u64, Errno> {
        self.pkey_mprotect(caller, start, len, prot, -1)
    }

    /// `int pkey_mprotect(void *addr, size_t len, int prot, int pkey);`
    ///
    /// # Errors
    ///
    /// In the order at the top of this module: [`Errno::Invalid`], [`Errno::NoMemory`], [`Errno::Access`] and
    /// [`Errno::Perm`].
    pub fn pkey_mprotect<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        start: u64,
        len: u64,
        prot: u64,
        pkey: i32,
    ) -> Result<u64, Errno> {
        let asked = Prot::from_bits_retain(prot);
        let grows = asked & GROWS;
        let prot = asked - GROWS;
        if grows == GROWS || !is_aligned(start, PAGE_SIZE) {
            return Err(Errno::Invalid);
        }
        if mutant::is(Mutant::KeyCheckedBeforeLength) {
            self.keys.check(pkey)?;
        }
        if len == 0 {
            return Ok(0);
        }
        let end = start.wrapping_add(align_up(len, PAGE_SIZE));
        if end <= start {
            return Err(Errno::NoMemory);
        }
        if !(prot - VALID).is_empty() {
            return Err(Errno::Invalid);
        }
        let mut inner = self.inner.lock();
        self.keys.check(pkey)?;
        let range = grown(&inner, start..end, grows)?;
        if mutant::is(Mutant::HoleUndoesMprotect) && inner.vmas.has_hole(&range) {
            return Err(Errno::NoMemory);
        }
        let mut flush = Flush::nothing();
        let result = self.protect(&mut inner, caller, range, prot, pkey, &mut flush);
        self.settle(caller.cpu, flush);
        self.update_mirror(&inner);
        result.map(|()| 0)
    }

    /// Goes over the mappings of a range. What is to be flushed is added up, whether it ends well or not.
    fn protect<C: Cpu>(
        &self,
        inner: &mut Inner<M, L, T>,
        caller: &Caller<'_, C>,
        range: Addresses,
        prot: Prot,
        pkey: i32,
        flush: &mut Flush,
    ) -> Result<(), Errno> {
        let mut at = range.start;
        while at < range.end {
            let vma = inner.vmas.at(at).ok_or(Errno::NoMemory)?;
            let new_pkey =
                self.keys
                    .key_for_protect(vma.keyed(), prot, pkey, caller.keys, caller.register());
            let attrs = Attrs {
                prot: prot & Prot::ACCESS,
                pkey: new_pkey,
                ..vma.attrs
            };
            let part = at..vma.end.min(range.end);
            at = part.end;
            self.fix_up(inner, part, attrs, flush)?;
        }
        Ok(())
    }

    /// Gives a part of one mapping a new protection and key: `mprotect_fixup`.
    fn fix_up(
        &self,
        inner: &mut Inner<M, L, T>,
        part: Addresses,
        mut attrs: Attrs,
        flush: &mut Flush,
    ) -> Result<(), Errno> {
        let Some(vma) = inner.vmas.at(part.start) else {
            return Err(Errno::NoMemory);
        };
        if attrs.prot.intersects(never(vma.attrs.flags)) {
            return Err(Errno::Access);
        }
        if vma.has(VmaFlags::SEALED) {
            return Err(Errno::Perm);
        }
        if vma.attrs == attrs {
            return Ok(());
        }
        let is_promised = VmaFlags::ACCOUNT | VmaFlags::SHARED | VmaFlags::NORESERVE;
        if attrs.prot.contains(Prot::WRITE) {
            // Private memory that becomes writable is promised from now on.
            if !vma.is_writable() && !vma.is_huge() && !vma.attrs.flags.intersects(is_promised) {
                if !self.pool.may_commit(part.end - part.start) {
                    return Err(Errno::NoMemory);
                }
                attrs.flags |= VmaFlags::ACCOUNT;
            }
        } else if vma.is_anonymous() && vma.anon.is_none() {
            attrs.flags -= VmaFlags::ACCOUNT;
        }
        let is_shared = vma.is_shared();
        let start = vma.start;
        inner.vmas.modify(start, part.clone(), attrs)?;
        let zeros = self.pool.zeros();
        let mode = attrs.mode();
        let changed = inner.tables.change(part, &mut |_, leaf| {
            leaf.mode = leaf.allowed(mode, is_shared, zeros);
        });
        // Mappings end where pages end, so that nothing is split and no table needed.
        if let Ok(changed) = changed {
            *flush = core::mem::take(flush).and(changed);
        }
        Ok(())
    }
}

/// What a mapping may never have.
const fn never(flags: VmaFlags) -> Prot {
    if flags.contains(VmaFlags::READ_ONLY) {
        Prot::WRITE.union(Prot::EXEC)
    } else if flags.contains(VmaFlags::NO_WRITE) {
        Prot::WRITE
    } else {
        Prot::empty()
    }
}

/// The range, with `PROT_GROWSDOWN` extended to the start of its first mapping, which has to be there.
fn grown<M: PhysMemory, L: RawMutex, T>(
    inner: &Inner<M, L, T>,
    range: Addresses,
    grows: Prot,
) -> Result<Addresses, Errno> {
    let vma = inner.vmas.first_in(&range).ok_or(Errno::NoMemory)?;
    if grows.contains(Prot::GROWSDOWN) {
        return if vma.has(VmaFlags::GROWSDOWN) {
            Ok(vma.start..range.end)
        } else {
            Err(Errno::Invalid)
        };
    }
    if vma.start > range.start {
        Err(Errno::NoMemory)
    } else if grows.contains(Prot::GROWSUP) {
        // On x86 nothing grows upwards.
        Err(Errno::Invalid)
    } else {
        Ok(range)
    }
}
