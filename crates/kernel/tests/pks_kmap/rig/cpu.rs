//! The CPU that executes: its register, its cache, and the context that runs on it.

use core::ptr;

use pkeys_core::{KeyRegister, x86};
use pkeys_kernel::pks::kmap::Sharing;
use pkeys_kernel::pks::{Context, PksCpu};
use pkeys_machine::Controls;

use super::{Broken, CpuState, Rig};

/// The CPU that executes.
#[derive(Clone, Copy)]
pub(crate) struct ThisCpu(pub(crate) &'static Rig);

impl ThisCpu {
    fn state(&self) -> &CpuState {
        &self.0.cpus[self.0.executing.get() as usize]
    }
}

impl PksCpu for ThisCpu {
    fn write_pkrs(&self, value: KeyRegister) {
        self.0.step();
        let cpu = self.0.machine.cpu(self.0.executing.get());
        cpu.write_msr(x86::PKRS_MSR, value.bits().into()).unwrap();
    }

    fn cached(&self) -> u64 {
        self.0.step();
        self.state().cached.get()
    }

    fn set_cached(&self, value: u64) {
        self.0.step();
        self.state().cached.set(value);
    }

    fn enable(&self) {
        self.0
            .machine
            .cpu(self.0.executing.get())
            .set_controls(Controls {
                pks: true,
                ..Controls::LINUX
            });
    }

    fn closed(&self) -> KeyRegister {
        self.0.step();
        self.0.pks.closed()
    }

    fn sharing(&self) -> Sharing {
        self.0.step();
        if self.0.broken.get() == Some(Broken::SharingUnknown) {
            return Sharing::NONE;
        }
        self.0.keys().sharing()
    }

    fn current(&self) -> &Context {
        self.0.step();
        &self.0.contexts[self.state().current.get()]
    }

    fn set_current(&self, context: &Context) {
        self.0.step();
        let mut contexts = self.0.contexts.iter();
        let number = contexts.position(|known| ptr::eq(known, context)).unwrap();
        self.state().current.set(number);
    }
}
