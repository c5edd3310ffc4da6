//! Numbers that the processor's manual gives to registers, bits and leaves that have to do with protection keys.
//!
//! They are masks where a field is one bit, so that they can be tested and set as they are. Who executes CPUID, RDMSR
//! or a move to CR4 is elsewhere; the numbers are here because three crates need them.
//!
//! One asymmetry is a trap. For user keys the operating system's consent can be seen: [`CPUID_OSPKE`] mirrors CR4.PKE.
//! For supervisor keys there is no such mirror, the kernel has to know. A program asks for [`CPUID_OSPKE`], never for
//! [`CPUID_PKU`] alone; a kernel asks CPUID before it sets a bit of CR4, as an unknown bit there raises #GP.
//!
//! Source: SDM Vol. 2A (CPUID), Vol. 3A 2.5 (control registers), Vol. 1 13.1 (XSAVE), Vol. 4 (MSRs).

/// CR0.WP (bit 16): supervisor writes heed read-only pages, and write-disable of a key.
pub const CR0_WP: u64 = 1 << 16;

/// CR4.PKE (bit 22): protection keys of user pages are checked, RDPKRU and WRPKRU exist.
pub const CR4_PKE: u64 = 1 << 22;

/// CR4.PKS (bit 24): protection keys of supervisor pages are checked.
pub const CR4_PKS: u64 = 1 << 24;

/// The number of the MSR `IA32_PKRS`. Its upper 32 bits must be zero, or WRMSR raises #GP.
pub const PKRS_MSR: u32 = 0x6E1;

/// The CPUID leaf (subleaf 0) whose ECX has the three bits about keys.
pub const CPUID_LEAF_FEATURES: u32 = 7;

/// CPUID (7,0) ECX bit 3, PKU: the processor has keys for user pages.
pub const CPUID_PKU: u32 = 1 << 3;

/// CPUID (7,0) ECX bit 4, OSPKE: the operating system has set CR4.PKE.
pub const CPUID_OSPKE: u32 = 1 << 4;

/// CPUID (7,0) ECX bit 31, PKS: the processor has keys for supervisor pages.
pub const CPUID_PKS: u32 = 1 << 31;

/// The CPUID leaf about XSAVE. Subleaf 0 lists the components in EAX and EDX; subleaf [`PKRU_COMPONENT`] has the
/// size of PKRU's part in EAX (8 bytes) and its offset in the standard format in EBX (bytes, differs by processor).
pub const CPUID_LEAF_XSAVE: u32 = 0xD;

/// The number of the XSAVE state component that is PKRU. PKRS is in no component.
pub const PKRU_COMPONENT: u32 = 9;

/// The bit of [`PKRU_COMPONENT`] in XCR0, in `XSTATE_BV` and in Linux's `xfeatures`.
pub const XFEATURE_PKRU: u64 = 1 << PKRU_COMPONENT;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values as they show in a register dump, against the bit numbers above.
    #[test]
    fn masks_are_those_of_a_register_dump() {
        assert_eq!(CR0_WP, 0x1_0000);
        assert_eq!(CR4_PKE, 0x40_0000);
        assert_eq!(CR4_PKS, 0x100_0000);
        // ECX of leaf 7 on a processor with both kinds of keys, user keys switched on, and nothing else.
        assert_eq!(CPUID_PKU | CPUID_OSPKE | CPUID_PKS, 0x8000_0018);
        assert_eq!(XFEATURE_PKRU, 0x200);
        assert_eq!(PKRS_MSR, 0x6E1);
    }
}
