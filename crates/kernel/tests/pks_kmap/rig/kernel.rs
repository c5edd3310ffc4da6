//! The kernel around the regions: its page tables and its other CPUs.

use core::fmt;

use pkeys_core::{Knobs, Pkey, pte};
use pkeys_kernel::hardware::PhysMemory;
use pkeys_kernel::pks::region::{Host, Pages};

use super::{BASE, Broken, Rig, ThisCpu};

/// The kernel around the regions.
#[derive(Clone, Copy)]
pub(crate) struct Kernel(ThisCpu);

impl Kernel {
    pub(crate) fn of(rig: &'static Rig) -> Self {
        Self(ThisCpu(rig))
    }

    fn rig(&self) -> &'static Rig {
        self.0.0
    }

    fn is(&self, broken: Broken) -> bool {
        self.rig().broken.get() == Some(broken)
    }
}

/// There was no memory for a page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory")
    }
}

impl core::error::Error for NoMemory {}

impl Host for Kernel {
    type Cpu = ThisCpu;
    type Error = NoMemory;

    fn cpu(&self) -> &Self::Cpu {
        &self.0
    }

    fn knobs(&self) -> Knobs {
        self.rig().pks.knobs()
    }

    fn set_pkey(&self, pages: Pages, pkey: Pkey) -> Result<(), NoMemory> {
        let rig = self.rig();
        rig.called("set_pkey");
        for page in pages.iter() {
            let mut failing = rig.failing.borrow_mut();
            let is_failing = failing.first() == Some(&0);
            if let Some(next) = failing.first_mut() {
                *next = next.saturating_sub(1);
            }
            if is_failing {
                failing.remove(0);
                return Err(NoMemory);
            }
            drop(failing);
            let number = (page.addr() - BASE) / 4096;
            let memory = rig.machine.memory();
            let at = rig.entry(usize::try_from(number).unwrap());
            memory.write_entry(at, pte::set(memory.read_entry(at), pkey));
            rig.probe("key changed");
        }
        Ok(())
    }

    fn shoot_down(&self, pages: Pages) {
        let rig = self.rig();
        rig.called("shoot_down");
        if self.is(Broken::NoShootDown) {
            return;
        }
        for (number, cpu) in (0..).zip(rig.machine.cpus()) {
            if self.is(Broken::OnlyThisCpuFlushes) && number != rig.executing.get() {
                continue;
            }
            for page in pages.iter() {
                cpu.invlpg(page.addr());
            }
            rig.probe("TLB told");
        }
    }

    fn refresh(&self) {
        let rig = self.rig();
        rig.called("refresh");
        if self.is(Broken::NoRefresh) {
            return;
        }
        for cpu in 0..rig.machine.nr_cpus() {
            rig.interrupt(cpu);
            rig.probe("register loaded");
        }
    }
}
