//! Test programs on the kernel library: a software machine with three CPUs, and the library as its kernel.
//!
//! What Linux does with instructions is done here with calls. An access goes to the CPU of the machine; when that refuses,
//! the kernel's entry for page faults is called with the thread's registers, as entry code would; and when the registers
//! come back pointing to the handler, the handler runs here: it reads the signal frame out of the thread's stack, edits it
//! there, and makes the system call `rt_sigreturn`. So everything between the instruction and the handler, and back, is
//! the library's.
//!
//! A thread that is asked for something runs on its CPU, which is decided when it starts; others stay where they are.
//! Threads of one process are on different CPUs at once, so that their TLBs hold what a forgotten shoot-down leaves.
//!
//! The rules that [`crate::linux`] states hold here as well: the same alternate stacks at the same addresses, the same
//! signals with the same flags, a handler that opens every key before it touches its stack.
//!
//! | file | what |
//! |---|---|
//! | `world` | the machine, its kernel, and how a program starts |
//! | `thread` | what a thread does: instructions, system calls, faults |
//! | `frame` | the signal frame, in the thread's memory |
//! | `peer` | threads and processes, in lock step |

mod frame;
mod peer;
mod thread;
mod world;

use core::ops::Range;

use pkeys_core::KeyRegister;
use pkeys_kernel::abi::nr;
use pkeys_kernel::hardware::Cpu as _;

pub use world::{Ended, Settings, run};

use self::frame::Custom;
use self::thread::Thread;
use crate::system::{
    Act, Answer, Bare, BareOutcome, Ground, Handler, Peer, Raw, Signal, System, Task,
};

/// As on Linux, see [`crate::linux`].
const ARENA: Range<u64> = 0x1000_0000_0000..0x1000_4000_0000;

/// A test program's view of one of its threads, on the machine.
struct MachineSystem<'t, 'w, 'm, 'h> {
    thread: &'t mut Thread<'w, 'm>,
    /// What runs in place of the handler that steps over.
    custom: Custom<'h>,
}

impl<'t, 'w, 'm> MachineSystem<'t, 'w, 'm, 'static> {
    fn new(thread: &'t mut Thread<'w, 'm>) -> Self {
        Self {
            thread,
            custom: None,
        }
    }
}

impl MachineSystem<'_, '_, '_, '_> {
    /// The arguments of `tgkill(2)` for a signal to this thread.
    fn to_myself(&self, signo: i32) -> [u64; 6] {
        let [pid, tid, signo] =
            [self.thread.pid(), self.thread.tid(), signo].map(|n| u64::from(n.cast_unsigned()));
        [pid, tid, signo, 0, 0, 0]
    }

    fn act(&mut self, act: Act) -> Result<Raw, Signal> {
        match act {
            Act::Read(addr) => self.read(addr).map(Raw::from),
            Act::Write(addr, value) => self.write(addr, value).map(|()| 0),
            Act::Call(addr) => self.call(addr).map(|()| 0),
            Act::Syscall(nr, args) => Ok(self.syscall(nr, args)),
            Act::Raise(signo) => {
                self.thread.forget_note();
                let result = self.syscall(nr::TGKILL, self.to_myself(signo));
                self.thread.noted().map_or(Ok(result), Err)
            }
        }
    }
}

impl System for MachineSystem<'_, '_, '_, '_> {
    fn ground(&self) -> Ground {
        Ground::Machine
    }

    fn arena(&self) -> Range<u64> {
        ARENA
    }

    fn scratch(&mut self) -> Range<u64> {
        self.thread.slot().scratch()
    }

    #[inline]
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Raw {
        let Self { thread, custom } = self;
        thread.syscall(nr, args, custom)
    }

    #[inline]
    fn read(&mut self, addr: u64) -> Result<u8, Signal> {
        let Self { thread, custom } = self;
        thread.read(addr, custom)
    }

    #[inline]
    fn write(&mut self, addr: u64, value: u8) -> Result<(), Signal> {
        let Self { thread, custom } = self;
        thread.write(addr, value, custom)
    }

    #[inline]
    fn call(&mut self, addr: u64) -> Result<(), Signal> {
        let Self { thread, custom } = self;
        thread.call(addr, custom)
    }

    #[inline]
    fn rdpkru(&mut self) -> u32 {
        self.thread.cpu().read_pkru().bits()
    }

    #[inline]
    fn wrpkru(&mut self, pkru: u32) {
        self.thread.cpu().write_pkru(KeyRegister::from_bits(pkru));
    }

    fn xrstor_initial_pkru(&mut self) {
        self.thread.cpu().write_pkru(KeyRegister::ALL_OPEN);
    }

    fn bare(&mut self, bare: Bare) -> BareOutcome {
        let before = self.rdpkru();
        let stack = self.thread.exchange_stack(bare.stack);
        self.wrpkru(bare.pkru);
        let result = self.act(bare.act);
        let pkru_after = self.rdpkru();
        self.wrpkru(before);
        self.thread.exchange_stack(Some(stack));
        BareOutcome { result, pkru_after }
    }

    fn set_altstack(&mut self, stack: Option<Range<u64>>) -> Raw {
        self.thread.set_altstack(stack)
    }

    fn raise(&mut self, signo: i32) -> Result<Signal, i32> {
        self.thread.forget_note();
        let args = self.to_myself(signo);
        let result = self.syscall(nr::TGKILL, args);
        let errno = i32::try_from(-result).unwrap_or(0);
        self.thread.noted().ok_or(errno)
    }

    fn with_handler(&mut self, handler: Handler<'_>, body: &mut dyn FnMut(&mut dyn System)) {
        let mut inner = MachineSystem {
            thread: &mut *self.thread,
            custom: Some(handler),
        };
        body(&mut inner);
    }

    fn thread(&mut self) -> Peer {
        self.thread.start_thread()
    }

    fn fork(&mut self) -> Peer {
        self.thread.fork()
    }

    fn fork_and_exec(&mut self) -> Peer {
        self.thread.fork_and_exec()
    }

    fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer {
        self.thread.ask(peer, task, arg)
    }

    fn end(&mut self, peer: Peer) {
        self.thread.end(peer);
    }

    fn id(&mut self, peer: Option<Peer>) -> u64 {
        let id = match peer {
            None => self.thread.tid(),
            Some(peer) => self.thread.peer_id(peer),
        };
        u64::from(id.cast_unsigned())
    }

    fn proc_mem_read(&mut self, addr: u64) -> Result<u8, i32> {
        self.thread.proc_mem_read(addr)
    }

    fn proc_mem_write(&mut self, addr: u64, value: u8) -> Result<(), i32> {
        self.thread.proc_mem_write(addr, value)
    }

    fn smaps(&mut self, addr: u64) -> Option<(u32, Option<u32>)> {
        self.thread.smaps(addr)
    }
}
