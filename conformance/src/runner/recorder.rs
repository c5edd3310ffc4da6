//! A [`System`] that writes down every signal that it passes on.
//!
//! Peers are seen from outside only: what they get is theirs, and is told by their answers.

use core::cell::RefCell;
use core::ops::Range;

use crate::system::{
    Answer, Bare, BareOutcome, Frame, Ground, Handler, Peer, Raw, Signal, System, Task,
};

/// The decorator.
pub(super) struct Recorder<'a> {
    inner: &'a mut dyn System,
    log: &'a RefCell<Vec<Signal>>,
}

impl<'a> Recorder<'a> {
    /// Records into `log` what `inner` gets.
    pub(super) fn new(inner: &'a mut dyn System, log: &'a RefCell<Vec<Signal>>) -> Self {
        Self { inner, log }
    }

    fn note<T>(&self, outcome: Result<T, Signal>) -> Result<T, Signal> {
        outcome.inspect_err(|signal| self.log.borrow_mut().push(*signal))
    }
}

impl System for Recorder<'_> {
    fn ground(&self) -> Ground {
        self.inner.ground()
    }

    fn arena(&self) -> Range<u64> {
        self.inner.arena()
    }

    fn scratch(&mut self) -> Range<u64> {
        self.inner.scratch()
    }

    fn syscall(&mut self, nr: u64, args: [u64; 6]) -> Raw {
        self.inner.syscall(nr, args)
    }

    fn read(&mut self, addr: u64) -> Result<u8, Signal> {
        let outcome = self.inner.read(addr);
        self.note(outcome)
    }

    fn write(&mut self, addr: u64, value: u8) -> Result<(), Signal> {
        let outcome = self.inner.write(addr, value);
        self.note(outcome)
    }

    fn call(&mut self, addr: u64) -> Result<(), Signal> {
        let outcome = self.inner.call(addr);
        self.note(outcome)
    }

    fn rdpkru(&mut self) -> u32 {
        self.inner.rdpkru()
    }

    fn wrpkru(&mut self, pkru: u32) {
        self.inner.wrpkru(pkru);
    }

    fn xrstor_initial_pkru(&mut self) {
        self.inner.xrstor_initial_pkru();
    }

    fn bare(&mut self, bare: Bare) -> BareOutcome {
        let outcome = self.inner.bare(bare);
        let result = self.note(outcome.result);
        BareOutcome { result, ..outcome }
    }

    fn set_altstack(&mut self, stack: Option<Range<u64>>) -> Raw {
        self.inner.set_altstack(stack)
    }

    fn raise(&mut self, signo: i32) -> Result<Signal, i32> {
        let outcome = self.inner.raise(signo);
        if let Ok(signal) = outcome {
            self.log.borrow_mut().push(signal);
        }
        outcome
    }

    fn with_handler(&mut self, handler: Handler<'_>, body: &mut dyn FnMut(&mut dyn System)) {
        let log = self.log;
        let mut handler = |sys: &mut dyn System, frame: &mut dyn Frame| {
            log.borrow_mut().push(frame.signal());
            handler(&mut Recorder::new(sys, log), frame);
        };
        let mut body = |sys: &mut dyn System| body(&mut Recorder::new(sys, log));
        self.inner.with_handler(&mut handler, &mut body);
    }

    fn thread(&mut self) -> Peer {
        self.inner.thread()
    }

    fn fork(&mut self) -> Peer {
        self.inner.fork()
    }

    fn fork_and_exec(&mut self) -> Peer {
        self.inner.fork_and_exec()
    }

    fn ask(&mut self, peer: Peer, task: Task, arg: u64) -> Answer {
        self.inner.ask(peer, task, arg)
    }

    fn end(&mut self, peer: Peer) {
        self.inner.end(peer);
    }

    fn id(&mut self, peer: Option<Peer>) -> u64 {
        self.inner.id(peer)
    }

    fn proc_mem_read(&mut self, addr: u64) -> Result<u8, i32> {
        self.inner.proc_mem_read(addr)
    }

    fn proc_mem_write(&mut self, addr: u64, value: u8) -> Result<(), i32> {
        self.inner.proc_mem_write(addr, value)
    }

    fn smaps(&mut self, addr: u64) -> Option<(u32, Option<u32>)> {
        self.inner.smaps(addr)
    }
}
