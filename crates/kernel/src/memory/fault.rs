//! Page faults of a thread in its own address space.
//!
//! One look-up of the mapping, under the lock, gives everything: [`crate::keys::fault::judge`] decides by it, the error
//! code and the register, and names the key; then the page is brought in. The lock is not held between the access and
//! this moment, so that another thread may have changed the mapping or its key since: the answer is one for the mapping
//! as it is now, and that it does not fit the access any more is no error.
//!
//! Mappings that grow downwards do not grow by faults here: an access below one finds no mapping.

use core::sync::atomic::Ordering;

use lock_api::RawMutex;
use pkeys_core::Access;

use crate::hardware::{Cpu, HardwareFault, PhysMemory};
use crate::keys::fault::{Segv, Verdict, judge};
use crate::memory::bring_in::{Failure, Want};
use crate::memory::caller::Caller;
use crate::memory::space::Space;
use crate::memory::tables::Tables;

/// How a fault ends that was not put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultEnd {
    /// The thread gets SIGSEGV.
    Segv(Segv),
    /// There is no memory.
    OutOfMemory,
    /// The thread gets SIGBUS: it is behind the end of what is mapped, or no huge page is left.
    Bus,
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// Puts a page fault right, so that the access can be tried again.
    ///
    /// # Errors
    ///
    /// [`FaultEnd`], if that cannot be done.
    pub fn page_fault<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        fault: HardwareFault,
    ) -> Result<(), FaultEnd> {
        let pkru = caller.register().map(|register| register.read());
        let mut inner = self.inner.lock();
        self.nr_lookups.fetch_add(1, Ordering::Relaxed);
        let vma = inner
            .vmas
            .at(fault.addr)
            .ok_or(FaultEnd::Segv(Segv::MAPERR))?;
        if let Verdict::Signal(segv) = judge(vma.keyed(), fault.code, pkru) {
            return Err(FaultEnd::Segv(segv));
        }
        let want = match fault.code.access() {
            Access::Write => Want::Write,
            Access::Read | Access::Fetch => Want::Read,
        };
        self.bring_in(&mut inner, caller.cpu, fault.addr, want)
            .map_err(|failure| match failure {
                Failure::NoMemory => FaultEnd::OutOfMemory,
                Failure::Bus => FaultEnd::Bus,
                Failure::NoMapping => FaultEnd::Segv(Segv::MAPERR),
            })
    }
}
