//! What a test program can do, whichever kernel is under it.
//!
//! A case of the catalogue and a random program are written once, against [`System`], and run on Linux (real
//! instructions, real processes) and on the kernel library (the software machine). So the trait has what a program has:
//! instructions that touch memory, the key register, system calls, signal handlers, other threads and processes. Its
//! answers are what a program can see, and nothing else.
//!
//! Everything goes in lock step. A [`Peer`], a thread or a process, does nothing until it is asked to run a [`Task`], and
//! the asker waits until the task is done: two runs of one program see the same.
//!
//! A fault does not end the program. The handler that every back end installs notes what it was told, steps over the
//! instruction, and the access answers `Err` with the note; [`System::with_handler`] puts something else in its place.

use core::ops::Range;

/// A number that a system call gave: a value, or an error number negated.
pub type Raw = i64;

/// What a peer can be asked to run: a plain function, so that it can be called in another process as well.
pub type Task = fn(&mut dyn System, u64) -> u64;

/// What runs in place of the handler that steps over faults.
pub type Handler<'a> = &'a mut dyn FnMut(&mut dyn System, &mut dyn Frame);

/// What a signal handler was told, and what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal {
    /// The signal's number.
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`; 0 for signals that have none.
    pub addr: u64,
    /// `si_pkey`; 0 but for `SEGV_PKUERR`.
    pub pkey: u32,
    /// `REG_ERR` in the frame, the error code of the last fault.
    pub err: u64,
    /// `REG_TRAPNO` in the frame.
    pub trapno: u64,
    /// `REG_CR2` in the frame.
    pub cr2: u64,
    /// PKRU as the handler found it.
    pub pkru_in_handler: u32,
    /// PKRU in the frame, as it comes back with the return from the handler.
    pub pkru_in_frame: u32,
    /// Whether the handler ran on the alternate stack.
    pub is_on_altstack: bool,
}

/// The frame of the interrupted code, as a handler can read and change it.
pub trait Frame {
    /// What the handler was told.
    fn signal(&self) -> Signal;

    /// Changes the PKRU that the interrupted code gets back, as a careful program does: the value, and bit 9 of
    /// `XSTATE_BV`.
    fn set_pkru(&mut self, pkru: u32);

    /// Clears bit 9 of `XSTATE_BV`: the interrupted code gets the initial value, all keys open.
    fn clear_pkru_in_xstate_bv(&mut self);

    /// Lets the interrupted code go on behind the instruction that faulted. Without this call it is tried again.
    fn skip(&mut self);
}

/// One access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Reads a byte.
    Read(u64),
    /// Writes a byte.
    Write(u64, u8),
    /// Calls the address. The code there is one RET, which the program put there.
    Call(u64),
    /// A system call by its number and arguments.
    Syscall(u64, [u64; 6]),
    /// Sends a signal to this very thread: `tgkill(getpid(), gettid(), signo)`.
    Raise(i32),
}

/// An act under a PKRU, and perhaps on a stack, of its own: for acts with key 0 closed, which ordinary code does not
/// survive. From the change of the register to its restoration nothing is touched but by the act itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bare {
    /// The register during the act.
    pub pkru: u32,
    /// The top of the stack during the act; the program's own where there is none.
    pub stack: Option<u64>,
    /// What is done.
    pub act: Act,
}

/// What came of a [`Bare`] act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BareOutcome {
    /// As the same act outside would have answered: the byte, or the call's result. A signal that [`Act::Raise`] sent
    /// and that was delivered is an `Err` as well.
    pub result: Result<Raw, Signal>,
    /// PKRU directly behind the act.
    pub pkru_after: u32,
}

/// Another thread of this process, or a child process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub u32);

/// What came of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It returned this.
    Done(u64),
    /// Its process was killed by this signal.
    Killed(i32),
    /// Its process ended itself with this status.
    Exited(i32),
}

/// The ground a program stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ground {
    /// Linux of this version.
    Linux {
        /// Its first number.
        major: u32,
        /// Its second number.
        minor: u32,
    },
    /// The kernel library on the software machine.
    Machine,
}

/// A program's view of its thread.
pub trait System {
    /// What is underneath.
    fn ground(&self) -> Ground;

    /// Addresses that nothing is mapped to and that `MAP_FIXED` may use: the same on every ground, 1 GiB and aligned to it.
    fn arena(&self) -> Range<u64>;

    /// Memory with key 0, writable, for what system calls read and write: at least 64 KiB, zero at first, the same for
    /// the whole life of the thread, and not the same for any other.
    fn scratch(&mut self) -> Range<u64>;

    /// Makes a system call.
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Raw;

    /// Reads a byte with one instruction.
    ///
    /// # Errors
    ///
    /// The signal that the access got.
    fn read(&mut self, addr: u64) -> Result<u8, Signal>;

    /// Writes a byte with one instruction.
    ///
    /// # Errors
    ///
    /// The signal that the access got.
    fn write(&mut self, addr: u64, value: u8) -> Result<(), Signal>;

    /// Calls the address, where the program has put a RET (0xC3).
    ///
    /// # Errors
    ///
    /// The signal that the fetch got.
    fn call(&mut self, addr: u64) -> Result<(), Signal>;

    /// Reads PKRU.
    fn rdpkru(&mut self) -> u32;

    /// Writes PKRU. It must leave key 0 open; use [`System::bare`] for what closes it.
    fn wrpkru(&mut self, pkru: u32);

    /// Loads PKRU's initial state with XRSTOR, from an area whose `XSTATE_BV` has bit 9 clear.
    fn xrstor_initial_pkru(&mut self);

    /// Does one thing under a register and perhaps on a stack of its own, then puts both back.
    fn bare(&mut self, bare: Bare) -> BareOutcome;

    /// Gives this thread an alternate signal stack (`SS_DISABLE` where there is no range) and answers what
    /// `sigaltstack(2)` did. Handlers use it from then on.
    fn set_altstack(&mut self, stack: Option<Range<u64>>) -> Raw;

    /// Sends a signal to this very thread and waits until it was delivered. The answer is what the handler was told.
    ///
    /// # Errors
    ///
    /// The error number of `tgkill(2)`.
    fn raise(&mut self, signo: i32) -> Result<Signal, i32>;

    /// Runs `body` with another handler for `SIGSEGV` and `SIGUSR1` on this thread.
    fn with_handler(&mut self, handler: Handler<'_>, body: &mut dyn FnMut(&mut dyn System));

    /// Starts a thread of this process. It has what `clone(2)` gives it.
    fn thread(&mut self) -> Peer;

    /// Starts a child process by `fork(2)`.
    fn fork(&mut self) -> Peer;

    /// Starts a child process by `fork(2)`, in which `execve(2)` then starts this program anew; its answers are those
    /// of the new program.
    fn fork_and_exec(&mut self) -> Peer;

    /// Lets a peer run a task and waits for it.
    fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer;

    /// Ends a peer, which is gone afterwards: a thread by its return, a process by `exit_group(0)`.
    fn end(&mut self, peer: Peer);

    /// The number by which system calls know this thread, or a peer: `gettid(2)`, or a child's process id.
    fn id(&mut self, peer: Option<Peer>) -> u64;

    /// Reads a byte of this process through `/proc/self/mem`.
    ///
    /// # Errors
    ///
    /// The error number.
    fn proc_mem_read(&mut self, addr: u64) -> Result<u8, i32>;

    /// Writes a byte of this process through `/proc/self/mem`.
    ///
    /// # Errors
    ///
    /// The error number.
    fn proc_mem_write(&mut self, addr: u64, value: u8) -> Result<(), i32>;

    /// The mapping that holds an address, as `/proc/self/smaps` shows it: protection as `PROT_*` bits, and the number on
    /// the line `ProtectionKey:`, which is missing where the kernel has no keys.
    fn smaps(&mut self, addr: u64) -> Option<(u32, Option<u32>)>;
}
