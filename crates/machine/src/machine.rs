//! The machine: CPUs that share memory.
//!
//! [`Machine::cpu`] gives a handle to one of the CPUs; code of the kernel library that is called with it executes there.
//! Handles can be had as often as one likes and copied. All of it is for one thread of the host: what several CPUs do
//! happens in the order in which the test does it.

use crate::cpu::{MachineCpu, State};
use crate::memory::Memory;

/// CPUs and memory.
#[derive(Debug)]
pub struct Machine {
    memory: Memory,
    cpus: Vec<State>,
}

impl Machine {
    /// A machine with so many CPUs, and memory up to a limit. The CPUs have [`crate::Controls::LINUX`], key registers of
    /// zero, and no page tables yet.
    ///
    /// # Panics
    ///
    /// If there are more than 64 CPUs, which a [`pkeys_kernel::hardware::CpuSet`] could not hold.
    #[must_use]
    pub fn new(nr_cpus: u32, memory_bytes: u64) -> Self {
        assert!(nr_cpus <= 64, "{nr_cpus} CPUs are more than 64");
        Self {
            memory: Memory::new(memory_bytes),
            cpus: (0..nr_cpus).map(|_| State::default()).collect(),
        }
    }

    /// The physical memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A CPU, by its number from 0.
    ///
    /// # Panics
    ///
    /// If there is none of that number.
    #[must_use]
    #[inline]
    pub fn cpu(&self, number: u32) -> MachineCpu<'_> {
        let state = self.state(number);
        let state = state.unwrap_or_else(|| panic!("no CPU {number} of {}", self.cpus.len()));
        MachineCpu::new(self, number, state)
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn nr_cpus(&self) -> u32 {
        // At most 64.
        u32::try_from(self.cpus.len()).unwrap_or(u32::MAX)
    }

    /// All CPUs.
    pub fn cpus(&self) -> impl Iterator<Item = MachineCpu<'_>> {
        (0..self.nr_cpus()).map(|number| self.cpu(number))
    }

    fn state(&self, number: u32) -> Option<&State> {
        self.cpus.get(usize::try_from(number).ok()?)
    }
}
