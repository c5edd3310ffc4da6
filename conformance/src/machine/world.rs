//! The machine, its kernel, and how a program starts on it.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;
use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;

use pkeys_kernel::abi::{Errno, MapFlags, Prot, nr};
use pkeys_kernel::hardware::Cpu as _;
use pkeys_kernel::memory::{Caller, FourLevel, Pool, PoolSettings, Space};
use pkeys_kernel::platform::{Image, Platform, Program};
use pkeys_kernel::task::{ExitStatus, Processor, UserRegs};
use pkeys_kernel::{Config, Kernel, Outcome};
use pkeys_machine::{Machine, MachineCpu, Memory};

use super::MachineSystem;
use super::thread::{Gone, HANDLER, RESTORER, Thread};
use crate::system::System;

/// How many CPUs the machine has: one for the first thread, and two for all others. So what the first thread does between
/// two tasks, in an address space of its own perhaps, does not empty the TLBs of those that it asks.
const NR_CPUS: u32 = 3;

/// Where a program's first instruction would be.
const ENTRY: u64 = 0x40_0000;
/// The first thread's stack.
const STACK: Range<u64> = 0x7FFF_0000_0000..0x7FFF_0010_0000;

/// Where it begins.
const STACK_TOP: u64 = STACK.end - 0x100;

/// Slots, as on Linux (`crate::linux`): where the first begins, and how far apart they are.
const SLOTS: u64 = 0x2000_0000_0000;
const SLOT_STRIDE: u64 = 1 << 20;
const SCRATCH: Range<u64> = 0x1_0000..0x3_0000;
const ALTSTACK: Range<u64> = 0x4_0000..0xC_0000;
/// A thread's stack, which on Linux the C library places.
const THREAD_STACK: Range<u64> = 0xD_0000..0xE_0000;

/// What a machine and its kernel are made with.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The kernel.
    pub config: Config,
    /// Huge pages.
    pub pool: PoolSettings,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::default(),
            pool: PoolSettings {
                nr_2m: 8,
                nr_1g: 1,
                ..PoolSettings::default()
            },
            memory_bytes: 4 << 30,
        }
    }
}

/// How a program ended that did not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was killed by this signal.
    Killed(i32),
    /// It ended itself with this status.
    Exited(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(signo) => write!(f, "killed by signal {signo}"),
            Self::Exited(status) => write!(f, "ended with status {status}"),
        }
    }
}

/// What stands around the kernel library: nothing but the types.
#[derive(Debug)]
pub(super) struct Ground<'m>(PhantomData<&'m Machine>);

impl<'m> Platform for Ground<'m> {
    type Memory = Memory;
    type Lock = parking_lot::RawMutex;
    type Tables = FourLevel<Memory>;
    type Cpu = MachineCpu<'m>;

    fn load(
        &self,
        caller: &Caller<'_, Self::Cpu>,
        space: &SpaceOfGround<'m>,
        _: &Program,
    ) -> Result<Image, Errno> {
        let prot = Prot::READ | Prot::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED;
        let len = STACK.end - STACK.start;
        space.mmap(
            caller,
            STACK.start,
            len,
            prot.bits(),
            flags.bits(),
            u64::MAX,
            0,
        )?;
        Ok(Image {
            entry: ENTRY,
            stack: STACK_TOP,
        })
    }
}

/// An address space on it.
pub(super) type SpaceOfGround<'m> = Space<Memory, parking_lot::RawMutex, FourLevel<Memory>>;

/// One CPU and the registers of the thread on it.
struct Place<'m> {
    processor: Processor<Ground<'m>>,
    live: Cell<UserRegs>,
}

/// A kernel on a machine.
pub(super) struct World<'m> {
    pub(super) kernel: Kernel<Ground<'m>>,
    places: Vec<Place<'m>>,
    nr_started: Cell<usize>,
}

impl<'m> World<'m> {
    fn new(machine: &'m Machine, settings: &Settings) -> Self {
        let pool = Pool::new(machine.memory().clone(), settings.pool).expect("huge pages");
        let place = |number| Place {
            processor: Processor::new(machine.cpu(number)),
            live: Cell::default(),
        };
        Self {
            kernel: Kernel::new(Ground(PhantomData), pool, settings.config)
                .expect("an extended state that can be"),
            places: (0..machine.nr_cpus()).map(place).collect(),
            nr_started: Cell::new(0),
        }
    }

    #[inline]
    fn place(&self, at: usize) -> &Place<'m> {
        &self.places[at]
    }

    #[inline]
    pub(super) fn processor(&self, at: usize) -> &Processor<Ground<'m>> {
        &self.place(at).processor
    }

    /// The registers of the thread on a CPU.
    #[inline]
    pub(super) fn live(&self, at: usize) -> UserRegs {
        self.place(at).live.get()
    }

    #[inline]
    pub(super) fn set_live(&self, at: usize, regs: UserRegs) {
        self.place(at).live.set(regs);
    }

    /// The CPU for the next thread that starts: one after the other, but not the first.
    pub(super) fn next_cpu(&self) -> usize {
        let nr_started = self.nr_started.get();
        self.nr_started.set(nr_started + 1);
        1 + nr_started % (self.places.len() - 1)
    }

    /// Makes a thread the one that runs on a CPU, if it is not already, and says what is to be done.
    #[inline]
    pub(super) fn switch(&self, at: usize, tid: i32) -> Outcome {
        let Place { processor, live } = self.place(at);
        if processor
            .current()
            .is_some_and(|thread| thread.tid() == tid)
        {
            return Outcome::Resume;
        }
        let mut regs = live.get();
        self.kernel
            .switch_to(processor, &mut regs, tid)
            .unwrap_or_else(|err| panic!("thread {tid}: {err}"));
        let outcome = self.kernel.deliver(processor, &mut regs);
        live.set(regs);
        outcome
    }

    /// The thread of a CPU waits: every other one gets as far as it comes without being asked for anything, which is to
    /// the signals and stops that are due.
    ///
    /// # Panics
    ///
    /// If the thread waits even then.
    pub(super) fn let_others_run(&self, at: usize, tid: i32) {
        for place in &self.places {
            let mut regs = place.live.get();
            // An outcome here is about a thread that was not asked; it will be seen when it is.
            let _ = self.kernel.deliver(&place.processor, &mut regs);
            place.live.set(regs);
        }
        let Place { processor, live } = self.place(at);
        for other in self.kernel.ready() {
            if other != tid && self.switch(at, other) == Outcome::Resume {
                self.kernel.idle(processor, &live.get());
            }
        }
        assert!(
            self.kernel.is_ready(tid),
            "thread {tid} waits, and nobody can wake it"
        );
    }
}

/// Runs a test program on a machine of its own.
///
/// # Errors
///
/// How it ended, if it did.
///
/// # Panics
///
/// If the body does, or the program does what no test program does (waits for nobody, calls what is no code).
pub fn run<R>(settings: &Settings, body: impl FnOnce(&mut dyn System) -> R) -> Result<R, Ended> {
    let machine = Machine::new(NR_CPUS, settings.memory_bytes);
    for cpu in machine.cpus() {
        cpu.write_pkru(settings.config.init_pkru.register());
    }
    let world = World::new(&machine, settings);
    let done = catch_unwind(AssertUnwindSafe(|| {
        let mut thread = start(&world);
        body(&mut MachineSystem::new(&mut thread))
    }));
    done.map_err(|thrown| match thrown.downcast_ref() {
        Some(Gone::Process(_, ExitStatus::Killed(signo))) => Ended::Killed(*signo),
        Some(Gone::Process(_, ExitStatus::Exited(code))) => Ended::Exited((*code).into()),
        _ => resume_unwind(thrown),
    })
}

/// The first process, with what a program sets up for itself.
fn start<'w, 'm>(world: &'w World<'m>) -> Thread<'w, 'm> {
    let slots = Rc::<Slots>::default();
    let slot = slots.take();
    let pid = world
        .kernel
        .start(world.processor(0), UserRegs::new(ENTRY, STACK_TOP))
        .expect("the first process");
    let mut thread = Thread::new(world, [pid, pid], 0, slot, slots);
    thread.come_back();
    thread.map(STACK);
    thread.begin();
    thread
}

impl Thread<'_, '_> {
    /// What a program does first: its signal handlers, its memory, its alternate stack.
    pub(super) fn begin(&mut self) {
        /// `SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER`.
        const FLAGS: u64 = 4 | 0x0800_0000 | 0x4000_0000 | 0x0400_0000;
        /// SIGSEGV, SIGBUS, SIGUSR1, SIGUSR2.
        const SIGNALS: [u64; 4] = [11, 7, 10, 12];
        self.map_slot();
        let action = self.slot.scratch().start;
        for (index, word) in (0_u64..).zip([HANDLER, FLAGS, RESTORER, 0]) {
            self.poke(action + index * 8, &word.to_le_bytes());
        }
        for signo in SIGNALS {
            let result = self.syscall(nr::RT_SIGACTION, [signo, action, 0, 8, 0, 0], &mut None);
            assert_eq!(result, 0, "rt_sigaction");
        }
        self.poke(action, &[0; 32]);
        assert_eq!(self.set_altstack(Some(self.slot.altstack())), 0);
    }

    /// Maps a thread's slot: what it maps for itself on Linux.
    pub(super) fn map_slot(&mut self) {
        self.map(self.slot.scratch());
        self.map(self.slot.altstack());
    }

    /// Maps memory that can be read and written.
    pub(super) fn map(&mut self, part: Range<u64>) {
        let prot = (Prot::READ | Prot::WRITE).bits();
        let flags = (MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED).bits();
        let args = [part.start, part.end - part.start, prot, flags, u64::MAX, 0];
        let result = self.syscall(nr::MMAP, args, &mut None);
        assert_eq!(result.cast_unsigned(), part.start, "mmap");
    }

    /// Unmaps a slot, all of it.
    pub(super) fn unmap_slot(&mut self) {
        let whole = self.slot.part(0..SLOT_STRIDE);
        let args = [whole.start, SLOT_STRIDE, 0, 0, 0, 0];
        assert_eq!(self.syscall(nr::MUNMAP, args, &mut None), 0, "munmap");
    }
}

/// A thread's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    pub(super) fn scratch(self) -> Range<u64> {
        self.part(SCRATCH)
    }

    pub(super) fn altstack(self) -> Range<u64> {
        self.part(ALTSTACK)
    }

    pub(super) fn stack(self) -> Range<u64> {
        self.part(THREAD_STACK)
    }

    fn part(self, part: Range<u64>) -> Range<u64> {
        let start = SLOTS + u64::from(self.0) * SLOT_STRIDE;
        start + part.start..start + part.end
    }
}

/// The slots of a process, a bit each.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Cell<u64>);

impl Slots {
    /// The lowest free slot.
    pub(super) fn take(&self) -> Slot {
        let taken = self.0.get();
        assert_ne!(taken, u64::MAX, "a thread more than there are slots");
        self.0.set(taken | (taken + 1));
        Slot(taken.trailing_ones())
    }

    pub(super) fn give_back(&self, slot: Slot) {
        self.0.set(self.0.get() & !(1 << slot.0));
    }
}
