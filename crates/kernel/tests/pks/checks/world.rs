//! Two CPUs and the thread whose life is watched, with interrupts at chosen moments.
//!
//! Between any two steps of the protocol (a read or a write of the register, the cache, the current context) there is a
//! point, and at each point something may come in between: see [`Event`]. A [`World`] plays one schedule and keeps the
//! first thing that is wrong. What is right is said in whole registers, by whoever plays, and not computed from contexts.

use core::cell::{Cell, RefCell};

use pkeys_core::{KeyRegister, Rights};
use pkeys_kernel::pks::{self, Context, Pks, PksCpu, PksKey};

use super::arena::Arena;
use super::events::{Event, Events, Schedule};
use super::system::{Lock, TWO, register};

/// One CPU.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) pkrs: Cell<KeyRegister>,
    cache: Cell<u64>,
    pub(super) current: Cell<usize>,
    nr_writes: Cell<usize>,
    is_enabled: Cell<bool>,
}

impl Default for Registers {
    /// Whatever firmware has left there.
    fn default() -> Self {
        Self {
            pkrs: Cell::new(KeyRegister::from_bits(0x1234_5678)),
            cache: Cell::new(pks::INVALID),
            current: Cell::new(0),
            nr_writes: Cell::new(0),
            is_enabled: Cell::new(false),
        }
    }
}

/// Both CPUs, and how one schedule is played.
#[derive(Debug)]
pub(crate) struct World<'w> {
    pub(super) pks: &'w Pks<Lock>,
    pub(super) cpus: [Registers; 2],
    /// The CPU that the watched thread is on.
    pub(super) here: Cell<usize>,
    pub(super) arena: Arena,
    /// What is still to come.
    pub(super) schedule: RefCell<Vec<(usize, Event)>>,
    /// The number of the next point, and of the next event's.
    pub(super) nr_points: Cell<usize>,
    pub(super) next: Cell<usize>,
    /// For each point behind the last event, what could come in between there, if somebody wants to know.
    pub(super) is_recorded: Cell<bool>,
    pub(super) points: RefCell<Vec<(usize, Events)>>,
    /// RFLAGS.IF.
    pub(super) lets_interrupts_in: Cell<bool>,
    /// The closed register as it was before the mode was turned, until everybody is told.
    pub(super) before: Cell<Option<u32>>,
    pub(super) has_turned: Cell<bool>,
    pub(super) failure: RefCell<Option<String>>,
}

impl<'w> World<'w> {
    /// Both CPUs as firmware has left them.
    pub(crate) fn new(pks: &'w Pks<Lock>) -> Self {
        Self {
            pks,
            cpus: Default::default(),
            here: Cell::new(0),
            arena: Arena::default(),
            schedule: RefCell::default(),
            nr_points: Cell::new(0),
            next: Cell::new(usize::MAX),
            is_recorded: Cell::new(false),
            points: RefCell::default(),
            lets_interrupts_in: Cell::new(true),
            before: Cell::new(None),
            has_turned: Cell::new(false),
            failure: RefCell::default(),
        }
    }

    /// Begins anew, with a schedule: both CPUs are started, the watched thread is on the first, another, with a grant, on
    /// the second.
    pub(crate) fn start(&mut self, schedule: &Schedule, is_recorded: bool) {
        self.arena.clear();
        self.cpus = Default::default();
        self.next.set(usize::MAX);
        self.is_recorded.set(false);
        self.lets_interrupts_in.set(true);
        self.before.set(None);
        self.has_turned.set(false);
        self.failure.take();
        for cpu in [1, 0] {
            self.here.set(cpu);
            pks::start_cpu(self, self.arena.keep(Context::new()));
        }
        self.here.set(1);
        let _ = pks::grant(self, TWO, Rights::ReadWrite);
        self.here.set(0);
        for cpu in &self.cpus {
            cpu.nr_writes.set(0);
        }
        self.nr_points.set(0);
        self.points.borrow_mut().clear();
        self.schedule
            .replace(schedule.iter().rev().copied().collect());
        self.is_recorded.set(is_recorded);
        self.expect_next();
    }

    /// A context of its own.
    pub(crate) fn keep(&self, context: Context) -> &Context {
        self.arena.keep(context)
    }

    pub(crate) fn pks(&self) -> &'w Pks<Lock> {
        self.pks
    }

    /// The watched code goes on on another CPU.
    pub(crate) fn set_here(&self, cpu: usize) {
        self.here.set(cpu);
    }

    /// PKRS.
    pub(crate) fn pkrs(&self) -> KeyRegister {
        self.cpu().pkrs.get()
    }

    /// How often PKRS was written since the last question, on both CPUs.
    pub(crate) fn take_writes(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.nr_writes.take()).sum()
    }

    /// What could have come in at each point behind the last event, and the first thing that was wrong.
    pub(crate) fn end(&self) -> (Vec<(usize, Events)>, Option<String>) {
        (self.points.take(), self.failure.take())
    }

    pub(super) fn cpu(&self) -> &Registers {
        &self.cpus[self.here.get()]
    }

    pub(super) fn fail(&self, what: impl FnOnce() -> String) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(what());
        }
    }

    /// The closed register: as it is, or, until everybody is told, as it was.
    fn closed_registers(&self) -> [u32; 2] {
        let closed = self.pks.closed().bits();
        [closed, self.before.get().unwrap_or(closed)]
    }

    /// The register has to be the closed one with these rights added.
    pub(crate) fn check(&self, who: &str, reads: &[PksKey], writes: &[PksKey]) {
        self.point();
        let pkrs = self.cpu().pkrs.get();
        let allowed = self
            .closed_registers()
            .map(|closed| register(closed, reads, writes));
        if !allowed.contains(&pkrs) {
            self.fail(|| format!("{who}: PKRS is {pkrs}, not {}", allowed[0]));
        }
    }

    /// The same, where nothing is under way: the cache says so too.
    pub(crate) fn check_at_rest(&self, who: &str, reads: &[PksKey], writes: &[PksKey]) {
        self.check(who, reads, writes);
        let cpu = self.cpu();
        if cpu.cache.get() != u64::from(cpu.pkrs.get().bits()) {
            self.fail(|| format!("{who}: the cache has {:#x}", cpu.cache.get()));
        }
    }

    /// At the end of a scene: everybody is told, and both CPUs are at rest. The other thread still has what it had.
    pub(crate) fn check_end(&self, who: &str, reads: &[PksKey], writes: &[PksKey]) {
        if self.can_be(Event::Told) {
            self.told();
        }
        self.check_at_rest(who, reads, writes);
        let here = self.here.get();
        self.here.set(1 - here);
        let other = self.arena.get(self.cpu().current.get());
        let writes: &[PksKey] = if other.is_closed() { &[] } else { &[TWO] };
        self.check_at_rest("the other CPU", &[], writes);
        self.here.set(here);
        let nr_open = self.cpus.iter().filter(|cpu| {
            let context = self.arena.get(cpu.current.get());
            !context.counts(TWO).is_empty()
        });
        if nr_open.count() != 1 {
            self.fail(|| "the other thread has lost its grant, or was copied".to_owned());
        }
    }
}

impl PksCpu for World<'_> {
    fn write_pkrs(&self, value: KeyRegister) {
        self.point();
        let cpu = self.cpu();
        cpu.nr_writes.set(cpu.nr_writes.get() + 1);
        cpu.pkrs.set(value);
    }

    fn cached(&self) -> u64 {
        self.point();
        self.cpu().cache.get()
    }

    fn set_cached(&self, value: u64) {
        self.point();
        self.cpu().cache.set(value);
    }

    fn enable(&self) {
        let cpu = self.cpu();
        let is_closed = cpu.pkrs.get() == self.pks.closed();
        let is_cached = cpu.cache.get() == u64::from(cpu.pkrs.get().bits());
        if !is_closed || !is_cached || cpu.is_enabled.replace(true) {
            self.fail(|| "CR4.PKS is set before the register".to_owned());
        }
    }

    /// Not a step by itself: what it reads is not the CPU's, and whatever comes in before it may as well come before the
    /// step that is before it.
    fn closed(&self) -> KeyRegister {
        self.pks.closed()
    }

    fn current(&self) -> &Context {
        self.point();
        self.arena.get(self.cpu().current.get())
    }

    fn set_current(&self, context: &Context) {
        self.point();
        let number = self.arena.number(context);
        self.cpu().current.set(number);
    }
}
