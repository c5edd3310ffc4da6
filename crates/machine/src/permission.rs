//! What is let through: the page's rights, the control registers and the keys, for one access.
//!
//! The rules are those of the manual, in its order. A user-mode access needs a user page. A supervisor-mode access to a
//! user page is stopped by SMEP if it is a fetch, and by SMAP if it is not and EFLAGS.AC is clear. A write needs R/W,
//! but in supervisor mode with CR0.WP clear. A fetch needs XD clear. And a data access needs the key.
//!
//! The error code says what the access was (W, U, I), that there was a translation (P), and whether the key was among the
//! reasons (PK). PK does not depend on the other reasons: a write to a read-only page with a closed key has both, and
//! nothing tells that the page alone would have stopped it.
//!
//! Neighbours: [`pkeys_core::access`] has the keys' part of the rule, [`crate::paging`] finds the rights. Source: SDM
//! Vol. 3A, 4.6 and 4.7.

use pkeys_core::{Access, KeyCheck, KeyRegister, PageFaultErrorCode, Pkey, Privilege};

/// The bits of CR0 and CR4 that have to do with rights.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of a register, with its name"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Controls {
    /// CR0.WP: supervisor-mode writes heed read-only pages, and write-disable of a key.
    pub wp: bool,
    /// CR4.PKE: PKRU rules user pages.
    pub pke: bool,
    /// CR4.PKS: PKRS rules supervisor pages.
    pub pks: bool,
    /// CR4.SMEP: no supervisor-mode fetches from user pages.
    pub smep: bool,
    /// CR4.SMAP: no supervisor-mode data accesses to user pages, but with EFLAGS.AC set.
    pub smap: bool,
}

impl Controls {
    /// As Linux sets them on a processor that has all but supervisor keys.
    pub const LINUX: Self = Self {
        wp: true,
        pke: true,
        pks: false,
        smep: true,
        smap: true,
    };
}

/// What the entries of all levels give a page together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRights {
    /// U/S is set at every level.
    pub is_user: bool,
    /// R/W is set at every level.
    pub is_writable: bool,
    /// XD is clear at every level.
    pub is_executable: bool,
    /// The key, which the leaf alone has.
    pub pkey: Pkey,
}

/// An access, and everything about its CPU that decides whether it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// What it does.
    pub access: Access,
    /// The mode in which it is made.
    pub mode: Privilege,
    /// The control registers' bits.
    pub controls: Controls,
    /// PKRU.
    pub pkru: KeyRegister,
    /// PKRS.
    pub pkrs: KeyRegister,
    /// EFLAGS.AC.
    pub ac: bool,
}

impl Request {
    /// Whether the access passes.
    ///
    /// # Errors
    ///
    /// The error code of the page fault that stops it.
    #[inline]
    pub fn check(&self, page: PageRights) -> Result<(), PageFaultErrorCode> {
        let key_allows = self.key_check(page).is_allowed();
        if key_allows && self.pages_allow(page) {
            return Ok(());
        }
        let pk = if key_allows {
            0
        } else {
            PageFaultErrorCode::PK
        };
        Err(self.code(PageFaultErrorCode::P | pk))
    }

    /// The error code of a fault of this access: `reasons`, and what the access was.
    ///
    /// I is set for every fetch, as EFER.NXE is.
    #[must_use]
    #[inline]
    pub const fn code(&self, reasons: u32) -> PageFaultErrorCode {
        let access = match self.access {
            Access::Read => 0,
            Access::Write => PageFaultErrorCode::W,
            Access::Fetch => PageFaultErrorCode::I,
        };
        let mode = match self.mode {
            Privilege::User => PageFaultErrorCode::U,
            Privilege::Supervisor => 0,
        };
        PageFaultErrorCode::from_bits(reasons | access | mode)
    }

    /// Everything but the key.
    #[inline]
    const fn pages_allow(&self, page: PageRights) -> bool {
        let is_supervisor = matches!(self.mode, Privilege::Supervisor);
        let mode_allows = match (self.mode, page.is_user) {
            (Privilege::User, is_user) => is_user,
            (Privilege::Supervisor, false) => true,
            (Privilege::Supervisor, true) => match self.access {
                Access::Fetch => !self.controls.smep,
                Access::Read | Access::Write => !self.controls.smap || self.ac,
            },
        };
        let access_allows = match self.access {
            Access::Read => true,
            Access::Write => page.is_writable || is_supervisor && !self.controls.wp,
            Access::Fetch => page.is_executable,
        };
        mode_allows && access_allows
    }

    #[inline]
    const fn key_check(&self, page: PageRights) -> KeyCheck {
        KeyCheck {
            access: self.access,
            mode: self.mode,
            page: if page.is_user {
                Privilege::User
            } else {
                Privilege::Supervisor
            },
            pkey: page.pkey,
            cr0_wp: self.controls.wp,
            cr4_pke: self.controls.pke,
            cr4_pks: self.controls.pks,
            pkru: self.pkru,
            pkrs: self.pkrs,
        }
    }
}
