//! One CPU: its registers, and what a kernel does with them.
//!
//! A [`MachineCpu`] is a handle; its methods take `&self`, since what they change is the CPU. Those of the trait [`Cpu`]
//! are what the kernel library executes. The others are for the test that stands around it: control registers, PKRS,
//! EFLAGS.AC, and a look at the counters and into the TLB. Accesses to memory are in [`crate::access`].
//!
//! Source: SDM Vol. 2 for the instructions, Vol. 3A 4.10.4 for what drops TLB entries.

use core::cell::{Cell, RefCell};
use core::fmt;

use pkeys_core::{Access, KeyRegister, LeafSize, Privilege, x86};
use pkeys_kernel::hardware::{Cpu, CpuSet, PhysAddr, Stale, UserAccessFault};

use crate::counters::Counters;
use crate::exception::Exception;
use crate::machine::Machine;
use crate::paging::Mapping;
use crate::permission::{Controls, Request};
use crate::tlb::Tlb;

/// The state of a CPU.
#[derive(Debug)]
pub(crate) struct State {
    controls: Cell<Controls>,
    root: Cell<Option<PhysAddr>>,
    pkru: Cell<KeyRegister>,
    pkrs: Cell<KeyRegister>,
    ac: Cell<bool>,
    pub(crate) tlb: RefCell<Tlb>,
    counters: Cell<Counters>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            controls: Cell::new(Controls::LINUX),
            root: Cell::new(None),
            pkru: Cell::new(KeyRegister::ALL_OPEN),
            pkrs: Cell::new(KeyRegister::ALL_OPEN),
            ac: Cell::new(false),
            tlb: RefCell::default(),
            counters: Cell::default(),
        }
    }
}

impl State {
    #[inline]
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Forgets, and counts what was executed for it.
    fn forget(&self, stale: Stale) {
        let mut tlb = self.tlb.borrow_mut();
        match stale {
            Stale::Range { start, end } => {
                tlb.invalidate_range(start, end);
                let nr_pages = end.saturating_sub(start).div_ceil(LeafSize::Size4K.bytes());
                self.count(|counters| counters.invlpgs += nr_pages);
            }
            Stale::Everything => {
                tlb.clear();
                self.count(|counters| counters.root_loads += 1);
            }
        }
    }
}

/// A handle to one CPU of a [`Machine`].
#[derive(Clone, Copy)]
pub struct MachineCpu<'m> {
    pub(crate) machine: &'m Machine,
    pub(crate) number: u32,
    pub(crate) state: &'m State,
}

/// Registers.
impl<'m> MachineCpu<'m> {
    #[inline]
    pub(crate) fn new(machine: &'m Machine, number: u32, state: &'m State) -> Self {
        Self {
            machine,
            number,
            state,
        }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &'m Machine {
        self.machine
    }

    /// The bits of CR0 and CR4.
    #[must_use]
    pub fn controls(&self) -> Controls {
        self.state.controls.get()
    }

    /// MOV to CR0 and CR4. Setting SMEP drops the TLB's entries; no other of these bits does.
    pub fn set_controls(&self, controls: Controls) {
        if controls.smep && !self.controls().smep {
            self.state.tlb.borrow_mut().clear();
        }
        self.state.controls.set(controls);
    }

    /// CR3, if it was loaded.
    #[must_use]
    pub fn root(&self) -> Option<PhysAddr> {
        self.state.root.get()
    }

    /// EFLAGS.AC.
    #[must_use]
    pub fn ac(&self) -> bool {
        self.state.ac.get()
    }

    /// STAC and CLAC.
    pub fn set_ac(&self, ac: bool) {
        self.state.ac.set(ac);
    }

    /// An access as the CPU's registers are now.
    #[inline]
    pub(crate) fn request(&self, mode: Privilege, access: Access) -> Request {
        Request {
            access,
            mode,
            controls: self.state.controls.get(),
            pkru: self.state.pkru.get(),
            pkrs: self.state.pkrs.get(),
            ac: self.state.ac.get(),
        }
    }

    /// RDMSR. The one register of this kind is PKRS, also while CR4.PKS is clear.
    ///
    /// # Errors
    ///
    /// [`Exception::GeneralProtection`] for any other number.
    pub fn read_msr(&self, number: u32) -> Result<u64, Exception> {
        match number {
            x86::PKRS_MSR => Ok(self.state.pkrs.get().bits().into()),
            _ => Err(Exception::GeneralProtection),
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    ///
    /// [`Exception::GeneralProtection`] for a number other than PKRS's, and for a value with a bit above 31.
    pub fn write_msr(&self, number: u32, value: u64) -> Result<(), Exception> {
        let value = u32::try_from(value).ok();
        let (x86::PKRS_MSR, Some(value)) = (number, value) else {
            return Err(Exception::GeneralProtection);
        };
        self.state.count(|counters| counters.msr_writes += 1);
        self.state.pkrs.set(KeyRegister::from_bits(value));
        Ok(())
    }

    /// INVLPG. An address that is not canonical is ignored.
    pub fn invlpg(&self, addr: u64) {
        self.state.count(|counters| counters.invlpgs += 1);
        self.state.tlb.borrow_mut().invalidate(addr);
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.counters.get()
    }

    /// What the TLB holds for an address.
    #[must_use]
    pub fn tlb_entry(&self, addr: u64) -> Option<Mapping> {
        self.state.tlb.borrow().get(addr)
    }

    /// How many pages the TLB holds.
    #[must_use]
    pub fn tlb_len(&self) -> usize {
        self.state.tlb.borrow().len()
    }
}

impl Cpu for MachineCpu<'_> {
    fn id(&self) -> u32 {
        self.number
    }

    fn has_pku(&self) -> bool {
        self.controls().pke
    }

    /// # Panics
    ///
    /// With CR4.PKE clear, where RDPKRU raises #UD.
    #[inline]
    fn read_pkru(&self) -> KeyRegister {
        assert!(self.has_pku(), "RDPKRU with CR4.PKE clear");
        self.state.pkru.get()
    }

    /// # Panics
    ///
    /// With CR4.PKE clear, where WRPKRU raises #UD.
    #[inline]
    fn write_pkru(&self, pkru: KeyRegister) {
        assert!(self.has_pku(), "WRPKRU with CR4.PKE clear");
        self.state.count(|counters| counters.pkru_writes += 1);
        self.state.pkru.set(pkru);
    }

    fn load_root(&self, root: PhysAddr) {
        self.state.root.set(Some(root));
        self.state.forget(Stale::Everything);
    }

    fn flush(&self, stale: Stale) {
        self.state.forget(stale);
    }

    fn shoot_down(&self, others: CpuSet, root: PhysAddr, stale: Stale) {
        for other in self.machine.cpus() {
            if other.number == self.number || !others.contains(other.number) {
                continue;
            }
            self.state.count(|counters| counters.shoot_downs_sent += 1);
            other
                .state
                .count(|counters| counters.shoot_downs_received += 1);
            if other.root() == Some(root) {
                other.state.forget(stale);
            }
        }
    }

    fn read_user(&self, addr: u64, into: &mut [u8]) -> Result<(), UserAccessFault> {
        self.copy_from_user(addr, into)
    }

    fn write_user(&self, addr: u64, bytes: &[u8]) -> Result<(), UserAccessFault> {
        self.copy_to_user(addr, bytes)
    }
}

impl fmt::Debug for MachineCpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineCpu")
            .field("number", &self.number)
            .field("state", self.state)
            .finish_non_exhaustive()
    }
}
