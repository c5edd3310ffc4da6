//! The register as a part of a thread: who inherits it, who starts anew, and when it is loaded.
//!
//! | event | PKRU |
//! |---|---|
//! | `clone`, `fork` | the child has what its creator has at the call |
//! | `execve` | the initial value |
//! | signal handler starts | the initial value; the interrupted value lies in the frame |
//! | handler returns | what the frame says |
//! | switch to a thread | that thread's value, written only if the register has another one |
//!
//! PKRU is not a part of the state that a kernel saves lazily with XSAVE: user space can change it with one instruction,
//! and the kernel's own accesses to user memory are checked against it, so it has to be right from the switch on.
//!
//! # Changes by read, modify, write
//!
//! A system call changes two bits of the register: it reads, replaces the bits, and writes. Between the read and the
//! write the thread may be preempted, run elsewhere, and come back: its register travels with it, so the value read is
//! still its value. The one thing that changes a thread's register meanwhile is the watchdog, on a timer interrupt, and
//! it leaves alone a thread that is in the midst of a change ([`ThreadKeys::is_changing`]).
//!
//! To start over when a tick came in between would make the register right as well, but not the watchdog's findings. What
//! a thread was given and what its register has are two words; whichever is written first, a tick between the two sees
//! them differ and reports a stray change that there was not. It would also have to be kept from `granted`, which it
//! writes too. So the thread says when it is at it:
//!
//! * The flag is set before the first of the two words is touched and cleared after the last, in program order, and an
//!   interrupt on the same CPU sees program order; compiler fences keep the compiler to it. A tick comes before, and its
//!   repair is complete when the change begins; or after, and both words are new; or in between, and does nothing.
//! * If the thread is preempted in between, ticks look at other threads, which have flags of their own. If it goes on
//!   elsewhere, the scheduler's own ordering between the CPUs carries all fields along.
//! * Nothing waits for anything, so that nothing can wait for ever. A change is a few instructions in the kernel; what
//!   a tick passed over, the next one finds.
//!
//! Changes do not nest: none is begun by an interrupt, and a signal is delivered when the system call is done.
//! [`ThreadKeys::switch_to`] is called with interrupts off, as a kernel switches threads, so that no tick takes the one
//! thread's register for the other's.
//!
//! Source: Linux `arch/x86/kernel/process_64.c` (`x86_pkru_load`), `arch/x86/kernel/process.c` (`copy_thread`,
//! `flush_thread`), `arch/x86/kernel/fpu/core.c`.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, compiler_fence};

use pkeys_core::{AccessBits, KeyRegister, Pkey};

use crate::keys::{InitPkru, PkruRegister};
use crate::mutant::{self, Mutant};

/// What a thread knows of its own register.
///
/// The fields are atomics only so that an interrupt on the same CPU may use them; threads do not share them.
#[derive(Debug)]
pub struct ThreadKeys {
    /// The register of a thread that is not running. Of a running one the register itself is true.
    saved: AtomicU32,
    /// What the kernel last put into the register for this thread: the watchdog's measure.
    granted: AtomicU32,
    /// The kernel is changing the register and `granted`, in two steps.
    is_changing: AtomicBool,
}

impl ThreadKeys {
    /// The first thread of all: it has the initial value.
    #[must_use]
    pub const fn new(init: InitPkru) -> Self {
        Self::with(init.register(), init.register())
    }

    const fn with(saved: KeyRegister, granted: KeyRegister) -> Self {
        Self {
            saved: AtomicU32::new(saved.bits()),
            granted: AtomicU32::new(granted.bits()),
            is_changing: AtomicBool::new(false),
        }
    }

    /// A thread that the running one makes by `clone(2)` or `fork(2)`: it inherits the register as it is now. What the kernel
    /// gave it is what the kernel gave its creator, so that a stray right is not made good by handing it on.
    #[must_use]
    pub fn inherit(&self, register: &dyn PkruRegister, init: InitPkru) -> Self {
        if mutant::is(Mutant::CloneResetsPkru) {
            return Self::new(init);
        }
        Self::with(register.read(), self.granted())
    }

    /// `execve(2)`: the running thread starts anew.
    pub fn exec(&self, register: &dyn PkruRegister, init: InitPkru) {
        if mutant::is(Mutant::ExecKeepsPkru) {
            return;
        }
        self.load(init.register(), register);
    }

    /// Switches from this thread to another on the CPU with this register: keeps the one's value, and loads the other's
    /// if it differs. Called with interrupts off.
    pub fn switch_to(&self, next: &Self, register: &dyn PkruRegister) {
        let live = register.read();
        self.saved.store(live.bits(), Relaxed);
        let wanted = next.saved();
        if wanted != live {
            register.write(wanted);
        }
    }

    /// Loads the register of a thread onto a CPU on which none ran before.
    pub fn first_switch(&self, register: &dyn PkruRegister) {
        let wanted = self.saved();
        if register.read() != wanted {
            register.write(wanted);
        }
    }

    /// The running thread leaves its CPU, and none follows: keeps its value.
    pub fn save(&self, register: &dyn PkruRegister) {
        self.saved.store(register.read().bits(), Relaxed);
    }

    /// A signal handler begins: the register becomes the initial value. Gives the interrupted value, for the frame.
    pub fn enter_handler(&self, register: &dyn PkruRegister, init: InitPkru) -> KeyRegister {
        if mutant::is(Mutant::HandlerKeepsPkru) {
            return register.read();
        }
        self.change(|| self.replace(init.register(), register))
    }

    /// The kernel gives the running thread a register: at the return from a handler, or when a tracer sets it.
    pub fn load(&self, pkru: KeyRegister, register: &dyn PkruRegister) {
        self.change(|| self.replace(pkru, register));
    }

    /// Gives and writes a register, and says what it was.
    fn replace(&self, pkru: KeyRegister, register: &dyn PkruRegister) -> KeyRegister {
        self.granted.store(pkru.bits(), Relaxed);
        let before = register.read();
        if before != pkru {
            register.write(pkru);
        }
        before
    }

    /// Changes one key's bits for the running thread and leaves all others, whatever interrupts it on the way.
    pub fn set(&self, pkey: Pkey, bits: AccessBits, register: &dyn PkruRegister) {
        let bits = if mutant::is(Mutant::AdAndWdSwapped) {
            AccessBits::truncate(bits.bits() >> 1 | bits.bits() << 1)
        } else {
            bits
        };
        self.change(|| {
            let granted = self.granted().with(pkey, bits);
            self.granted.store(granted.bits(), Relaxed);
            if mutant::is(Mutant::AllocOverwritesPkru) {
                register.write(KeyRegister::LINUX_INIT.with(pkey, bits));
                return;
            }
            let before = register.read();
            let after = before.with(pkey, bits);
            if after != before {
                register.write(after);
            }
        });
    }

    /// Changes the register and `granted` with the watchdog kept away.
    fn change<T>(&self, step: impl FnOnce() -> T) -> T {
        self.is_changing.store(true, Relaxed);
        compiler_fence(SeqCst);
        let result = step();
        compiler_fence(SeqCst);
        self.is_changing.store(false, Relaxed);
        result
    }

    /// The value of a thread that is not running: for `ptrace(2)`, core files, and a debugger.
    #[must_use]
    pub fn saved(&self) -> KeyRegister {
        KeyRegister::from_bits(self.saved.load(Relaxed))
    }

    /// Sets the value of a thread that is not running, as `PTRACE_SETREGSET` does.
    pub fn set_saved(&self, pkru: KeyRegister) {
        self.saved.store(pkru.bits(), Relaxed);
        self.granted.store(pkru.bits(), Relaxed);
    }

    /// What the kernel last gave the thread.
    #[must_use]
    pub fn granted(&self) -> KeyRegister {
        KeyRegister::from_bits(self.granted.load(Relaxed))
    }

    /// Whether the kernel is in the midst of changing the register: the watchdog's question about the thread that it
    /// interrupted.
    pub(super) fn is_changing(&self) -> bool {
        self.is_changing.load(Relaxed)
    }

    /// What the thread counts as having been given from now on. The watchdog's note about the thread that it interrupted: it
    /// strikes out rights on keys that are not allocated.
    pub(super) fn set_granted(&self, granted: KeyRegister) {
        self.granted.store(granted.bits(), Relaxed);
    }
}
