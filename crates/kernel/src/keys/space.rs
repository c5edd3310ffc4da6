//! The keys of one address space: which are allocated, which one is execute-only, and which one a mapping gets.
//!
//! Everything is Linux's rule, in Linux's order of checks, wise or not: key 0 can be freed; a key is freed while pages
//! carry it, and the pages keep it; execute-only memory takes the lowest free key, hides it from the calls, and closes
//! it on the calling thread only.
//!
//! Key 0 as the execute-only key, which it becomes if it is free at that moment, is a corner of its own. `mmap(2)` and
//! `mprotect(2)` close it on the calling thread, which is the end of most programs; to `mprotect(2)` it counts as no
//! execute-only key, so that the mapping keeps the key it has. Linux does the same.
//!
//! # On a CPU without keys
//!
//! Linux has the calls there as well. An address space then begins with no key allocated, not even key 0, so that
//! `pkey_free(0)` and `pkey_mprotect` with key 0 fail; and the number of its execute-only key, which is never set up, is
//! 0. The first `pkey_alloc` takes key 0, fails to set its rights (`EINVAL`), fails to free it since it is execute-only,
//! and leaves it taken, so that every later one finds none free (`ENOSPC`), also in a child. `pkey_alloc(2)` knows only
//! `ENOSPC`. [`SpaceKeys::without_keys`] does as Linux does (tried on 6.12 and 6.18).
//!
//! Source: Linux `mm/mprotect.c` (`pkey_alloc`, `pkey_free`, `do_mprotect_pkey`), `arch/x86/mm/pkeys.c`
//! (`__execute_only_pkey`, `__arch_override_mprotect_pkey`), `arch/x86/include/asm/pkeys.h`,
//! `arch/x86/include/asm/mmu_context.h` (`init_new_context`).

use pkeys_core::{Access, AccessBits, AllocationMap, AllocationState, KeySet, Pkey};

use crate::abi::{Errno, Prot};
use crate::keys::get_set::rights_of;
use crate::keys::{PkruRegister, ThreadKeys};
use crate::mutant::{self, Mutant};

/// What decides about the key of a mapping: the mapping's own protection and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedMapping {
    /// Its protection.
    pub prot: Prot,
    /// Its key.
    pub pkey: Pkey,
}

/// The keys of an address space.
#[derive(Debug, Default)]
pub struct SpaceKeys {
    map: AllocationMap,
}

impl SpaceKeys {
    /// A new address space, as `execve(2)` makes it: key 0 is allocated, and nothing else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            map: AllocationMap::new(),
        }
    }

    /// A new address space on a CPU without keys: none is allocated.
    #[must_use]
    pub fn without_keys() -> Self {
        let nothing = AllocationState::from_bits(0).unwrap_or(AllocationState::INITIAL);
        Self {
            map: AllocationMap::from_state(nothing),
        }
    }

    /// A child's address space, as `fork(2)` makes it: the same keys are allocated, and the same is execute-only.
    #[must_use]
    pub fn fork(&self) -> Self {
        if mutant::is(Mutant::ForkForgetsKeys) {
            return Self::new();
        }
        Self {
            map: AllocationMap::from_state(self.map.snapshot()),
        }
    }

    /// The allocation map, which readers may look at without a lock.
    #[must_use]
    pub const fn map(&self) -> &AllocationMap {
        &self.map
    }

    /// `int pkey_alloc(unsigned int flags, unsigned int access_rights);`
    ///
    /// Gives the lowest free key, and the calling thread these rights on it; all other bits of the register, and all
    /// other threads, keep what they have. The caller holds the lock of the address space.
    ///
    /// # Errors
    ///
    /// In this order: [`Errno::Invalid`] for any flag; [`Errno::Invalid`] for rights beyond `PKEY_DISABLE_ACCESS` and
    /// `PKEY_DISABLE_WRITE`; [`Errno::NoSpace`] when no key is free, or the CPU has none (`register` is `None`), but
    /// [`Errno::Invalid`] for the first such call in a space that was made [`SpaceKeys::without_keys`].
    #[doc(alias = "pkey_alloc")]
    pub fn alloc(
        &self,
        flags: u64,
        init_val: u64,
        thread: &ThreadKeys,
        register: Option<&dyn PkruRegister>,
    ) -> Result<Pkey, Errno> {
        // An `unsigned long`, so bits above 31 count.
        if flags != 0 {
            return Err(Errno::Invalid);
        }
        let bits = rights_of(init_val)?;
        let Some(register) = register else {
            return Err(self.refuse_without_keys());
        };
        let pkey = self.take_free().ok_or(Errno::NoSpace)?;
        if !mutant::is(Mutant::AllocLeavesPkru) {
            thread.set(pkey, bits, register);
        }
        Ok(pkey)
    }

    /// What `pkey_alloc` says on a CPU without keys. The first call leaves key 0 taken and out of reach: see the top of this
    /// module.
    fn refuse_without_keys(&self) -> Errno {
        if self.map.snapshot().taken().is_empty() && self.map.allocate_execute_only().is_some() {
            Errno::Invalid
        } else {
            Errno::NoSpace
        }
    }

    fn take_free(&self) -> Option<Pkey> {
        if mutant::is(Mutant::KeyZeroHandedOut) {
            return Some(self.map.allocate().unwrap_or(Pkey::DEFAULT));
        }
        if mutant::is(Mutant::HighestFreeKey) {
            return self.take_highest_free();
        }
        self.map.allocate()
    }

    /// For the mutant: takes every key there is, and gives back all but the last.
    fn take_highest_free(&self) -> Option<Pkey> {
        let (mut lower, mut highest) = (KeySet::EMPTY, None);
        while let Some(pkey) = self.map.allocate() {
            lower = highest.map_or(lower, |before| lower.with(before));
            highest = Some(pkey);
        }
        for pkey in lower {
            self.map.free(pkey.into()).ok()?;
        }
        highest
    }

    /// `int pkey_free(int pkey);`
    ///
    /// Mappings keep the key and no thread's register changes. The caller holds the lock of the address space.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] for what is no allocated key, and for the execute-only key.
    #[doc(alias = "pkey_free")]
    pub fn free(&self, pkey: i32) -> Result<(), Errno> {
        if mutant::is(Mutant::FreeRefusesKeyZero) && pkey == 0 {
            return Err(Errno::Invalid);
        }
        if mutant::is(Mutant::FreeAcceptsExecuteOnly) && self.is_execute_only(pkey) {
            return Ok(());
        }
        self.map.free(pkey).map_err(|_| Errno::Invalid)
    }

    fn is_execute_only(&self, pkey: i32) -> bool {
        self.map.execute_only().map(i32::from) == Some(pkey)
    }

    /// Whether `pkey_mprotect` takes this key: -1 (which makes it plain `mprotect`), or an allocated one.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`].
    pub fn check(&self, pkey: i32) -> Result<(), Errno> {
        if pkey == -1 || self.map.is_allocated(pkey) {
            Ok(())
        } else {
            Err(Errno::Invalid)
        }
    }

    /// The key that a mapping has after `mprotect(2)` or `pkey_mprotect(2)` with this protection and key argument,
    /// which [`SpaceKeys::check`] has let through. The caller holds the lock of the address space.
    ///
    /// An explicit key is always honoured. With -1, exactly `PROT_EXEC` gets the execute-only key, which is allocated
    /// if there is none and closed on the calling thread unless that is so already; a mapping that leaves execute-only
    /// gets key 0; every other keeps its key. On a CPU without keys (`register` is `None`) all is key 0.
    pub fn key_for_protect(
        &self,
        mapping: KeyedMapping,
        prot: Prot,
        pkey: i32,
        thread: &ThreadKeys,
        register: Option<&dyn PkruRegister>,
    ) -> Pkey {
        let Some(register) = register else {
            return Pkey::DEFAULT;
        };
        if let Ok(explicit) = Pkey::checked(pkey) {
            return explicit;
        }
        // PROT_SEM counts here: with it the protection is not exactly PROT_EXEC.
        if prot == Prot::EXEC {
            // Linux takes key 0 here for "none", which it can be once somebody has freed it.
            let execute_only = self.execute_only(thread, register);
            if let Some(pkey) = execute_only.filter(|pkey| *pkey != Pkey::DEFAULT) {
                return pkey;
            }
        } else if self.is_execute_only_mapping(mapping) && !mutant::is(Mutant::ExecuteOnlyKeyStays)
        {
            return Pkey::DEFAULT;
        }
        if mutant::is(Mutant::MprotectDropsKey) {
            return Pkey::DEFAULT;
        }
        mapping.pkey
    }

    /// The key of a new mapping: the execute-only key for exactly `PROT_EXEC`, else 0.
    pub fn key_for_map(
        &self,
        prot: Prot,
        thread: &ThreadKeys,
        register: Option<&dyn PkruRegister>,
    ) -> Pkey {
        match register {
            Some(register) if prot == Prot::EXEC => {
                self.execute_only(thread, register).unwrap_or(Pkey::DEFAULT)
            }
            _ => Pkey::DEFAULT,
        }
    }

    fn is_execute_only_mapping(&self, mapping: KeyedMapping) -> bool {
        mapping.prot & Prot::ACCESS == Prot::EXEC && self.map.execute_only() == Some(mapping.pkey)
    }

    /// The execute-only key, allocated if need be, with reads denied to the calling thread.
    fn execute_only(&self, thread: &ThreadKeys, register: &dyn PkruRegister) -> Option<Pkey> {
        let known = self.map.execute_only();
        let pkey = self.map.allocate_execute_only()?;
        let is_new = known.is_none();
        if is_new || register.read().allows(pkey, Access::Read) {
            thread.set(pkey, AccessBits::DISABLE_ACCESS, register);
        }
        Some(pkey)
    }

    /// The state of the map at one moment.
    #[must_use]
    pub fn state(&self) -> AllocationState {
        self.map.snapshot()
    }
}
