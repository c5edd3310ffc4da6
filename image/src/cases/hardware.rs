//! The hardware's rule about supervisor keys, access by access, on every CPU.
//!
//! What each access has to do is asked of [`KeyCheck`]. PKRS is written past the cache here, with interrupts kept out.

#![allow(unsafe_code, reason = "changes CR0.WP; a register's refusal")]

extern crate alloc;

use alloc::string::ToString;
use alloc::sync::Arc;

use pkeys_core::x86::{CR0_WP, PKRS_MSR};
use pkeys_core::{Access, AccessBits, KeyCheck, KeyRegister, LeafSize, Pkey, Privilege};

use super::keyed::Keyed;
use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::pkrs::{self, ThisCpu};
use crate::cpu::registers::{read_cr0, write_cr0};
use crate::cpu::{interrupts, pkru};
use crate::memory::layout::{DIRECT, LARGE_PAGE, PAGE, to_usize};
use crate::memory::{frames, kernel_tables};
use crate::smp;
use crate::trap::fixup::{Fault, try_read, try_write, try_write_msr};
use pkeys_kernel::pks;

pub(super) const CASES: &[Case] = &[
    case("pks-every-key", every_key),
    case("pks-without-write-protection", without_write_protection),
    case("pks-large-page", large_page),
    case("pks-ignores-pkru", ignores_pkru),
    case("pks-upper-bits-are-refused", upper_bits_are_refused),
];

/// Those that go by the closed rights.
pub(super) const OF_PROTECTION: &[Case] = &[case(
    "pks-key-change-reaches-every-cpu",
    key_change_reaches_every_cpu,
)];

/// Every kind of the two bits.
fn all_bits() -> impl Iterator<Item = AccessBits> {
    (0..4).map(AccessBits::truncate)
}

/// Makes an access with a value in PKRS.
fn access_with(pkrs: KeyRegister, addr: u64, access: Access) -> Result<(), Fault> {
    interrupts::without(|| {
        pkrs::write_uncached(pkrs);
        let result = match access {
            // SAFETY: addresses of pages that the cases own.
            Access::Write => unsafe { try_write(addr, 1) },
            _ => try_read(addr).map(|_| ()),
        };
        pks::refresh(&ThisCpu);
        result
    })
}

/// Makes an access and compares with the rule.
fn compare(pkey: Pkey, bits: AccessBits, access: Access, addr: u64) -> Outcome {
    let pkrs = KeyRegister::ALL_OPEN.with(pkey, bits);
    let rule = KeyCheck {
        access,
        mode: Privilege::Supervisor,
        page: Privilege::Supervisor,
        pkey,
        cr0_wp: read_cr0() & CR0_WP != 0,
        cr4_pke: true,
        cr4_pks: true,
        pkru: pkru::read(),
        pkrs,
    };
    let result = access_with(pkrs, addr, access);
    check_eq!(
        result.is_ok(),
        rule.is_allowed(),
        "key {pkey}, {bits}: {access} went through"
    );
    if let Err(fault) = result {
        let code = if access == Access::Write { 0x23 } else { 0x21 };
        check_eq!(
            (fault.addr, fault.code.bits()),
            (addr, code),
            "key {pkey}, {bits}: {access} fault"
        );
    }
    Ok(())
}

fn compare_all(pages: &[Keyed]) -> Outcome {
    for page in pages {
        for bits in all_bits() {
            for access in [Access::Read, Access::Write] {
                compare(page.pkey(), bits, access, page.addr())?;
            }
        }
    }
    Ok(())
}

fn every_key() -> Outcome {
    let pages = Arc::new(Keyed::each()?);
    for cpu in 0..smp::count() {
        let pages = Arc::clone(&pages);
        on_cpu(cpu, move || {
            compare_all(&*pages).map_err(|why| alloc::format!("CPU {cpu}: {why}"))
        })?;
    }
    Ok(())
}

fn without_write_protection() -> Outcome {
    let pages = Keyed::each()?;
    interrupts::without(|| {
        let cr0 = read_cr0();
        // SAFETY: (1) writes to read-only pages of the kernel do not happen in between.
        unsafe { write_cr0(cr0 & !CR0_WP) };
        let result = compare_all(&pages);
        // SAFETY: (1) as it was.
        unsafe { write_cr0(cr0) };
        result
    })
}

fn large_page() -> Outcome {
    let nr = to_usize(LARGE_PAGE / PAGE);
    let phys = frames::allocate(nr, nr).ok_or("no large page")?;
    let (start, end) = (DIRECT + phys, DIRECT + phys + LARGE_PAGE);
    let set = |pkey| {
        kernel_tables::set_pkey(start, end, pkey)
            .map_err(|_| "no memory for page tables".to_string())
    };
    for pkey in Pkey::all().skip(1) {
        set(pkey)?;
        let level = kernel_tables::leaf(start).map(|(_, level)| level.lower());
        check!(
            level.is_some_and(|lower| lower.is_some()),
            "the page is not a large one"
        );
        for bits in all_bits() {
            compare(pkey, bits, Access::Read, start)?;
            compare(pkey, bits, Access::Write, end - LeafSize::Size4K.bytes())?;
        }
    }
    set(Pkey::DEFAULT)?;
    frames::free(phys, nr);
    Ok(())
}

fn ignores_pkru() -> Outcome {
    let page = Keyed::new(Pkey::truncate(7))?;
    let before = pkru::read();
    pkru::load(KeyRegister::from_bits(0xFFFF_FFFC));
    let result = compare(
        page.pkey(),
        AccessBits::UNRESTRICTED,
        Access::Write,
        page.addr(),
    );
    pkru::load(before);
    result
}

fn upper_bits_are_refused() -> Outcome {
    for bit in 32..64 {
        // SAFETY: should it be taken, the low half leaves all keys open until the refresh below.
        let result = interrupts::without(|| unsafe { try_write_msr(PKRS_MSR, 1 << bit) });
        check!(result.is_err(), "bit {bit} was taken");
    }
    pks::refresh(&ThisCpu);
    Ok(())
}

/// Each CPU reads a page, which its TLB then knows with key 0; the page gets a key, and each must fault.
fn key_change_reaches_every_cpu() -> Outcome {
    let page = Arc::new(Keyed::new(Pkey::DEFAULT)?);
    let read_everywhere = |expected: bool| -> Outcome {
        for cpu in 0..smp::count() {
            let page = Arc::clone(&page);
            on_cpu(cpu, move || {
                check_eq!(page.read().is_ok(), expected, "CPU {cpu} reads");
                Ok(())
            })?;
        }
        Ok(())
    };
    for pkey in Pkey::all().skip(1) {
        read_everywhere(true)?;
        let set = |pkey| {
            kernel_tables::set_pkey(page.addr(), page.addr() + PAGE, pkey).map_err(|_| "no memory")
        };
        set(pkey)?;
        read_everywhere(false)?;
        set(Pkey::DEFAULT)?;
    }
    Ok(())
}
