//! The CPU that executes the caller, as `pkeys-kernel` sees it: PKRU, the page tables' root, TLBs, copies.

#![allow(unsafe_code, reason = "MOV to CR3")]

use pkeys_core::KeyRegister;
use pkeys_kernel::hardware::{Cpu, CpuSet, HardwareFault, PhysAddr, Stale, UserAccessFault};

use super::access::{self, Stopped};
use crate::cpu::registers::{invalidate_page, read_cr3, write_cr3};
use crate::cpu::{per_cpu, pkru};
use crate::memory::kernel_tables;
use crate::memory::layout::{PAGE, to_usize};
use crate::smp::call;

/// From so many pages on, all of the TLB is forgotten at once.
const MANY: u64 = 64 * PAGE;

/// The bits of CR3 that are an address.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The CPU that executes the caller: its runner, which never moves.
#[derive(Debug)]
pub(super) struct ThisCpu;

/// Has CR3 hold the kernel's own tables.
pub(super) fn leave_space() {
    kernel_tables::load();
}

/// Makes this CPU's TLB forget addresses of the address space that is loaded.
fn flush_here(start: u64, end: u64) {
    if end.saturating_sub(start) <= MANY {
        for addr in (start..end).step_by(to_usize(PAGE)) {
            invalidate_page(addr);
        }
    } else {
        // SAFETY: (1) the tables that are loaded already.
        unsafe { write_cr3(read_cr3()) };
    }
}

/// The same for the address space with this root, if it is the one that is loaded. Called in the wait for locks, too.
fn flush_if_loaded([root, start, end]: [u64; 3]) {
    if read_cr3() & ADDRESS == root {
        flush_here(start, end);
    }
}

/// First address and the one behind the last.
const fn bounds(stale: Stale) -> (u64, u64) {
    match stale {
        Stale::Range { start, end } => (start, end),
        Stale::Everything => (0, u64::MAX),
    }
}

impl Cpu for ThisCpu {
    fn id(&self) -> u32 {
        per_cpu::id()
    }

    fn has_pku(&self) -> bool {
        // The kernel does not start on a CPU without.
        true
    }

    fn read_pkru(&self) -> KeyRegister {
        pkru::read()
    }

    fn write_pkru(&self, pkru: KeyRegister) {
        pkru::load(pkru);
    }

    fn load_root(&self, root: PhysAddr) {
        // SAFETY: (1) every address space has the kernel's half (`super::tables`).
        unsafe { write_cr3(root.0) }
    }

    fn flush(&self, stale: Stale) {
        let (start, end) = bounds(stale);
        flush_here(start, end);
    }

    fn shoot_down(&self, others: CpuSet, root: PhysAddr, stale: Stale) {
        let (start, end) = bounds(stale);
        call::on_others(others.0, flush_if_loaded, [root.0, start, end]);
    }

    fn read_user(&self, addr: u64, into: &mut [u8]) -> Result<(), UserAccessFault> {
        let len = into.len();
        access::read(addr, into).map_err(|stopped| fault(addr, len, stopped))
    }

    fn write_user(&self, addr: u64, bytes: &[u8]) -> Result<(), UserAccessFault> {
        access::write(addr, bytes).map_err(|stopped| fault(addr, bytes.len(), stopped))
    }

    fn exchange_user(&self, addr: u64, expected: u32, new: u32) -> Result<u32, UserAccessFault> {
        access::exchange(addr, expected, new)
            .map_err(|stopped| fault(addr, size_of::<u32>(), stopped))
    }
}

/// What the library wants to know of an access that stopped.
fn fault(addr: u64, len: usize, stopped: Stopped) -> UserAccessFault {
    match stopped {
        Stopped::Fault { rest, fault } => UserAccessFault {
            copied: len.saturating_sub(rest),
            fault: HardwareFault {
                addr: fault.addr,
                code: fault.code,
            },
        },
        // The library asks for a program's addresses alone. Were it not so, this is a page that is not there.
        Stopped::OutOfRange => UserAccessFault {
            copied: 0,
            fault: HardwareFault {
                addr,
                code: pkeys_core::PageFaultErrorCode::from_bits(0),
            },
        },
    }
}
