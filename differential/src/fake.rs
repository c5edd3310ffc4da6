//! A small model of a kernel with keys, for tests of this crate: pages, a register, keys, threads and children. It is
//! right about the simplest things and refuses the rest (`ENOSYS`), which is enough to have something to compare.

use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::collections::BTreeMap;
use std::rc::Rc;

use pkeys_conformance::system::{
    Act, Answer, Bare, BareOutcome, Frame, Ground, Handler, Peer, Raw, Signal, System, Task,
};
use pkeys_kernel::abi::nr;

use crate::side::Side;

const ARENA: Range<u64> = 1 << 40..(1 << 40) + (1 << 30);
const SCRATCH: u64 = 1 << 41;
const INIT: u32 = 0x5555_5554;

/// What a fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// `mprotect` gives its pages key 0.
    DropsKey,
    /// A freed key is not given out again.
    LeaksKeys,
    /// A child kills itself with another signal.
    WrongDeath,
    /// Every second child drops keys.
    EverySecond,
}

#[derive(Debug, Clone)]
struct FakePage {
    prot: u64,
    key: u32,
    bytes: BTreeMap<u64, u8>,
}

#[derive(Debug, Clone)]
struct Process {
    pages: BTreeMap<u64, FakePage>,
    keys: u32,
    ended: Option<Answer>,
}

/// A side of fakes.
pub(crate) struct FakeSide(pub(crate) Fault);

impl Side for FakeSide {
    fn with_root(&mut self, body: &mut dyn FnMut(&mut dyn System)) -> Result<(), String> {
        body(&mut Fake::new(self.0));
        Ok(())
    }
}

/// One thread's view.
#[derive(Debug)]
pub(crate) struct Fake {
    fault: Fault,
    process: Rc<RefCell<Process>>,
    pkru: u32,
    peers: Vec<Option<Fake>>,
}

struct FakeFrame {
    signal: Signal,
    pkru: Cell<u32>,
    is_skipped: Cell<bool>,
}

impl Frame for FakeFrame {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn set_pkru(&mut self, pkru: u32) {
        self.pkru.set(pkru);
    }

    fn clear_pkru_in_xstate_bv(&mut self) {
        self.pkru.set(0);
    }

    fn skip(&mut self) {
        self.is_skipped.set(true);
    }
}

impl Fake {
    /// A process with nothing.
    pub(crate) fn new(fault: Fault) -> Self {
        let process = Process {
            pages: BTreeMap::new(),
            keys: 1,
            ended: None,
        };
        Self::with(fault, process)
    }

    fn with(fault: Fault, process: Process) -> Self {
        Self {
            fault,
            process: Rc::new(RefCell::new(process)),
            pkru: INIT,
            peers: Vec::new(),
        }
    }

    fn signal(&self, signo: i32, code: i32, addr: u64, pkey: u32) -> Signal {
        Signal {
            signo,
            code,
            addr,
            pkey,
            err: 0,
            trapno: if signo == 11 { 14 } else { 0 },
            cr2: addr,
            pkru_in_handler: INIT,
            pkru_in_frame: self.pkru,
            is_on_altstack: true,
        }
    }

    /// Whether an access is allowed; `prot` is 1, 2 or 4.
    fn check(&self, addr: u64, prot: u64) -> Result<(), Signal> {
        if (SCRATCH..SCRATCH + 0x10000).contains(&addr) {
            return Ok(());
        }
        let process = self.process.borrow();
        let page = process.pages.get(&(addr & !0xFFF));
        let page = page.ok_or_else(|| self.signal(11, 1, addr, 0))?;
        let rights = self.pkru >> (2 * page.key) & 3;
        let is_closed = rights & 1 != 0 || prot == 2 && rights & 2 != 0;
        if prot != 4 && is_closed {
            return Err(self.signal(11, 4, addr, page.key));
        }
        let given = if page.prot & 7 == 0 { 0 } else { page.prot | 1 };
        if given & prot == 0 {
            return Err(self.signal(11, 2, addr, 0));
        }
        Ok(())
    }

    fn protect(&self, args: [u64; 6], key: Option<i32>) -> Raw {
        let [start, len, prot, ..] = args;
        if start & 0xFFF != 0 {
            return -22;
        }
        if len == 0 {
            return 0;
        }
        if start.checked_add(len).is_none_or(|end| end >> 47 != 0) {
            return -12;
        }
        if prot & !15 != 0 {
            return -22;
        }
        let mut process = self.process.borrow_mut();
        if key
            .is_some_and(|key| !(-1..16).contains(&key) || key >= 0 && process.keys >> key & 1 == 0)
        {
            return -22;
        }
        for addr in (start..start + len).step_by(4096) {
            let Some(page) = process.pages.get_mut(&addr) else {
                return -12;
            };
            page.prot = prot & 7;
            match key {
                Some(key) if key >= 0 => page.key = key.cast_unsigned(),
                _ if self.fault == Fault::DropsKey => page.key = 0,
                _ => {}
            }
        }
        0
    }

    fn alloc(&mut self, args: [u64; 6]) -> Raw {
        if args[0] != 0 || args[1] > 3 {
            return -22;
        }
        let mut process = self.process.borrow_mut();
        let key = (!process.keys).trailing_zeros();
        if key > 15 {
            return -28;
        }
        process.keys |= 1 << key;
        let rights = u32::try_from(args[1]).unwrap();
        self.pkru = self.pkru & !(3 << (2 * key)) | rights << (2 * key);
        key.into()
    }

    fn free(&self, key: u64) -> Raw {
        let mut process = self.process.borrow_mut();
        let key = key & 0xFFFF_FFFF;
        if key > 15 || process.keys >> key & 1 == 0 {
            return -22;
        }
        if self.fault != Fault::LeaksKeys || key != 3 {
            process.keys &= !(1 << key);
        }
        0
    }

    fn map(&self, args: [u64; 6]) -> Raw {
        let [start, len, prot, flags, ..] = args;
        let is_odd = start & 0xFFF != 0 || len == 0 || len > 1 << 30 || flags & 0x20 == 0;
        if is_odd || flags & 3 == 0 || args[5] != 0 || start >> 47 != 0 {
            return -22;
        }
        let mut process = self.process.borrow_mut();
        let range = start..start + len;
        if flags & 0x10_0000 != 0 && process.pages.range(range.clone()).next().is_some() {
            return -17;
        }
        for addr in range.step_by(4096) {
            let page = FakePage {
                prot: prot & 7,
                key: 0,
                bytes: BTreeMap::new(),
            };
            process.pages.insert(addr, page);
        }
        start.cast_signed()
    }

    fn start(&mut self, process: Process, pkru: u32) -> Peer {
        let fault = match self.fault {
            Fault::EverySecond if self.peers.len() % 2 == 1 => Fault::DropsKey,
            Fault::EverySecond => Fault::None,
            fault => fault,
        };
        let mut fake = Self::with(fault, process);
        fake.pkru = pkru;
        self.peers.push(Some(fake));
        Peer(u32::try_from(self.peers.len() - 1).unwrap())
    }

    fn act(&mut self, act: Act) -> Result<Raw, Signal> {
        match act {
            Act::Read(addr) => self.read(addr).map(Raw::from),
            Act::Write(addr, value) => self.write(addr, value).map(|()| 0),
            Act::Call(addr) => self.call(addr).map(|()| 0),
            Act::Syscall(number, args) => Ok(self.syscall(number, args)),
            Act::Raise(signo) => Err(self.signal(signo, -6, 0, 0)),
        }
    }
}

impl System for Fake {
    fn ground(&self) -> Ground {
        Ground::Linux {
            major: 6,
            minor: 12,
        }
    }

    fn arena(&self) -> Range<u64> {
        ARENA
    }

    fn scratch(&mut self) -> Range<u64> {
        SCRATCH..SCRATCH + 0x10000
    }

    fn syscall(&mut self, number: u64, args: [u64; 6]) -> Raw {
        match number {
            nr::MMAP => self.map(args),
            nr::MUNMAP if args[0] & 0xFFF != 0 || args[1] == 0 || args[1] > 1 << 40 => -22,
            nr::MUNMAP => {
                let range = args[0]..args[0] + args[1];
                self.process
                    .borrow_mut()
                    .pages
                    .retain(|addr, _| !range.contains(addr));
                0
            }
            nr::MPROTECT => self.protect(args, None),
            nr::PKEY_MPROTECT => {
                let key = u32::try_from(args[3] & 0xFFFF_FFFF).unwrap().cast_signed();
                self.protect(args, Some(key))
            }
            nr::PKEY_ALLOC => self.alloc(args),
            nr::PKEY_FREE => self.free(args[0]),
            nr::GETPID => 1,
            nr::KILL => {
                let signo = if self.fault == Fault::WrongDeath {
                    1
                } else {
                    args[1]
                };
                let signo = i32::try_from(signo).unwrap();
                self.process.borrow_mut().ended = Some(Answer::Killed(signo));
                0
            }
            nr::EXIT_GROUP => {
                self.process.borrow_mut().ended = Some(Answer::Exited(7));
                0
            }
            _ => -38,
        }
    }

    fn read(&mut self, addr: u64) -> Result<u8, Signal> {
        self.check(addr, 1)?;
        let process = self.process.borrow();
        let page = process.pages.get(&(addr & !0xFFF));
        Ok(page
            .and_then(|page| page.bytes.get(&addr))
            .copied()
            .unwrap_or(0))
    }

    fn write(&mut self, addr: u64, value: u8) -> Result<(), Signal> {
        self.check(addr, 2)?;
        if let Some(page) = self.process.borrow_mut().pages.get_mut(&(addr & !0xFFF)) {
            page.bytes.insert(addr, value);
        }
        Ok(())
    }

    fn call(&mut self, addr: u64) -> Result<(), Signal> {
        self.check(addr, 4)?;
        let process = self.process.borrow();
        let page = process.pages.get(&(addr & !0xFFF)).unwrap();
        assert_eq!(
            page.bytes.get(&addr),
            Some(&0xC3),
            "a call to what is no RET"
        );
        Ok(())
    }

    fn rdpkru(&mut self) -> u32 {
        self.pkru
    }

    fn wrpkru(&mut self, pkru: u32) {
        assert_eq!(pkru & 3, 0, "key 0 closed");
        self.pkru = pkru;
    }

    fn xrstor_initial_pkru(&mut self) {
        self.pkru = 0;
    }

    fn bare(&mut self, bare: Bare) -> BareOutcome {
        let before = core::mem::replace(&mut self.pkru, bare.pkru);
        let result = self.act(bare.act);
        BareOutcome {
            result,
            pkru_after: core::mem::replace(&mut self.pkru, before),
        }
    }

    fn set_altstack(&mut self, _: Option<Range<u64>>) -> Raw {
        0
    }

    fn raise(&mut self, signo: i32) -> Result<Signal, i32> {
        Ok(self.signal(signo, -6, 0, 0))
    }

    fn with_handler(&mut self, handler: Handler<'_>, body: &mut dyn FnMut(&mut dyn System)) {
        // It runs once, before the body: enough to see what a handler tells.
        let signal = self.signal(10, -6, 0, 0);
        let mut frame = FakeFrame {
            signal,
            pkru: Cell::new(self.pkru),
            is_skipped: Cell::new(false),
        };
        self.pkru = INIT;
        handler(self, &mut frame);
        self.pkru = frame.pkru.get();
        body(self);
    }

    fn thread(&mut self) -> Peer {
        let pkru = self.pkru;
        let mut fake = Self::new(self.fault);
        fake.process = self.process.clone();
        fake.pkru = pkru;
        self.peers.push(Some(fake));
        Peer(u32::try_from(self.peers.len() - 1).unwrap())
    }

    fn fork(&mut self) -> Peer {
        let (process, pkru) = (self.process.borrow().clone(), self.pkru);
        self.start(process, pkru)
    }

    fn fork_and_exec(&mut self) -> Peer {
        let process = Process {
            pages: BTreeMap::new(),
            keys: 1,
            ended: None,
        };
        self.start(process, INIT)
    }

    fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer {
        let fake = self.peers[peer.0 as usize].as_mut().unwrap();
        if let Some(answer) = fake.process.borrow().ended {
            return answer;
        }
        let done = task(fake, arg);
        let ended = fake.process.borrow().ended;
        ended.unwrap_or(Answer::Done(done))
    }

    fn end(&mut self, peer: Peer) {
        assert!(self.peers[peer.0 as usize].take().is_some(), "ended twice");
    }

    fn id(&mut self, _: Option<Peer>) -> u64 {
        1
    }

    fn proc_mem_read(&mut self, _: u64) -> Result<u8, i32> {
        Err(5)
    }

    fn proc_mem_write(&mut self, _: u64, _: u8) -> Result<(), i32> {
        Err(5)
    }

    fn smaps(&mut self, addr: u64) -> Option<(u32, Option<u32>)> {
        let process = self.process.borrow();
        let page = process.pages.get(&(addr & !0xFFF))?;
        Some((u32::try_from(page.prot).unwrap(), Some(page.key)))
    }
}
