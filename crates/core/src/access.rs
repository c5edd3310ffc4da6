//! The processor's rule: whether a protection key lets an access through.
//!
//! The page decides which register counts, not the privilege of the code. PKRU rules user pages, and holds for the
//! kernel too when it touches one; PKRS rules supervisor pages and never user pages. Then:
//!
//! * fetches pass;
//! * a register whose bit in CR4 is clear does not count, and the access passes;
//! * AD stops reads and writes of any privilege;
//! * WD stops writes by user-mode code always, and by supervisor-mode code while CR0.WP is set.
//!
//! This is only the keys' part of the check. U/S, R/W, SMAP, SMEP, execute-disable, shadow stacks and reserved bits
//! are checked in addition, and an access goes through only if all of them let it: user-mode code does not reach a
//! supervisor page by any key. Keys exist only in 4-level and 5-level paging; in the older forms there is none to
//! look up. Accesses that the processor makes by itself to descriptor tables, the TSS and stacks in delivering an
//! exception are supervisor-mode data accesses like others.
//!
//! Source: SDM Vol. 3A, 4.6.2.

use crate::pkey::Pkey;
use crate::register::KeyRegister;
use crate::rights::Access;

/// User or supervisor. Of an access: in which mode it is made; CPL 3 is user mode, while lower levels, and accesses
/// that the processor makes by itself, are supervisor mode. Of a page: whether U/S is set in the entries of all levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// User mode, or a user page.
    User,
    /// Supervisor mode, or a supervisor page.
    Supervisor,
}

/// Everything that the protection-key rule looks at. Fields with a register in their name are its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyCheck {
    /// What the access does.
    pub access: Access,
    /// The mode in which it is made.
    pub mode: Privilege,
    /// Whose page it goes to.
    pub page: Privilege,
    /// The key in the page's leaf entry.
    pub pkey: Pkey,
    /// CR0.WP.
    pub cr0_wp: bool,
    /// CR4.PKE.
    pub cr4_pke: bool,
    /// CR4.PKS.
    pub cr4_pks: bool,
    /// The register for user pages.
    pub pkru: KeyRegister,
    /// The register for supervisor pages.
    pub pkrs: KeyRegister,
}

impl KeyCheck {
    /// The register that rules the page, or `None` when the processor checks no keys for such pages.
    #[must_use]
    #[inline]
    pub const fn register(&self) -> Option<KeyRegister> {
        match self.page {
            Privilege::User if self.cr4_pke => Some(self.pkru),
            Privilege::Supervisor if self.cr4_pks => Some(self.pkrs),
            _ => None,
        }
    }

    /// Whether the protection key lets the access through. If not, the processor raises a page fault with bit 5 of
    /// the error code set (see [`crate::PageFaultErrorCode::PK`]).
    #[must_use]
    #[inline]
    pub const fn is_allowed(&self) -> bool {
        let Some(register) = self.register() else {
            return true;
        };
        match self.access {
            // The kernel with CR0.WP clear writes through WD; AD is left, which is what a read looks at.
            Access::Write if !self.heeds_write_disable() => {
                register.allows(self.pkey, Access::Read)
            }
            access => register.allows(self.pkey, access),
        }
    }

    const fn heeds_write_disable(&self) -> bool {
        matches!(self.mode, Privilege::User) || self.cr0_wp
    }
}
