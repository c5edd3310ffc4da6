//! RDPKRU and WRPKRU, behind a value that proves they do not raise #UD.
//!
//! The options of the two `asm!` lines decide whether the protection holds at all:
//!
//! * WRPKRU changes what memory may be touched. For the compiler it reads and writes all memory: it says none of
//!   `nomem`, `readonly`, `pure`. With `nomem` LLVM deletes a store inside an open window and carries loads across.
//! * RDPKRU touches no memory and may say `nomem`, but it is not `pure`: two reads around a write differ.

use core::arch::asm;

use pkeys_core::{KeyRegister, XsaveLayout};

use crate::probe::{Cpuid, Missing};

/// Proof that RDPKRU and WRPKRU may be executed: CPUID shows PKU, OSPKE and a place for PKRU in the saved state.
///
/// A value of this type is made by [`Pku::probe`] alone. It says nothing about the kernel's system calls, which a
/// sandbox may refuse: that takes a trial `pkey_alloc(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pku {
    _proof: (),
}

impl Pku {
    /// Asks CPUID; gives the proof and the place of PKRU in a saved state.
    ///
    /// # Errors
    ///
    /// [`Missing`] names the layer that lacks protection keys.
    pub fn probe() -> Result<(Self, XsaveLayout), Missing> {
        let layout = Cpuid::read().user_keys()?;
        Ok((Self { _proof: () }, layout))
    }

    /// The proof, without asking again.
    ///
    /// # Safety
    ///
    /// 1. [`Pku::probe`] has succeeded in this process.
    #[must_use]
    #[inline]
    pub const unsafe fn assume() -> Self {
        Self { _proof: () }
    }

    /// RDPKRU: the calling thread's rights to every key (SDM Vol. 2B). About 8 cycles.
    #[must_use]
    #[inline]
    pub fn read(self) -> KeyRegister {
        let bits: u32;
        // SAFETY: `self` proves CR4.PKE, so there is no #UD; ECX is 0 as the instruction demands, EAX and EDX are
        // declared as written.
        unsafe {
            asm!(
                "rdpkru",
                in("ecx") 0,
                out("eax") bits,
                out("edx") _,
                options(nomem, nostack, preserves_flags),
            );
        }
        KeyRegister::from_bits(bits)
    }

    /// WRPKRU: sets the calling thread's rights to every key (SDM Vol. 2D). About 25 cycles; accesses after it are
    /// not executed, not even speculatively, before it is done.
    ///
    /// # Safety
    ///
    /// 1. The thread keeps access to its own stack, code data and thread-local storage: key 0 stays open unless
    ///    these are elsewhere.
    /// 2. Keys that other code owns keep their bits.
    #[inline]
    pub unsafe fn write(self, register: KeyRegister) {
        // SAFETY: `self` proves CR4.PKE; ECX and EDX are 0 as the instruction demands. The caller answers for what the
        // rights do (1, 2). The default memory clobber stays: the compiler may move no access across.
        unsafe {
            asm!(
                "wrpkru",
                in("eax") register.bits(),
                in("ecx") 0,
                in("edx") 0,
                options(nostack, preserves_flags),
            );
        }
    }
}
