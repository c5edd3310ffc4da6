//! What CPUID says about protection keys, and which layer is missing when they cannot be used.
//!
//! The vendor is not asked: AMD has had user keys since Zen 3, and a vendor test is how other libraries lost them.
//! Three answers count. PKU: the CPU has the feature. OSPKE: the operating system turned it on (it mirrors CR4.PKE), so
//! that RDPKRU does not raise #UD. XSAVE component 9: PKRU has a place in the saved state; some virtual machines
//! show PKU without it, and a signal frame then has no PKRU to edit.

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::fmt;

use pkeys_core::XsaveLayout;

/// CPUID.(EAX=07H,ECX=0):ECX.PKU (SDM Vol. 2A, CPUID).
const ECX_PKU: u32 = 1 << 3;
/// CPUID.(EAX=07H,ECX=0):ECX.OSPKE: CR4.PKE is set.
const ECX_OSPKE: u32 = 1 << 4;
/// CPUID.(EAX=07H,ECX=0):ECX.PKS.
const ECX_PKS: u32 = 1 << 31;
/// The XSAVE state component that holds PKRU (SDM Vol. 1, 13.1).
const XSAVE_COMPONENT_PKRU: u32 = 9;

/// What CPUID reports about protection keys. The values are what the running CPU shows to this program; under a
/// hypervisor that is what the hypervisor shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpuid {
    /// The CPU has protection keys for user pages.
    pub has_pku: bool,
    /// The operating system has turned them on (CR4.PKE).
    pub has_ospke: bool,
    /// The CPU has protection keys for supervisor pages.
    pub has_pks: bool,
    /// Byte offset of PKRU in the standard XSAVE format, from CPUID.(0DH,9):EBX; `None` without component 9.
    /// It differs between CPUs (2688 with AVX-512, 832 on others) and is never to be assumed.
    pub pkru_offset: Option<u32>,
}

impl Cpuid {
    /// Asks the running CPU. CPUID may trap to a hypervisor and then takes microseconds: ask once.
    #[must_use]
    pub fn read() -> Self {
        const NONE: Cpuid = Cpuid {
            has_pku: false,
            has_ospke: false,
            has_pks: false,
            pkru_offset: None,
        };
        if cfg!(feature = "no-pku") {
            return NONE;
        }
        let max_leaf = __cpuid(0).eax;
        if max_leaf < 7 {
            return NONE;
        }
        let features = __cpuid_count(7, 0).ecx;
        let pkru_offset = (max_leaf >= 0xD
            && __cpuid_count(0xD, 0).eax & (1 << XSAVE_COMPONENT_PKRU) != 0)
            .then(|| __cpuid_count(0xD, XSAVE_COMPONENT_PKRU).ebx);
        Self {
            has_pku: features & ECX_PKU != 0,
            has_ospke: features & ECX_OSPKE != 0,
            has_pks: features & ECX_PKS != 0,
            pkru_offset,
        }
    }

    /// Where PKRU lies in a saved state, or the first layer that is missing for user keys.
    ///
    /// # Errors
    ///
    /// [`Missing`] names the layer.
    pub const fn user_keys(self) -> Result<XsaveLayout, Missing> {
        if !self.has_pku {
            return Err(Missing::Cpu);
        }
        if !self.has_ospke {
            return Err(Missing::OperatingSystem);
        }
        match self.pkru_offset {
            Some(pkru_offset) => Ok(XsaveLayout { pkru_offset }),
            None => Err(Missing::XsaveComponent),
        }
    }
}

/// The layer that keeps this program from using protection keys for user pages, as far as CPUID tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// CPUID.(7,0):ECX.PKU is clear: the CPU, or the virtual machine, has no protection keys.
    Cpu,
    /// PKU is set and OSPKE clear: the kernel left CR4.PKE off (`nopku`, or a kernel built without).
    OperatingSystem,
    /// PKU is set, but XSAVE has no component 9: a virtual machine that shows half of the feature.
    XsaveComponent,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "the CPU has no protection keys (CPUID.(7,0):ECX.PKU is clear)",
            Self::OperatingSystem => {
                "the kernel has not turned protection keys on (CPUID.(7,0):ECX.OSPKE is clear)"
            }
            Self::XsaveComponent => {
                "the saved CPU state has no PKRU (CPUID.(0DH,0):EAX[9] is clear)"
            }
        })
    }
}

impl core::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination, against the order in which the layers are named.
    #[test]
    fn the_lowest_missing_layer_is_named() {
        for bits in 0..8 {
            let (pku, ospke, xsave) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let cpuid = Cpuid {
                has_pku: pku,
                has_ospke: ospke,
                has_pks: false,
                pkru_offset: xsave.then_some(832),
            };
            let expected = match (pku, ospke, xsave) {
                (false, _, _) => Err(Missing::Cpu),
                (true, false, _) => Err(Missing::OperatingSystem),
                (true, true, false) => Err(Missing::XsaveComponent),
                (true, true, true) => Ok(XsaveLayout { pkru_offset: 832 }),
            };
            assert_eq!(cpuid.user_keys(), expected, "{cpuid:?}");
        }
    }

    /// The kernel's own view of the CPU is the oracle: `/proc/cpuinfo` lists `pku` and `ospke`.
    #[test]
    #[cfg(not(feature = "no-pku"))]
    fn agrees_with_the_kernel() {
        extern crate std;
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
        let flags: std::vec::Vec<&str> = flags.unwrap().split_whitespace().collect();
        let cpuid = Cpuid::read();
        assert_eq!(cpuid.has_pku, flags.contains(&"pku"));
        assert_eq!(cpuid.has_ospke, flags.contains(&"ospke"));
    }

    #[test]
    #[cfg(feature = "no-pku")]
    fn the_feature_hides_the_keys() {
        assert_eq!(Cpuid::read().user_keys(), Err(Missing::Cpu));
    }
}
