//! What the CPU has, asked before anything is switched on.
//!
//! Setting a bit of CR4 that a CPU lacks raises #GP on hardware and hangs QEMU. So CPUID is asked for everything first; what
//! is missing is named, and the kernel ends.

#![allow(unsafe_code, reason = "switches on what CPUID has listed")]

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::fmt;

use pkeys_arch::Cpuid;
use pkeys_core::x86::{CPUID_LEAF_XSAVE, CR4_PKE};

use super::registers::{CR4_OSXSAVE, CR4_PGE, CR4_SMAP, CR4_SMEP, read_cr4, write_cr4};

/// CPUID.1:ECX.XSAVE.
const XSAVE: u32 = 1 << 26;
/// CPUID.1:EDX.PGE and CPUID.1:EDX.APIC.
const PGE: u32 = 1 << 13;
const APIC: u32 = 1 << 9;
/// CPUID.(7,0):EBX.SMEP and CPUID.(7,0):EBX.SMAP.
const SMEP: u32 = 1 << 7;
const SMAP: u32 = 1 << 20;

/// Something that the kernel cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    UserKeys,
    SupervisorKeys,
    Xsave,
    PkruState,
    Apic,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserKeys => "the CPU has no protection keys for user pages (PKU)",
            Self::SupervisorKeys => "the CPU has no protection keys for supervisor pages (PKS)",
            Self::Xsave => "the CPU has no XSAVE",
            Self::PkruState => "XSAVE does not save PKRU (component 9)",
            Self::Apic => "the CPU has no local APIC",
        })
    }
}

/// What may be switched on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Features {
    cr4: u64,
    has_smap: bool,
}

impl Features {
    /// Asks CPUID.
    pub(crate) fn find() -> Result<Self, Missing> {
        let basic = __cpuid(1);
        let keys = Cpuid::read();
        for (has, missing) in [
            (basic.ecx & XSAVE != 0, Missing::Xsave),
            (keys.has_pku, Missing::UserKeys),
            (keys.has_pks, Missing::SupervisorKeys),
            (keys.pkru_offset.is_some(), Missing::PkruState),
            (basic.edx & APIC != 0, Missing::Apic),
        ] {
            if !has {
                return Err(missing);
            }
        }
        // Leaf 7 exists, since it listed the keys.
        let structured = __cpuid_count(7, 0).ebx;
        // QEMU takes CR4.OSXSAVE only from a CPU with an extension of XSAVE (XSAVEOPT, XSAVEC), and hangs otherwise. Every
        // real CPU with keys has them.
        let has_extensions = __cpuid_count(CPUID_LEAF_XSAVE, 1).eax != 0;
        let optional = [
            (has_extensions, CR4_OSXSAVE),
            (basic.edx & PGE != 0, CR4_PGE),
            (structured & SMEP != 0, CR4_SMEP),
            (structured & SMAP != 0, CR4_SMAP),
        ];
        let optional = optional.into_iter().filter(|(has, _)| *has);
        let cr4 = optional.fold(CR4_PKE, |cr4, (_, bit)| cr4 | bit);
        Ok(Self {
            cr4,
            has_smap: structured & SMAP != 0,
        })
    }

    /// Whether the kernel has to say when it means to access user pages.
    pub(crate) fn has_smap(&self) -> bool {
        self.has_smap
    }

    /// Whether XSAVE may be used; if not, there is FXSAVE.
    pub(crate) fn has_xsave(&self) -> bool {
        self.cr4 & CR4_OSXSAVE != 0
    }

    /// Switches everything on but supervisor keys, on this CPU.
    pub(crate) fn enable(&self) {
        // SAFETY: (1) `find` has seen each bit in CPUID; the CPUs of a machine are alike. (2) Nothing is switched off.
        unsafe { write_cr4(read_cr4() | self.cr4) }
    }
}
