//! Who makes a call.

use crate::hardware::Cpu;
use crate::keys::{PkruRegister, ThreadKeys};

/// What a call knows of its caller: the CPU that it runs on, and the thread's keys.
#[derive(Debug)]
pub struct Caller<'a, C: Cpu> {
    /// The CPU.
    pub cpu: &'a C,
    /// What the running thread knows of its register.
    pub keys: &'a ThreadKeys,
}

impl<'a, C: Cpu> Caller<'a, C> {
    /// The register, or `None` where the CPU has no keys.
    #[must_use]
    pub fn register(&self) -> Option<&'a dyn PkruRegister> {
        if self.cpu.has_pku() {
            Some(self.cpu)
        } else {
            None
        }
    }
}

impl<C: Cpu> Clone for Caller<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Cpu> Copy for Caller<'_, C> {}
