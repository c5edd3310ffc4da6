//! PKRU: rights to user pages, as a part of a thread's state.
//!
//! The kernel leaves a program's value in effect while it works for the program, and exchanges it when it switches threads.
//! Writing it costs more than reading it, so that it is compared first.

#![allow(unsafe_code, reason = "WRPKRU")]

use pkeys_arch::Pku;
use pkeys_core::KeyRegister;

/// Proof that the instructions exist.
fn pku() -> Pku {
    // SAFETY: (1) the kernel runs on CPUs with PKU alone, and sets CR4.PKE before anything calls this (`features`); the parts
    // of the probe that `Missing` names were asked there one by one.
    unsafe { Pku::assume() }
}

/// RDPKRU.
pub(crate) fn read() -> KeyRegister {
    pku().read()
}

/// WRPKRU, where that changes something.
pub(crate) fn load(value: KeyRegister) {
    let pku = pku();
    if pku.read() != value {
        // SAFETY: (1) the kernel's memory is supervisor pages. (2) The value is the thread's own.
        unsafe { pku.write(value) };
    }
}
