//! What an access or an instruction can raise: a page fault, or #GP.

use core::{error, fmt};

use pkeys_kernel::hardware::HardwareFault;

/// What an access or an instruction raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// #PF, with the address for CR2 and the error code.
    PageFault(HardwareFault),
    /// #GP: an address that is not canonical, a register that there is not, or a value that it cannot hold.
    GeneralProtection,
}

impl Exception {
    /// The page fault, if it is one.
    #[must_use]
    pub const fn page_fault(self) -> Option<HardwareFault> {
        match self {
            Self::PageFault(fault) => Some(fault),
            Self::GeneralProtection => None,
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageFault(fault) => write!(f, "page fault at {:#x}: {}", fault.addr, fault.code),
            Self::GeneralProtection => f.write_str("general protection"),
        }
    }
}

impl error::Error for Exception {}
