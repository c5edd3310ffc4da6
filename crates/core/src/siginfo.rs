//! What Linux tells a signal handler about a fault: the codes and the places in `siginfo_t`.
//!
//! The rule of this project: a fault of keys is told by `si_code` and by nothing else. It is
//! [`SEGV_PKUERR`] for every access that the key of its page denies, also where the page was never touched or the
//! mapping forbids the access anyway; the error code's bit 5 is clear in those cases (see [`crate::page_fault`]).
//!
//! A code means something only together with its signal: 4 is [`SEGV_PKUERR`] in a SIGSEGV and [`TRAP_HWBKPT`] in a
//! SIGTRAP. Codes of zero and less mean that a process sent the signal; then there is no address.
//!
//! `si_pkey` is the key that the kernel found for the address after the fault. The hardware does not report one, and
//! another thread may have given the page another key meanwhile: it is a hint, the address is the fact.
//!
//! Source: `sigaction(2)`; Linux `include/uapi/asm-generic/siginfo.h`, `arch/x86/mm/fault.c`.

use core::fmt;

/// SIGSEGV: nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// SIGSEGV: the mapping does not allow the access.
pub const SEGV_ACCERR: i32 = 2;
/// SIGSEGV: a bounds check failed.
pub const SEGV_BNDERR: i32 = 3;
/// SIGSEGV: the protection key does not allow the access.
pub const SEGV_PKUERR: i32 = 4;

/// SIGTRAP: a breakpoint instruction.
pub const TRAP_BRKPT: i32 = 1;
/// SIGTRAP: the trap after one instruction, from the flag TF.
pub const TRAP_TRACE: i32 = 2;
/// SIGTRAP: a breakpoint or watchpoint of the debug registers.
pub const TRAP_HWBKPT: i32 = 4;

/// Any signal: the kernel sent it and has no finer code. As a SIGSEGV it is a general protection fault, such as one
/// for an address that is not canonical, and has no address.
pub const SI_KERNEL: i32 = 0x80;

/// Where `si_addr` begins in a 64-bit process's `siginfo_t`, in bytes. 8 bytes.
pub const SI_ADDR_OFFSET: usize = 16;
/// Where `si_pkey` begins in a 64-bit process's `siginfo_t`, in bytes. 4 bytes.
pub const SI_PKEY_OFFSET: usize = 0x20;
/// Where `si_addr` begins in a 32-bit process's `siginfo_t`, in bytes. 4 bytes.
pub const SI_ADDR_OFFSET_32: usize = 12;
/// Where `si_pkey` begins in a 32-bit process's `siginfo_t`, in bytes. 4 bytes.
pub const SI_PKEY_OFFSET_32: usize = 0x14;

/// Whether a SIGSEGV with this `si_code` is a fault of protection keys.
#[must_use]
#[inline]
pub const fn is_pkey_fault(si_code: i32) -> bool {
    si_code == SEGV_PKUERR
}

/// The `si_code` of a SIGSEGV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SegvCode {
    /// [`SEGV_MAPERR`]: nothing is mapped there.
    MapErr,
    /// [`SEGV_ACCERR`]: the mapping does not allow the access.
    AccErr,
    /// [`SEGV_BNDERR`]: a bounds check failed.
    BndErr,
    /// [`SEGV_PKUERR`]: the protection key does not allow the access.
    PkuErr,
    /// [`SI_KERNEL`]: a general protection fault; there is no address.
    Kernel,
    /// A process sent the signal: a code of zero or less.
    Sent(i32),
    /// Another code.
    Other(i32),
}

impl SegvCode {
    /// What a code means in a SIGSEGV.
    #[must_use]
    #[inline]
    pub const fn decode(si_code: i32) -> Self {
        match si_code {
            SEGV_MAPERR => Self::MapErr,
            SEGV_ACCERR => Self::AccErr,
            SEGV_BNDERR => Self::BndErr,
            SEGV_PKUERR => Self::PkuErr,
            SI_KERNEL => Self::Kernel,
            ..=0 => Self::Sent(si_code),
            _ => Self::Other(si_code),
        }
    }

    /// The code, as [`SegvCode::decode`] takes it.
    #[must_use]
    #[inline]
    pub const fn code(self) -> i32 {
        match self {
            Self::MapErr => SEGV_MAPERR,
            Self::AccErr => SEGV_ACCERR,
            Self::BndErr => SEGV_BNDERR,
            Self::PkuErr => SEGV_PKUERR,
            Self::Kernel => SI_KERNEL,
            Self::Sent(code) | Self::Other(code) => code,
        }
    }

    /// Whether `si_addr` is the address of an access. It is not for a signal that was sent and for [`SI_KERNEL`];
    /// of codes unknown here nothing is claimed.
    #[must_use]
    #[inline]
    pub const fn has_address(self) -> bool {
        matches!(
            self,
            Self::MapErr | Self::AccErr | Self::BndErr | Self::PkuErr
        )
    }
}

/// The name that Linux gives the code, or the number.
impl fmt::Display for SegvCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::MapErr => "SEGV_MAPERR",
            Self::AccErr => "SEGV_ACCERR",
            Self::BndErr => "SEGV_BNDERR",
            Self::PkuErr => "SEGV_PKUERR",
            Self::Kernel => "SI_KERNEL",
            Self::Sent(code) | Self::Other(code) => return write!(f, "si_code {code}"),
        };
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use std::string::ToString;

    #[test]
    fn codes_decode_by_linux_numbers() {
        let table = [
            (1, SegvCode::MapErr, "SEGV_MAPERR", true),
            (2, SegvCode::AccErr, "SEGV_ACCERR", true),
            (3, SegvCode::BndErr, "SEGV_BNDERR", true),
            (4, SegvCode::PkuErr, "SEGV_PKUERR", true),
            (5, SegvCode::Other(5), "si_code 5", false),
            (0x80, SegvCode::Kernel, "SI_KERNEL", false),
            (0, SegvCode::Sent(0), "si_code 0", false),
            (-6, SegvCode::Sent(-6), "si_code -6", false),
        ];
        for (si_code, code, name, has_address) in table {
            assert_eq!(SegvCode::decode(si_code), code);
            assert_eq!(code.to_string(), name);
            assert_eq!(code.has_address(), has_address, "{name}");
        }
    }

    #[test]
    fn only_code_4_is_a_fault_of_keys_and_every_code_survives_decoding() {
        for si_code in (-1000..1000).chain([i32::MIN, i32::MAX]) {
            let code = SegvCode::decode(si_code);
            assert_eq!(is_pkey_fault(si_code), si_code == 4, "{si_code}");
            assert_eq!(code == SegvCode::PkuErr, si_code == 4, "{si_code}");
            assert_eq!(matches!(code, SegvCode::Sent(_)), si_code <= 0);
            assert_eq!(code.code(), si_code);
        }
    }

    #[test]
    fn trap_codes_are_those_of_linux() {
        assert_eq!((TRAP_BRKPT, TRAP_TRACE, TRAP_HWBKPT), (1, 2, 4));
    }

    /// The kernel's structure up to `si_pkey`, with the address and what is aligned like one as parameters.
    #[repr(C)]
    struct Siginfo<Address> {
        signo: i32,
        errno: i32,
        code: i32,
        fault: SigFault<Address>,
    }

    /// The member for faults: behind the address a union, whose key comes after padding of an address's size.
    #[repr(C)]
    struct SigFault<Address> {
        addr: Address,
        padding: Address,
        pkey: u32,
    }

    #[test]
    fn offsets_are_those_of_the_kernels_structure() {
        type Wide = Siginfo<u64>;
        type Narrow = Siginfo<u32>;
        assert_eq!(SI_ADDR_OFFSET, offset_of!(Wide, fault.addr));
        assert_eq!(SI_PKEY_OFFSET, offset_of!(Wide, fault.pkey));
        assert_eq!(SI_ADDR_OFFSET_32, offset_of!(Narrow, fault.addr));
        assert_eq!(SI_PKEY_OFFSET_32, offset_of!(Narrow, fault.pkey));
    }
}
