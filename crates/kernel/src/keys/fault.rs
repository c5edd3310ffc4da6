//! Page faults on user addresses, as far as keys are concerned.
//!
//! A fault is judged by the mapping, the error code and the thread's register; no page table is walked and the mapping
//! is looked up once, by the caller. Linux's order, which decides what a program is told:
//!
//! 1. The error code has the PK bit: it is the key's fault, whatever the register says by now.
//! 2. The mapping's key denies the access by the register: it is the key's fault, also if the page is not present (so
//!    that no page is brought in for an access that fails) and also if the protection denies it as well.
//! 3. An access to a shadow stack, or one that SGX refused, since there is neither here; a write to a mapping without
//!    `PROT_WRITE`; any other fault on a page that is present; a read or a fetch in a mapping without any access: it is the
//!    protection's fault.
//! 4. Else the page is to be brought in. That goes for a fetch from a mapping without `PROT_EXEC` as well: the page comes in,
//!    the fetch faults again, and now on a page that is present.
//!
//! A fetch is never denied by a key, and neither is an access by somebody else (another process, a tracer): see
//! [`permits`]. The key that a fault reports is the mapping's at the time of the look-up. The hardware does not say which
//! key it saw, so that with other threads changing the mapping it may be a newer one; this is no error.
//!
//! Source: Linux `arch/x86/mm/fault.c` (`access_error`, `bad_area_access_from_pkeys`),
//! `arch/x86/include/asm/mmu_context.h` (`arch_vma_access_permitted`).

use pkeys_core::{Access, KeyRegister, PageFaultErrorCode, Pkey, SegvCode};

use crate::abi::Prot;
use crate::keys::KeyedMapping;
use crate::mutant::{self, Mutant};

/// What is to be done about a fault in a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The access is allowed: bring the page in, or make a copy of it.
    BringIn,
    /// The thread gets SIGSEGV.
    Signal(Segv),
}

/// What SIGSEGV tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segv {
    /// `si_code`.
    pub code: SegvCode,
    /// `si_pkey`, with [`SegvCode::PkuErr`].
    pub pkey: Option<Pkey>,
}

impl Segv {
    /// Nothing is mapped there.
    pub const MAPERR: Self = Self {
        code: SegvCode::MapErr,
        pkey: None,
    };

    /// The protection denies it.
    pub const ACCERR: Self = Self {
        code: SegvCode::AccErr,
        pkey: None,
    };

    /// This key denies it.
    #[must_use]
    pub const fn pkuerr(pkey: Pkey) -> Self {
        Self {
            code: SegvCode::PkuErr,
            pkey: Some(pkey),
        }
    }
}

/// Judges a fault in a mapping. `pkru` is `None` where the CPU has no keys.
#[must_use]
pub fn judge(
    mapping: KeyedMapping,
    code: PageFaultErrorCode,
    pkru: Option<KeyRegister>,
) -> Verdict {
    let is_denied_by_key = code.has_pkey_bit() || !permits(mapping.pkey, code.access(), pkru);
    if is_denied_by_key && pkru.is_some() {
        if mutant::is(Mutant::NotPresentIsAccerr) && !code.is_present() {
            return Verdict::Signal(Segv::ACCERR);
        }
        return Verdict::Signal(Segv::pkuerr(mapping.pkey));
    }
    if is_denied_by_protection(mapping.prot, code) {
        Verdict::Signal(Segv::ACCERR)
    } else {
        Verdict::BringIn
    }
}

/// Whether the protection denies the access that ended in this fault.
fn is_denied_by_protection(prot: Prot, code: PageFaultErrorCode) -> bool {
    // A CPU without keys sets no PK bit. If one did, Linux would not bring the page in either.
    if code.has_pkey_bit()
        || code.contains(PageFaultErrorCode::SS)
        || code.contains(PageFaultErrorCode::SGX)
    {
        true
    } else if code.contains(PageFaultErrorCode::W) {
        !prot.contains(Prot::WRITE)
    } else {
        code.is_present() || !prot.intersects(Prot::ACCESS)
    }
}

/// Whether a key lets the running thread make an access to its own memory. `pkru` is `None` where the CPU has no keys, and
/// for an access that is not the thread's own.
#[must_use]
pub fn permits(pkey: Pkey, access: Access, pkru: Option<KeyRegister>) -> bool {
    let access = match access {
        Access::Fetch if mutant::is(Mutant::FetchIsChecked) => Access::Read,
        access => access,
    };
    pkru.is_none_or(|pkru| pkru.allows(pkey, access))
}
