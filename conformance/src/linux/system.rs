//! [`System`] on Linux: each operation is one of the stubs, a system call, or a request to a peer.
#![allow(
    unsafe_code,
    reason = "the instructions of test programs are called here"
)]

use core::ops::Range;
use core::ptr::NonNull;
use std::rc::Rc;

use pkeys_core::KeyRegister;

use super::asm::{BareAct, FAULTED};
use super::peers::Started;
use super::state::{Closure, Custom, State};
use super::{asm, proc_fs, process, thread};
use crate::system::{
    Act, Answer, Bare, BareOutcome, Ground, Handler, Peer, Raw, Signal, System, Task,
};

/// 1 GiB that no kernel maps anything to by itself: above programs and their heaps, far below libraries and stacks.
const ARENA: Range<u64> = 0x1000_0000_0000..0x1000_4000_0000;

/// A test program's view of one of its threads, on Linux.
pub struct LinuxSystem {
    pub(super) state: Rc<State>,
}

impl core::fmt::Debug for LinuxSystem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LinuxSystem")
            .field("tid", &self.state.tid)
            .finish_non_exhaustive()
    }
}

impl LinuxSystem {
    pub(super) fn new(state: Rc<State>) -> Self {
        Self { state }
    }

    /// The answer of an access, from what its stub gave.
    #[inline]
    fn answer(&self, given: u64) -> Result<u64, Signal> {
        if given == FAULTED {
            Err(self.state.note.get())
        } else {
            Ok(given)
        }
    }

    /// The arguments of `tgkill(2)` for a signal to this thread.
    fn to_myself(&self, signo: i32) -> [u64; 6] {
        let signo = u64::from(signo.cast_unsigned());
        [self.state.pid.get(), self.state.tid.get(), signo, 0, 0, 0]
    }

    fn started(&mut self, started: Started) -> Peer {
        self.state.peers.borrow_mut().add(started)
    }
}

impl System for LinuxSystem {
    fn ground(&self) -> Ground {
        self.state.ground
    }

    fn arena(&self) -> Range<u64> {
        ARENA
    }

    fn scratch(&mut self) -> Range<u64> {
        self.state.slot.scratch()
    }

    #[inline]
    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Raw {
        // SAFETY: what test programs change is the arena, their scratch memory and files of their own (1).
        unsafe { asm::syscall(nr, args) }
    }

    #[inline]
    fn read(&mut self, addr: u64) -> Result<u8, Signal> {
        // SAFETY: there is a state, and so a handler (1).
        let given = unsafe { asm::read(addr) };
        self.answer(given).map(|byte| byte.to_le_bytes()[0])
    }

    #[inline]
    fn write(&mut self, addr: u64, value: u8) -> Result<(), Signal> {
        // SAFETY: there is a state, and so a handler (1); test programs write to the arena and their scratch memory (2).
        let given = unsafe { asm::write(addr, value) };
        self.answer(given).map(drop)
    }

    #[inline]
    fn call(&mut self, addr: u64) -> Result<(), Signal> {
        // SAFETY: there is a state, and so a handler (1); the program answers for the RET (2).
        let given = unsafe { asm::call(addr) };
        self.answer(given).map(drop)
    }

    #[inline]
    fn rdpkru(&mut self) -> u32 {
        self.state.pku.read().bits()
    }

    #[inline]
    fn wrpkru(&mut self, pkru: u32) {
        // SAFETY: key 0, of which all memory of Rust's is, stays open, as the trait demands (1); the other keys are the
        // program's (2).
        unsafe { self.state.pku.write(KeyRegister::from_bits(pkru)) };
    }

    fn xrstor_initial_pkru(&mut self) {
        asm::xrstor_initial_pkru();
    }

    fn bare(&mut self, bare: Bare) -> BareOutcome {
        let act = BareAct::new(bare.act, |signo| self.to_myself(signo));
        self.state.is_noted.set(false);
        // SAFETY: as for the same acts above (1).
        let (given, pkru_after) = unsafe { asm::bare(bare.pkru, bare.stack.unwrap_or(0), act) };
        let result = match bare.act {
            Act::Read(_) | Act::Write(..) | Act::Call(_) => self.answer(given),
            Act::Raise(_) if self.state.is_noted.get() => Err(self.state.note.get()),
            Act::Raise(_) | Act::Syscall(..) => Ok(given),
        };
        BareOutcome {
            result: result.map(u64::cast_signed),
            pkru_after,
        }
    }

    fn set_altstack(&mut self, stack: Option<Range<u64>>) -> Raw {
        process::set_altstack(stack)
    }

    fn raise(&mut self, signo: i32) -> Result<Signal, i32> {
        self.state.is_noted.set(false);
        let args = self.to_myself(signo);
        let result = self.syscall(libc::SYS_tgkill.unsigned_abs(), args);
        if self.state.is_noted.get() {
            Ok(self.state.note.get())
        } else {
            Err(i32::try_from(-result).unwrap_or(0))
        }
    }

    fn with_handler(&mut self, handler: Handler<'_>, body: &mut dyn FnMut(&mut dyn System)) {
        struct Restore<'a>(&'a State, Option<Custom>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.custom.set(self.1);
            }
        }
        let handler: NonNull<Closure<'_>> = handler.into();
        // SAFETY: only the lifetime changes; the pointer leaves the cell before this function returns or unwinds, and a
        // handler that has taken it out runs inside of it.
        let handler = unsafe { core::mem::transmute::<NonNull<_>, Custom>(handler) };
        let state = self.state.clone();
        let _restore = Restore(&state, state.custom.replace(Some(handler)));
        body(self);
    }

    fn thread(&mut self) -> Peer {
        let thread = thread::start(&self.state);
        self.started(Started::Thread(thread))
    }

    fn fork(&mut self) -> Peer {
        let process = process::fork(&self.state);
        self.started(Started::Process(process))
    }

    fn fork_and_exec(&mut self) -> Peer {
        let process = process::fork_and_exec(&self.state);
        self.started(Started::Process(process))
    }

    fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer {
        // The table is not borrowed while the peer works.
        let started = self.state.peers.borrow().get(peer);
        started.ask(task, arg)
    }

    fn end(&mut self, peer: Peer) {
        let started = self.state.peers.borrow_mut().remove(peer);
        started.end();
    }

    fn id(&mut self, peer: Option<Peer>) -> u64 {
        match peer {
            None => self.state.tid.get(),
            Some(peer) => self.state.peers.borrow().get(peer).id(),
        }
    }

    fn proc_mem_read(&mut self, addr: u64) -> Result<u8, i32> {
        proc_fs::mem_read(addr)
    }

    fn proc_mem_write(&mut self, addr: u64, value: u8) -> Result<(), i32> {
        proc_fs::mem_write(addr, value)
    }

    fn smaps(&mut self, addr: u64) -> Option<(u32, Option<u32>)> {
        proc_fs::smaps(addr)
    }
}
