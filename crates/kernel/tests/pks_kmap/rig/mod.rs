//! A machine of several CPUs with supervisor keys on, contexts that run on them, and the kernel around the regions.
//!
//! Code of the kernel runs on the CPU that `executing` names. What it tells other CPUs happens there at once: an interrupt in
//! a context of its own. Between any two of these steps, [`Rig::probe`] lets every context use what it has mapped, so that a
//! moment at which it could not is seen, and so that TLBs know everything that they could know.

mod cpu;
mod kernel;

use core::cell::{Cell, RefCell};
use core::fmt;

use pkeys_core::{
    Access, Knobs, LeafSize, PageFaultErrorCode, PageState, Pardon, Pkey, Privilege, Rights, pte,
};
use pkeys_kernel::hardware::{Cpu, PhysAddr, PhysMemory};
use pkeys_kernel::pks::region::{Host, Page, Pages, Regions};
use pkeys_kernel::pks::{
    Callbacks, Context, Declaration, Declared, Keys, Pks, PksCpu, PksKey, Settings, enter, leave,
    refresh, start_cpu, switch_to,
};
use pkeys_machine::{Exception, Machine};

pub(crate) use cpu::ThisCpu;
pub(crate) use kernel::{Kernel, NoMemory};

pub(crate) type Lock = spin::Mutex<()>;
pub(crate) type TestRegions = Regions<'static, Kernel, Lock>;

/// Where the pages are.
pub(crate) const BASE: u64 = 0xFFFF_8880_0000_0000;
const WRITABLE: u64 = 1 << 1;

const fn declare(name: &'static str, closed: Rights, pages: PageState) -> Declaration {
    Declaration {
        name,
        closed,
        pages,
    }
}

pub(crate) const DECLARED: Declared<6> = Declared::new([
    declare("ledger", Rights::NoAccess, PageState::Stray),
    declare("journal", Rights::NoAccess, PageState::Stray),
    declare("shared", Rights::NoAccess, PageState::Shared),
    declare("catalogue", Rights::ReadOnly, PageState::Stray),
    declare("readable shared", Rights::ReadOnly, PageState::Shared),
    declare("vault", Rights::NoAccess, PageState::Stray),
]);
pub(crate) const LEDGER: PksKey = DECLARED.key("ledger");
pub(crate) const JOURNAL: PksKey = DECLARED.key("journal");
pub(crate) const SHARED: PksKey = DECLARED.key("shared");
pub(crate) const CATALOGUE: PksKey = DECLARED.key("catalogue");
pub(crate) const READABLE: PksKey = DECLARED.key("readable shared");
pub(crate) const VAULT: PksKey = DECLARED.key("vault");

/// The page of a number.
pub(crate) fn page(number: usize) -> Page {
    Page::containing(BASE + number as u64 * 4096)
}

/// Consecutive pages.
pub(crate) fn pages(first: usize, nr: usize) -> Pages {
    Pages::new(page(first).addr(), nr as u64 * 4096).unwrap()
}

/// What can be wrong with the kernel around the regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// No TLB is told of a key that changed.
    NoShootDown,
    /// The CPU that changes it is told, the others are not.
    OnlyThisCpuFlushes,
    /// CPUs are not made to load their registers.
    NoRefresh,
    /// CPUs do not look at which keys have shared pages.
    SharingUnknown,
}

/// What every access that was made by right, and faulted, says.
pub(crate) type Violation = String;

#[derive(Debug)]
struct CpuState {
    cached: Cell<u64>,
    /// By number.
    current: Cell<usize>,
}

/// A context may use a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) context: usize,
    pub(crate) page: usize,
    pub(crate) rights: Rights,
}

/// Something that happens at a step of the protocol, once.
type Interruption = Box<dyn Fn()>;

/// Something that looks on, and is told what has just happened.
type Onlooker = Box<dyn Fn(&str)>;

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) pks: Pks<Lock>,
    pub(crate) broken: Cell<Option<Broken>>,
    /// Changes of page tables that fail, counted from the next one on.
    pub(crate) failing: RefCell<Vec<usize>>,
    page_table: PhysAddr,
    /// Those of threads, then one of a handler for each CPU.
    contexts: Vec<Context>,
    nr_threads: usize,
    cpus: Vec<CpuState>,
    executing: Cell<u32>,
    holdings: RefCell<Vec<Holding>>,
    violations: RefCell<Vec<Violation>>,
    interruption: RefCell<Option<(usize, Interruption)>>,
    /// Looks on at every step of the kernel.
    pub(crate) onlooker: RefCell<Option<Onlooker>>,
    /// Calls of the kernel.
    pub(crate) host_calls: RefCell<Vec<&'static str>>,
    /// How many calls there were, of the kernel and of the CPU.
    pub(crate) nr_calls: Cell<u64>,
}

impl Rig {
    /// It lives as long as the test's program, as a kernel does.
    pub(crate) fn new(nr_cpus: u32, nr_threads: usize, nr_pages: usize) -> &'static Self {
        let machine = Machine::new(nr_cpus, 1 << 20);
        let memory = machine.memory();
        let block = || memory.allocate(LeafSize::Size4K).unwrap();
        let [root, pdpt, pd, page_table] = [block(), block(), block(), block()];
        for (table, shift, next) in [(root, 39, pdpt), (pdpt, 30, pd), (pd, 21, page_table)] {
            let at = PhysAddr(table.0 + (BASE >> shift) % 512 * 8);
            memory.write_entry(at, next.0 | pte::PRESENT | WRITABLE);
        }
        for at in (page_table.0..).step_by(8).take(nr_pages) {
            memory.write_entry(PhysAddr(at), block().0 | pte::PRESENT | WRITABLE);
        }
        let cpus = (0..nr_cpus).map(|_| CpuState {
            cached: Cell::new(0),
            current: Cell::new(0),
        });
        let nr_contexts = nr_threads + nr_cpus as usize;
        let rig: &Self = Box::leak(Box::new(Self {
            pks: Pks::new(&DECLARED, Callbacks::NONE, Settings::DEFAULT),
            broken: Cell::new(None),
            failing: RefCell::default(),
            page_table,
            contexts: (0..nr_contexts).map(|_| Context::new()).collect(),
            nr_threads,
            cpus: cpus.collect(),
            executing: Cell::new(0),
            holdings: RefCell::default(),
            violations: RefCell::default(),
            interruption: RefCell::new(None),
            onlooker: RefCell::new(None),
            host_calls: RefCell::default(),
            nr_calls: Cell::new(0),
            machine,
        }));
        for cpu in rig.machine.cpus() {
            cpu.load_root(root);
        }
        for number in 0..nr_cpus {
            let thread = number as usize;
            rig.on(number, || start_cpu(&ThisCpu(rig), &rig.contexts[thread]));
        }
        rig
    }

    pub(crate) fn keys(&self) -> &Keys<Lock> {
        self.pks.keys()
    }

    /// Turns the two knobs, and has every CPU load its register.
    pub(crate) fn turn(&'static self, knobs: Knobs) {
        let settings = Settings {
            knobs,
            pardon: Pardon::Context,
        };
        let on_every_cpu = || Kernel::of(self).refresh();
        self.pks.set(settings).on_every_cpu(on_every_cpu);
    }

    /// Executes something on a CPU.
    pub(crate) fn on<T>(&self, cpu: u32, body: impl FnOnce() -> T) -> T {
        let before = self.executing.replace(cpu);
        let result = body();
        self.executing.set(before);
        result
    }

    /// The thread that runs on a CPU.
    pub(crate) fn thread_on(&self, cpu: u32) -> usize {
        self.cpus[cpu as usize].current.get()
    }

    /// The CPU on which a thread runs, if it does.
    pub(crate) fn cpu_of(&self, thread: usize) -> Option<u32> {
        (0..self.machine.nr_cpus()).find(|cpu| self.thread_on(*cpu) == thread)
    }

    /// The scheduler of a CPU lets another thread run, which runs nowhere.
    pub(crate) fn switch(&'static self, cpu: u32, thread: usize) {
        assert_eq!(self.cpu_of(thread), None);
        self.on(cpu, || switch_to(&ThisCpu(self), &self.contexts[thread]));
    }

    /// What a thread holds.
    pub(crate) fn context(&self, thread: usize) -> &Context {
        &self.contexts[thread]
    }

    /// Makes an access on a CPU as the thread that runs there.
    pub(crate) fn access(
        &self,
        cpu: u32,
        page: usize,
        access: Access,
    ) -> Result<(), PageFaultErrorCode> {
        // Not where tests keep their bytes.
        let addr = BASE + page as u64 * 4096 + 0x800;
        self.on(cpu, || self.access_byte(addr, access, &mut 0))
    }

    /// The same at an address, on the CPU that executes.
    pub(crate) fn access_byte(
        &self,
        addr: u64,
        access: Access,
        byte: &mut u8,
    ) -> Result<(), PageFaultErrorCode> {
        let cpu = self.machine.cpu(self.executing.get());
        match cpu.access(Privilege::Supervisor, access, addr, byte) {
            Ok(()) => Ok(()),
            Err(Exception::PageFault(fault)) => Err(fault.code),
            Err(other) => panic!("{other:?} at {addr:#x}"),
        }
    }

    /// The key of a page in the page tables.
    pub(crate) fn pkey(&self, page: usize) -> Pkey {
        pte::get(self.machine.memory().read_entry(self.entry(page)))
    }

    /// Where the page tables have a page.
    pub(crate) fn entry(&self, page: usize) -> PhysAddr {
        PhysAddr(self.page_table.0 + page as u64 * 8)
    }

    pub(crate) fn hold(&self, holding: Holding) {
        self.holdings.borrow_mut().push(holding);
        self.probe("mapped");
    }

    pub(crate) fn let_go(&self, holding: Holding) {
        let mut holdings = self.holdings.borrow_mut();
        let at = holdings.iter().position(|held| *held == holding).unwrap();
        holdings.remove(at);
    }

    /// Every thread that runs uses what it holds.
    pub(crate) fn probe(&self, when: &str) {
        if let Some(onlooker) = &*self.onlooker.borrow() {
            onlooker(when);
        }
        for holding in &*self.holdings.borrow() {
            let Some(cpu) = self.cpu_of(holding.context) else {
                continue;
            };
            for access in [Access::Read, Access::Write] {
                if !holding.rights.allows(access) {
                    continue;
                }
                if let Err(code) = self.access(cpu, holding.page, access) {
                    let told = format!("{when}: {access} by {holding:?} on CPU {cpu}: {code:?}");
                    self.violations.borrow_mut().push(told);
                }
            }
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations.take()
    }

    /// Lets something happen at a step of what a CPU does with its register, counted from 0. Gives whether it did.
    pub(crate) fn interrupted(
        &self,
        step: usize,
        by: impl Fn() + 'static,
        body: impl FnOnce(),
    ) -> bool {
        *self.interruption.borrow_mut() = Some((step, Box::new(by)));
        body();
        self.interruption.borrow_mut().take().is_none()
    }

    fn called(&self, what: &'static str) {
        self.nr_calls.set(self.nr_calls.get() + 1);
        self.host_calls.borrow_mut().push(what);
    }

    /// One step of what a CPU does with its register.
    fn step(&self) {
        self.nr_calls.set(self.nr_calls.get() + 1);
        let mut interruption = self.interruption.borrow_mut();
        let happens = match &mut *interruption {
            Some((0, _)) => interruption.take(),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        drop(interruption);
        if let Some((_, happens)) = happens {
            happens();
        }
    }

    /// An interrupt on a CPU, which makes it load its register.
    fn interrupt(&'static self, cpu: u32) {
        self.on(cpu, || {
            let here = ThisCpu(self);
            let interrupted = here.current();
            enter(&here, &self.contexts[self.nr_threads + cpu as usize]);
            refresh(&here);
            leave(&here, interrupted);
        });
    }
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").finish_non_exhaustive()
    }
}
