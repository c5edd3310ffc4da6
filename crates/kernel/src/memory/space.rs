//! An address space: mappings, page tables and keys under one lock.
//!
//! # Locks
//!
//! One lock guards the mappings and the tables; every call and every fault takes it once. The keys lie outside, since
//! readers of the allocation map need no lock; all changes of the map are made with the lock held, so that no mapping
//! gets a key that is freed between the check and the change. Inside it the locks of shared objects and of the pool are
//! taken, in this order, and no other lock is taken inside those. No access to user memory is made under any of them.
//!
//! # CPUs
//!
//! [`Space::activate`] and [`Space::deactivate`] keep the set of CPUs that may hold translations of this space. A CPU is
//! entered into the set before it loads the root, so that whoever changes the tables meanwhile tells one CPU too many and
//! not one too few.
//!
//! A space that is dropped while a CPU is in the set gives nothing back: a leak is better than a CPU on freed tables.

use core::sync::atomic::{AtomicU64, Ordering};
use core::{fmt, mem};

use lock_api::{Mutex, RawMutex};

use crate::abi::Errno;
use crate::hardware::{Cpu, CpuSet, PhysAddr, PhysMemory};
use crate::keys::SpaceKeys;
use crate::memory::brk::Brk;
use crate::memory::caller::Caller;
use crate::memory::key_page::Mirror;
use crate::memory::object::Object;
use crate::memory::pool::Pool;
use crate::memory::tables::{Flush, FourLevel, Tables, Unused};
use crate::memory::unmap::take_out;
use crate::memory::vma::Vma;
use crate::memory::vmas::Vmas;

/// An address space.
pub struct Space<M: PhysMemory, L: RawMutex, T = FourLevel<M>>
where
    M: Clone,
    T: Tables<Memory = M>,
{
    pub(super) pool: Pool<M, L>,
    pub(super) keys: SpaceKeys,
    root: PhysAddr,
    active: AtomicU64,
    pub(super) nr_lookups: AtomicU64,
    pub(super) inner: Mutex<L, Inner<M, L, T>>,
}

/// What the lock guards.
pub(super) struct Inner<M: PhysMemory, L: RawMutex, T> {
    pub(super) vmas: Vmas<Object<M, L>>,
    pub(super) tables: T,
    pub(super) mirror: Option<Mirror<M, L>>,
    /// The heap, if the program was said to have one.
    pub(super) brk: Option<Brk>,
}

impl<M, L, T> Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    /// An empty address space, as `execve(2)` makes it.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`].
    pub fn new(pool: Pool<M, L>) -> Result<Self, Errno> {
        Self::with_keys(pool, SpaceKeys::new())
    }

    /// The same on a CPU without keys, where none is allocated: see [`SpaceKeys::without_keys`].
    ///
    /// # Errors
    ///
    /// [`Errno::NoMemory`].
    pub fn without_keys(pool: Pool<M, L>) -> Result<Self, Errno> {
        Self::with_keys(pool, SpaceKeys::without_keys())
    }

    pub(super) fn with_keys(pool: Pool<M, L>, keys: SpaceKeys) -> Result<Self, Errno> {
        let tables = T::new(pool.memory().clone()).ok_or(Errno::NoMemory)?;
        Ok(Self {
            keys,
            root: tables.root(),
            active: AtomicU64::new(0),
            nr_lookups: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                vmas: Vmas::new(),
                tables,
                mirror: None,
                brk: None,
            }),
            pool,
        })
    }

    /// The keys, of which readers may ask anything at any time.
    #[must_use]
    pub const fn keys(&self) -> &SpaceKeys {
        &self.keys
    }

    /// The frames that it uses, together with other address spaces.
    #[must_use]
    pub const fn pool(&self) -> &Pool<M, L> {
        &self.pool
    }

    /// What CR3 gets.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// Makes it the address space that a CPU runs in.
    pub fn activate(&self, cpu: &impl Cpu) {
        self.active
            .fetch_or(CpuSet::of(cpu.id()).0, Ordering::SeqCst);
        cpu.load_root(self.root);
    }

    /// A CPU runs it no longer: it has another root loaded, or is about to, and touches no user memory before.
    pub fn deactivate(&self, cpu: &impl Cpu) {
        self.active
            .fetch_and(!CpuSet::of(cpu.id()).0, Ordering::SeqCst);
    }

    /// The CPUs that run it.
    #[must_use]
    pub fn active_cpus(&self) -> CpuSet {
        CpuSet(self.active.load(Ordering::SeqCst))
    }

    /// How many look-ups of a mapping were made for faults: one a fault.
    #[must_use]
    pub fn nr_lookups(&self) -> u64 {
        self.nr_lookups.load(Ordering::Relaxed)
    }

    /// `int pkey_alloc(unsigned int flags, unsigned int access_rights);`
    ///
    /// # Errors
    ///
    /// As [`SpaceKeys::alloc`].
    pub fn pkey_alloc<C: Cpu>(
        &self,
        caller: &Caller<'_, C>,
        flags: u64,
        init_val: u64,
    ) -> Result<u64, Errno> {
        let inner = self.inner.lock();
        let pkey = self
            .keys
            .alloc(flags, init_val, caller.keys, caller.register())?;
        self.update_mirror(&inner);
        Ok(pkey.get().into())
    }

    /// `int pkey_free(int pkey);`
    ///
    /// # Errors
    ///
    /// As [`SpaceKeys::free`].
    pub fn pkey_free<C: Cpu>(&self, _caller: &Caller<'_, C>, pkey: i32) -> Result<u64, Errno> {
        let inner = self.inner.lock();
        self.keys.free(pkey)?;
        self.update_mirror(&inner);
        Ok(0)
    }

    /// Does what a change of the tables left to be done: TLBs first, frames then.
    pub(super) fn settle<C: Cpu>(&self, cpu: &C, flush: Flush) {
        self.give_back(flush.commit(cpu, self.active_cpus(), self.root));
    }

    pub(super) fn give_back(&self, unused: Unused) {
        for old in unused {
            self.pool.release(old);
        }
    }
}

impl<M, L, T> Drop for Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    fn drop(&mut self) {
        let is_in_use = !self.active_cpus().is_empty();
        let inner = self.inner.get_mut();
        if is_in_use {
            // The page of zeros belongs to the pool.
            mem::forget(self.pool.clone());
            return;
        }
        while let Some(range) = inner.vmas.first().map(Vma::range) {
            let (removed, flush) = take_out(&self.pool, inner, &range);
            for old in flush.ignore("no CPU runs the address space") {
                self.pool.release(old);
            }
            drop(removed);
        }
        inner.tables.destroy();
    }
}

impl<M, L, T> fmt::Debug for Space<M, L, T>
where
    M: PhysMemory + Clone,
    L: RawMutex,
    T: Tables<Memory = M>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space")
            .field("root", &self.root)
            .field("active", &self.active_cpus())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
