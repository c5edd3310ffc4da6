//! What a thread of a test program does: instructions, system calls, and what becomes of faults.
//!
//! The registers that count are few. RIP says which instruction is tried (there is no code at these addresses, they are
//! names); a fault leaves it there, and a handler that steps over sets it to the address behind. The others are what
//! entry code would save.
//!
//! A process that dies does so in the middle of a task, as it does on Linux. The task is left by unwinding, with [`Gone`]
//! as what is thrown, and caught where the process was started or asked ([`super::peer`], [`super::world`]).

use core::ops::Range;
use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;

use pkeys_core::{KeyRegister, XsaveLayout};
use pkeys_kernel::abi::{Prot, nr};
use pkeys_kernel::hardware::Cpu as _;
use pkeys_kernel::task::{ExitStatus, Processor, UserRegs};
use pkeys_kernel::{Kernel, Outcome};
use pkeys_machine::{Exception, MachineCpu};

use super::MachineSystem;
use super::frame::{Custom, FAULTED, MachineFrame};
use super::peer::Peers;
use super::world::{Ground, Slot, Slots, SpaceOfGround, World};
use crate::system::{Frame as _, Raw, Signal};

/// Where instructions are: the one that is tried, and the one behind it.
const AT: u64 = 0x40_1000;
const BEHIND: u64 = 0x40_1008;
/// The handler of every signal, and what it returns to.
pub(super) const HANDLER: u64 = 0x40_2000;
pub(super) const RESTORER: u64 = 0x40_3000;

/// The instruction RET.
const RET: u8 = 0xC3;

/// A process has ended, or a thread has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// The process of this number, this way.
    Process(i32, ExitStatus),
    /// The thread alone.
    Thread,
}

/// A thread.
pub(super) struct Thread<'w, 'm> {
    pub(super) world: &'w World<'m>,
    pub(super) tid: i32,
    pub(super) pid: i32,
    /// The CPU that it runs on.
    pub(super) at: usize,
    /// What the handler was told last, since somebody cleared it.
    note: Option<Signal>,
    pub(super) slot: Slot,
    /// The slots of the process.
    pub(super) slots: Rc<Slots>,
    pub(super) peers: Peers<'w, 'm>,
}

impl<'w, 'm> Thread<'w, 'm> {
    pub(super) fn new(
        world: &'w World<'m>,
        [pid, tid]: [i32; 2],
        at: usize,
        slot: Slot,
        slots: Rc<Slots>,
    ) -> Self {
        Self {
            world,
            tid,
            pid,
            at,
            note: None,
            slot,
            slots,
            peers: Peers::default(),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn tid(&self) -> i32 {
        self.tid
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    fn kernel(&self) -> &'w Kernel<Ground<'m>> {
        &self.world.kernel
    }

    fn processor(&self) -> &'w Processor<Ground<'m>> {
        self.world.processor(self.at)
    }

    /// The CPU that it runs on.
    #[inline]
    pub(super) fn cpu(&self) -> &'w MachineCpu<'m> {
        self.processor().cpu()
    }

    pub(super) fn layout(&self) -> XsaveLayout {
        self.kernel().config().xstate.layout
    }

    pub(super) fn live_pkru(&self) -> u32 {
        self.cpu().read_pkru().bits()
    }

    pub(super) fn forget_note(&mut self) {
        self.note = None;
    }

    pub(super) fn noted(&self) -> Option<Signal> {
        self.note
    }
}

/// Instructions.
impl Thread<'_, '_> {
    /// Reads a byte.
    #[inline]
    pub(super) fn read(&mut self, addr: u64, custom: &mut Custom<'_>) -> Result<u8, Signal> {
        loop {
            match self.cpu().user_read(addr) {
                Ok(byte) => return Ok(byte),
                Err(raised) => self.fault(raised, AT, addr, 0, custom)?,
            }
        }
    }

    /// Writes a byte.
    #[inline]
    pub(super) fn write(
        &mut self,
        addr: u64,
        value: u8,
        custom: &mut Custom<'_>,
    ) -> Result<(), Signal> {
        loop {
            match self.cpu().user_write(addr, value) {
                Ok(()) => return Ok(()),
                Err(raised) => self.fault(raised, AT, addr, 0, custom)?,
            }
        }
    }

    /// Calls an address: a push, a fetch, and the RET that is there.
    ///
    /// # Panics
    ///
    /// If there is another instruction.
    #[inline]
    pub(super) fn call(&mut self, addr: u64, custom: &mut Custom<'_>) -> Result<(), Signal> {
        let pushed = self.world.live(self.at).rsp.wrapping_sub(8);
        let place = [pushed, 8];
        loop {
            if let Err(raised) = self.transfer(place, |cpu, at| cpu.user_write(at, 0)) {
                self.fault(raised, AT, addr, 0, custom)?;
                continue;
            }
            match self.cpu().user_fetch(addr) {
                Ok(RET) => break,
                Ok(other) => panic!("{other:#x} at {addr:#x}, and not a RET"),
                Err(raised) => self.fault(raised, addr, addr, 8, custom)?,
            }
        }
        loop {
            match self.transfer(place, |cpu, at| cpu.user_read(at).map(drop)) {
                Ok(()) => return Ok(()),
                Err(raised) => self.fault(raised, AT, addr, 0, custom)?,
            }
        }
    }

    /// An access to several bytes.
    fn transfer(
        &self,
        [start, len]: [u64; 2],
        access: impl Fn(&MachineCpu<'_>, u64) -> Result<(), Exception>,
    ) -> Result<(), Exception> {
        (0..len).try_for_each(|offset| access(self.cpu(), start.wrapping_add(offset)))
    }

    /// Makes a system call.
    #[inline]
    pub(super) fn syscall(&mut self, nr: u64, args: [u64; 6], custom: &mut Custom<'_>) -> Raw {
        let outcome = self.with_regs(|thread, regs| {
            set_call(regs, nr, args);
            thread.kernel().syscall(thread.processor(), regs)
        });
        self.settle(outcome, custom);
        self.world.live(self.at).rax.cast_signed()
    }

    /// Makes a system call that ends the thread or its process.
    pub(super) fn last_syscall(&mut self, nr: u64, arg: u64) {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.syscall(nr, [arg, 0, 0, 0, 0, 0], &mut None)
        }));
        match ended {
            Ok(result) => panic!("call {nr} came back with {result}"),
            Err(thrown) if thrown.is::<Gone>() => {}
            Err(thrown) => resume_unwind(thrown),
        }
    }

    /// Another stack; gives the one before. `None` keeps it.
    pub(super) fn exchange_stack(&mut self, stack: Option<u64>) -> u64 {
        self.with_regs(|_, regs| {
            let before = regs.rsp;
            regs.rsp = stack.unwrap_or(before);
            before
        })
    }

    /// `sigaltstack(2)`, with its argument below the stack pointer.
    pub(super) fn set_altstack(&mut self, stack: Option<Range<u64>>) -> Raw {
        /// `SS_DISABLE`.
        const DISABLE: u64 = 2;
        let [start, flags, len] = stack.map_or([0, DISABLE, 0], |stack| {
            [stack.start, 0, stack.end - stack.start]
        });
        let place = self.world.live(self.at).rsp - 0x1000;
        for (index, word) in (0_u64..).zip([start, flags, len]) {
            self.poke(place + index * 8, &word.to_le_bytes());
        }
        self.syscall(nr::SIGALTSTACK, [place, 0, 0, 0, 0, 0], &mut None)
    }
}

/// Faults and signals.
impl<'w, 'm> Thread<'w, 'm> {
    /// Takes a fault to the kernel, and runs the handler if the thread is to. `Err` is what the handler was told, if it
    /// stepped over; else the instruction is to be tried again.
    #[cold]
    fn fault(
        &mut self,
        raised: Exception,
        rip: u64,
        operand: u64,
        pushed: u64,
        custom: &mut Custom<'_>,
    ) -> Result<(), Signal> {
        let before = self.world.live(self.at);
        let outcome = self.with_regs(|thread, regs| {
            regs.rip = rip;
            regs.rax = 0;
            regs.rdi = operand;
            regs.rsp = regs.rsp.wrapping_sub(pushed);
            let (kernel, processor) = (thread.kernel(), thread.processor());
            match raised {
                Exception::PageFault(fault) => kernel.page_fault(processor, regs, fault),
                Exception::GeneralProtection => kernel.general_protection(processor, regs, 0),
            }
        });
        self.settle(outcome, custom);
        let after = self.world.live(self.at);
        self.world.set_live(self.at, before);
        if after.rip == BEHIND && after.rax == FAULTED {
            Err(self.note.expect("who steps over has been told why"))
        } else {
            Ok(())
        }
    }

    /// The address behind the instruction that a fault left RIP at.
    pub(super) fn behind(&self, _: u64) -> u64 {
        BEHIND
    }

    /// Does what an outcome says, until the thread is back at its own code.
    #[inline]
    pub(super) fn settle(&mut self, outcome: Outcome, custom: &mut Custom<'_>) {
        let mut outcome = outcome;
        loop {
            match outcome {
                Outcome::Resume => {}
                Outcome::ThreadEnded => resume_unwind(Box::new(Gone::Thread)),
                Outcome::ProcessEnded(status) => {
                    resume_unwind(Box::new(Gone::Process(self.pid, status)))
                }
                Outcome::Blocked => {
                    self.world.let_others_run(self.at, self.tid);
                    outcome = self.world.switch(self.at, self.tid);
                    continue;
                }
                Outcome::Idle => panic!("no thread runs on CPU {}", self.at),
            }
            if self.world.live(self.at).rip != HANDLER {
                return;
            }
            outcome = self.handle(custom);
        }
    }

    /// Runs the handler, and makes it return.
    fn handle(&mut self, custom: &mut Custom<'_>) -> Outcome {
        let start = self.world.live(self.at);
        let mut frame = MachineFrame::read(self, start.rsi, start.rdx);
        let signal = frame.signal();
        if let Some(custom) = custom {
            // Only the closure's own system, in which faults are stepped over, may interrupt it.
            custom(&mut MachineSystem::new(self), &mut frame);
            self.world.set_live(self.at, start);
        } else {
            frame.skip();
        }
        self.cpu().write_pkru(KeyRegister::ALL_OPEN);
        frame.apply(self);
        self.note = Some(signal);
        self.with_regs(|thread, regs| {
            // RET has taken the restorer's address from the stack.
            regs.rsp = start.rsp.wrapping_add(8);
            set_call(regs, nr::RT_SIGRETURN, [0; 6]);
            thread.kernel().syscall(thread.processor(), regs)
        })
    }

    /// Does something with the registers, which are the CPU's while the thread runs.
    #[inline]
    fn with_regs<R>(&mut self, change: impl FnOnce(&mut Self, &mut UserRegs) -> R) -> R {
        let mut regs = self.world.live(self.at);
        let result = change(self, &mut regs);
        self.world.set_live(self.at, regs);
        result
    }
}

/// Memory and mappings, as somebody else sees them.
impl<'m> Thread<'_, 'm> {
    pub(super) fn space(&self) -> std::sync::Arc<SpaceOfGround<'m>> {
        self.processor().space().expect("a running thread's")
    }

    /// Bytes of the process.
    ///
    /// # Panics
    ///
    /// If nothing is mapped there.
    pub(super) fn peek(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.space().read_remote(self.cpu(), addr, &mut bytes, true);
        assert_eq!(read, Ok(()), "{len} bytes at {addr:#x}");
        bytes
    }

    /// A number of the process.
    pub(super) fn peek_u64(&self, addr: u64) -> u64 {
        let mut bytes = [0; 8];
        let read = self.space().read_remote(self.cpu(), addr, &mut bytes, true);
        assert_eq!(read, Ok(()), "8 bytes at {addr:#x}");
        u64::from_le_bytes(bytes)
    }

    /// Changes bytes of the process.
    pub(super) fn poke(&self, addr: u64, bytes: &[u8]) {
        let written = self.space().write_remote(self.cpu(), addr, bytes, true);
        assert_eq!(written, Ok(()), "{} bytes at {addr:#x}", bytes.len());
    }

    pub(super) fn proc_mem_read(&self, addr: u64) -> Result<u8, i32> {
        let mut byte = [0];
        let read = self.space().read_remote(self.cpu(), addr, &mut byte, true);
        read.map(|()| byte[0]).map_err(|_| EIO)
    }

    pub(super) fn proc_mem_write(&self, addr: u64, value: u8) -> Result<(), i32> {
        let written = self.space().write_remote(self.cpu(), addr, &[value], true);
        written.map_err(|_| EIO)
    }

    pub(super) fn smaps(&self, addr: u64) -> Option<(u32, Option<u32>)> {
        let mapping = self.space().mapping(addr)?;
        let prot = u32::try_from((mapping.prot & Prot::ACCESS).bits()).ok()?;
        let pkey = self.cpu().has_pku().then_some(u32::from(mapping.pkey));
        Some((prot, pkey))
    }
}

/// What `/proc/PID/mem` says where nothing can be read.
const EIO: i32 = 5;

/// Puts a system call into registers, as SYSCALL finds them.
pub(super) fn set_call(regs: &mut UserRegs, nr: u64, args: [u64; 6]) {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
    regs.rax = nr;
    regs.rip = AT;
}
