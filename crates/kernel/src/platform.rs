//! What the library needs of the kernel around it.
//!
//! The hardware is behind [`crate::hardware`]; this is the rest: which lock is used, whose page tables, how a thread is
//! brought to run, where programs come from. Everything but the types has a default, so that a kernel may begin with
//! four lines.
//!
//! # Scheduling
//!
//! The library has no scheduler and no kernel stacks. A system call runs to its end on the CPU that made it. One that has
//! to wait leaves its thread blocked and the CPU idle ([`crate::Outcome::Blocked`]); when the thread can go on,
//! [`Platform::wake`] names it, and the scheduler puts it onto a CPU with [`crate::Kernel::switch_to`], where the call is
//! started over. So the surrounding kernel needs one stack for each CPU, and chooses threads as it likes.
//!
//! The functions here are called with locks of the library held. They must not call the library.

use alloc::vec::Vec;

use crate::abi::Errno;
use crate::hardware::{Cpu, PhysMemory};
use crate::memory::{Caller, Space, Tables};
use crate::task::ExitStatus;

/// The surrounding kernel.
pub trait Platform: Sized {
    /// Physical memory, as a handle: clones are the same memory.
    type Memory: PhysMemory + Clone;
    /// The lock. Where a timer interrupt may enter the library, one that disables interrupts.
    type Lock: lock_api::RawMutex;
    /// The page tables.
    type Tables: Tables<Memory = Self::Memory>;
    /// The CPUs.
    type Cpu: Cpu;

    /// A thread can run: it is new, or what it waited for has happened.
    fn wake(&self, tid: i32) {
        let _ = tid;
    }

    /// The thread that runs on this CPU has something to do before it goes on in user mode. If the CPU is in user mode, it
    /// has to come into the kernel soon (an inter-processor interrupt) and call [`crate::Kernel::deliver`]. May do nothing;
    /// then a signal to a thread that runs elsewhere arrives with its next system call, fault or tick.
    fn kick(&self, cpu: u32) {
        let _ = cpu;
    }

    /// A process has ended that has no parent to be told.
    fn ended(&self, pid: i32, status: ExitStatus) {
        let _ = (pid, status);
    }

    /// A program makes a system call that there is not, and gets `ENOSYS`.
    fn no_system_call(&self, nr: u64) {
        let _ = nr;
    }

    /// `execve(2)`, [`crate::Kernel::spawn`]: puts a program into an address space that is empty and not active, and says where it starts.
    ///
    /// # Errors
    ///
    /// What the call then gives to its caller, who goes on as if nothing had happened.
    fn load(
        &self,
        caller: &Caller<'_, Self::Cpu>,
        space: &Space<Self::Memory, Self::Lock, Self::Tables>,
        program: &Program,
    ) -> Result<Image, Errno> {
        let _ = (caller, space, program);
        Err(Errno::NoEntry)
    }

    /// What a program writes to descriptors 1 and 2.
    fn print(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// This CPU leaves an address space for none: it has to load tables of the kernel's own, since those that CR3 has may
    /// be given back at once. Where nothing walks tables that nobody asked for, nothing need be done.
    fn leave_space(&self, cpu: &Self::Cpu) {
        let _ = cpu;
    }

    /// XSAVE: the running thread's extended state into an area in the standard format, PKRU left out. Where nothing is
    /// done, the area is the state: a machine that has no such registers.
    fn save_xstate(&self, cpu: &Self::Cpu, area: &mut [u8]) {
        let _ = (cpu, area);
    }

    /// XRSTOR: the state of the thread that runs from now on, PKRU left out.
    fn load_xstate(&self, cpu: &Self::Cpu, area: &[u8]) {
        let _ = (cpu, area);
    }

    /// How long the machine has been running, in nanoseconds; it never goes back. `None` where there is no clock: then
    /// calls that need one give `ENOSYS`.
    ///
    /// A kernel that has a clock also calls [`crate::Kernel::wake_expired`] in time: see [`Platform::set_timer`].
    fn monotonic(&self) -> Option<u64> {
        None
    }

    /// The time since 1970, in nanoseconds. Without a clock that knows it, the machine was started in 1970, as on Linux.
    fn realtime(&self) -> Option<u64> {
        self.monotonic()
    }

    /// A thread waits until a time, as [`Platform::monotonic`] counts, and none waits for an earlier one:
    /// [`crate::Kernel::wake_expired`] is to be called then, on any CPU. May do nothing where that is called on each tick
    /// anyway.
    fn set_timer(&self, deadline: u64) {
        let _ = deadline;
    }

    /// Fills bytes with random ones. `false` where there are none to be had, and `getrandom(2)` gives `ENOSYS`.
    fn random(&self, bytes: &mut [u8]) -> bool {
        let _ = bytes;
        false
    }

    /// How many CPUs threads run on, which have the numbers from 0 on.
    fn nr_cpus(&self) -> u32 {
        1
    }
}

/// An address space of this platform.
pub type SpaceOf<P> =
    Space<<P as Platform>::Memory, <P as Platform>::Lock, <P as Platform>::Tables>;

/// What `execve(2)` was asked to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The path, without the zero at its end.
    pub path: Vec<u8>,
    /// The arguments.
    pub argv: Vec<Vec<u8>>,
    /// The environment.
    pub envp: Vec<Vec<u8>>,
}

/// Where a program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Its first instruction.
    pub entry: u64,
    /// Its stack pointer.
    pub stack: u64,
}
