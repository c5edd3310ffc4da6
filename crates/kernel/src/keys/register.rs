//! Access to the register of user keys: the one trait that both a kernel's CPU and user space can implement.
//!
//! Every [`Cpu`] is one. A kernel that adopts only the key parts, or a program in user space, implements it directly, with
//! two instructions.

use pkeys_core::KeyRegister;

use crate::hardware::Cpu;

/// The PKRU of the thread that runs on this CPU.
pub trait PkruRegister {
    /// RDPKRU.
    fn read(&self) -> KeyRegister;

    /// WRPKRU.
    fn write(&self, pkru: KeyRegister);
}

impl<C: Cpu + ?Sized> PkruRegister for C {
    fn read(&self) -> KeyRegister {
        self.read_pkru()
    }

    fn write(&self, pkru: KeyRegister) {
        self.write_pkru(pkru);
    }
}
