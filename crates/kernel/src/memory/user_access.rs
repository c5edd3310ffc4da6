//! The kernel's own accesses to the memory of the running thread: `copy_from_user`, `copy_to_user`.
//!
//! They are checked as the thread's own are, keys included, since the register is in effect in the kernel, too. A page
//! that is not there is brought in; what the mapping or the key denies ends the copy, without a signal, and the call says
//! `EFAULT`. What was copied before stays copied, to the byte.
//!
//! Source: Linux `Documentation/core-api/protection-keys.rst` (whose "SIGSEGV in both cases" is wrong: it is `EFAULT`),
//! `arch/x86/lib/usercopy_64.c`.

use lock_api::RawMutex;
use pkeys_core::KeyRegister;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysMemory, UserAccessFault};
use crate::memory::caller::Caller;
use crate::memory::layout::{is_aligned, is_user_range};
use crate::memory::space::Space;
use crate::memory::tables::Tables;
use crate::mutant::{self, Mutant};

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Copies from user memory. The space has to be the one that the CPU runs.
    ///
    /// # Errors
    ///
    /// How many bytes were not copied, because of a page that cannot be read, or for a range that is not the user's.
    pub fn copy_from_user<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        into: &mut [u8],
    ) -> Result<(), usize> {
        self.copy(caller, addr, into.len(), |cpu, addr, done| {
            into.get_mut(done..)
                .map_or(Ok(()), |rest| cpu.read_user(addr, rest))
        })
    }

    /// Copies to user memory. The space has to be the one that the CPU runs.
    ///
    /// # Errors
    ///
    /// How many bytes were not copied, because of a page that cannot be written to, or for a range that is not the user's.
    pub fn copy_to_user<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        bytes: &[u8],
    ) -> Result<(), usize> {
        self.copy(caller, addr, bytes.len(), |cpu, addr, done| {
            bytes
                .get(done..)
                .map_or(Ok(()), |rest| cpu.write_user(addr, rest))
        })
    }

    /// Replaces an aligned word of user memory by another, if it is as expected, and gives what it was. The space has to
    /// be the one that the CPU runs.
    ///
    /// # Errors
    ///
    /// [`Errno::Fault`] where the word cannot be written to.
    pub fn exchange_user<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        expected: u32,
        new: u32,
    ) -> Result<u32, Errno> {
        if !is_user_range(addr, 4) || !is_aligned(addr, 4) {
            return Err(Errno::Fault);
        }
        let _keys = AllOpen::if_broken(caller.cpu);
        loop {
            match caller.cpu.exchange_user(addr, expected, new) {
                Ok(found) => return Ok(found),
                Err(stop) => self
                    .page_fault(caller, stop.fault)
                    .map_err(|_| Errno::Fault)?,
            };
        }
    }

    /// Tries an access, and goes on behind what was done when a fault was put right.
    fn copy<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        addr: u64,
        len: usize,
        mut access: impl FnMut(&C, u64, usize) -> Result<(), UserAccessFault>,
    ) -> Result<(), usize> {
        if !is_user_range(addr, len as u64) {
            return Err(len);
        }
        let _keys = AllOpen::if_broken(caller.cpu);
        let mut done = 0;
        while done < len {
            let Err(stop) = access(caller.cpu, addr + done as u64, done) else {
                break;
            };
            done += stop.copied;
            if self.page_fault(caller, stop.fault).is_err() {
                return Err(len.saturating_sub(done));
            }
        }
        Ok(())
    }
}

/// All keys open until it is dropped: what [`Mutant::UserAccessIgnoresPkru`] breaks.
struct AllOpen<'a, C: Cpu> {
    cpu: &'a C,
    before: KeyRegister,
}

impl<'a, C: Cpu> AllOpen<'a, C> {
    fn if_broken(cpu: &'a C) -> Option<Self> {
        if !mutant::is(Mutant::UserAccessIgnoresPkru) || !cpu.has_pku() {
            return None;
        }
        let before = cpu.read_pkru();
        cpu.write_pkru(KeyRegister::ALL_OPEN);
        Some(Self { cpu, before })
    }
}

impl<C: Cpu> Drop for AllOpen<'_, C> {
    fn drop(&mut self) {
        self.cpu.write_pkru(self.before);
    }
}
