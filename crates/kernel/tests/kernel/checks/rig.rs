//! A machine, a kernel on it, and a program that a test plays.

use core::cell::{Cell, RefCell};

use pkeys_core::KeyRegister;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::abi::nr;
use pkeys_kernel::abi::signal::{SA_RESTORER, SA_SIGINFO};
use pkeys_kernel::hardware::Cpu;
use pkeys_kernel::memory::{Caller, Pool, PoolSettings};
use pkeys_kernel::platform::{Image, Program, SpaceOf};
use pkeys_kernel::signal::xstate::XstateConfig;
use pkeys_kernel::{Config, ExitStatus, Kernel, Outcome, Platform, Processor, UserRegs};
use pkeys_machine::{Exception, Machine, MachineCpu, Memory};

pub(crate) const PAGE: u64 = 4096;
/// The instruction that the program is at.
pub(crate) const CODE: u64 = 0x40_0000;
/// The handler, and where it returns to.
pub(crate) const HANDLER: u64 = 0x50_0000;
pub(crate) const RESTORER: u64 = 0x60_0000;
/// Memory for arguments and results, of 16 pages with key 0.
pub(crate) const SCRATCH: u64 = 0x1000_0000;
/// The stack, of 16 pages.
pub(crate) const STACK: u64 = 0x2000_0000;
pub(crate) const STACK_TOP: u64 = STACK + 16 * PAGE;
/// Where tests map.
pub(crate) const ARENA: u64 = 0x4000_0000;
/// Nothing is mapped there.
pub(crate) const NOWHERE: u64 = 0x5000_0000;

pub(crate) const RW: u64 = 3;
pub(crate) const PRIVATE: u64 = 0x22;
pub(crate) const FIXED: u64 = 0x10;

pub(crate) const SEGV: i32 = 11;
pub(crate) const USR1: i32 = 10;
pub(crate) const USR2: i32 = 12;

pub(crate) const INIT: u32 = 0x5555_5554;

/// When the machine was started, in nanoseconds since 1970.
pub(crate) const SINCE_1970: u64 = 1_700_000_000_000_000_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;

thread_local! {
    static LOCKS_TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// How many locks this thread has taken.
pub(crate) fn locks_taken() -> u64 {
    LOCKS_TAKEN.with(Cell::get)
}

mod lock {
    #![allow(unsafe_code, reason = "the trait of locks is unsafe to implement")]

    use super::LOCKS_TAKEN;

    /// A lock that counts.
    pub(crate) struct Counting(spin::Mutex<()>);

    // SAFETY: every function passes on to the same of `spin::Mutex`, which keeps the trait's promise.
    unsafe impl lock_api::RawMutex for Counting {
        const INIT: Self = Self(<spin::Mutex<()> as lock_api::RawMutex>::INIT);
        type GuardMarker = <spin::Mutex<()> as lock_api::RawMutex>::GuardMarker;

        fn lock(&self) {
            LOCKS_TAKEN.with(|taken| taken.set(taken.get() + 1));
            // One thread of the host does everything: a lock that is taken twice would never be had.
            assert!(
                lock_api::RawMutex::try_lock(&self.0),
                "a lock is taken twice"
            );
        }

        fn try_lock(&self) -> bool {
            lock_api::RawMutex::try_lock(&self.0)
        }

        unsafe fn unlock(&self) {
            // SAFETY: the caller holds the lock, as this function requires of it as well.
            unsafe { lock_api::RawMutex::unlock(&self.0) }
        }
    }
}

pub(crate) use lock::Counting;

/// The surrounding kernel.
pub(crate) struct Host<'m> {
    pub(crate) woken: RefCell<Vec<i32>>,
    pub(crate) kicked: RefCell<Vec<u32>>,
    pub(crate) printed: RefCell<Vec<u8>>,
    pub(crate) programs: RefCell<Vec<Program>>,
    pub(crate) left: Cell<usize>,
    /// The time since the start; none for a machine without a clock.
    pub(crate) clock: Cell<Option<u64>>,
    /// What the timer was set to last.
    pub(crate) timer: Cell<Option<u64>>,
    /// The byte that random ones are.
    pub(crate) random: Cell<Option<u8>>,
    /// Calls that there are not.
    pub(crate) unknown: RefCell<Vec<u64>>,
    /// Processes without a parent that have ended.
    pub(crate) ended: RefCell<Vec<(i32, ExitStatus)>>,
    machine: &'m Machine,
}

impl<'m> Platform for Host<'m> {
    type Memory = &'m Memory;
    type Lock = Counting;
    type Tables = pkeys_kernel::memory::FourLevel<&'m Memory>;
    type Cpu = MachineCpu<'m>;

    fn wake(&self, tid: i32) {
        self.woken.borrow_mut().push(tid);
    }

    fn kick(&self, cpu: u32) {
        self.kicked.borrow_mut().push(cpu);
    }

    fn load(
        &self,
        caller: &Caller<'_, Self::Cpu>,
        space: &SpaceOf<Self>,
        program: &Program,
    ) -> Result<Image, Errno> {
        self.programs.borrow_mut().push(program.clone());
        if program.path == b"/no" {
            return Err(Errno::NoEntry);
        }
        let len = 16 * PAGE;
        for addr in [SCRATCH, STACK] {
            space.mmap(caller, addr, len, RW, PRIVATE | FIXED, u64::MAX, 0)?;
        }
        // Execute-only code, as some programs have it.
        space.mmap(caller, CODE, PAGE, 4, PRIVATE | FIXED, u64::MAX, 0)?;
        if program.path == b"/late" {
            return Err(Errno::NoExecutable);
        }
        Ok(Image {
            entry: CODE,
            stack: STACK_TOP,
        })
    }

    fn print(&self, bytes: &[u8]) {
        self.printed.borrow_mut().extend_from_slice(bytes);
    }

    fn ended(&self, pid: i32, status: ExitStatus) {
        self.ended.borrow_mut().push((pid, status));
    }

    fn no_system_call(&self, nr: u64) {
        self.unknown.borrow_mut().push(nr);
    }

    fn monotonic(&self) -> Option<u64> {
        self.clock.get()
    }

    fn realtime(&self) -> Option<u64> {
        Some(self.clock.get()? + SINCE_1970)
    }

    fn set_timer(&self, deadline: u64) {
        self.timer.set(Some(deadline));
    }

    fn random(&self, bytes: &mut [u8]) -> bool {
        self.random.get().is_some_and(|byte| {
            bytes.fill(byte);
            true
        })
    }

    fn nr_cpus(&self) -> u32 {
        self.machine.nr_cpus()
    }

    fn leave_space(&self, _: &Self::Cpu) {
        self.left.set(self.left.get() + 1);
        let _ = self.machine;
    }
}

pub(crate) struct World<'m> {
    pub(crate) kernel: Kernel<Host<'m>>,
    pub(crate) machine: &'m Machine,
    cpus: Vec<OnCpu<'m>>,
}

struct OnCpu<'m> {
    processor: Processor<Host<'m>>,
    regs: RefCell<UserRegs>,
}

pub(crate) fn machine(nr_cpus: u32) -> Machine {
    Machine::new(nr_cpus, 64 << 20)
}

/// A processor with a small area.
pub(crate) fn amd() -> Config {
    Config {
        xstate: XstateConfig::AMD,
        ..Config::default()
    }
}

impl<'m> World<'m> {
    /// One process, with its thread on CPU 0, a stack and scratch memory.
    pub(crate) fn new(machine: &'m Machine) -> Self {
        Self::with(machine, Config::default())
    }

    pub(crate) fn with(machine: &'m Machine, config: Config) -> Self {
        let host = Host {
            woken: RefCell::default(),
            kicked: RefCell::default(),
            printed: RefCell::default(),
            programs: RefCell::default(),
            left: Cell::new(0),
            clock: Cell::new(None),
            timer: Cell::new(None),
            random: Cell::new(None),
            unknown: RefCell::default(),
            ended: RefCell::default(),
            machine,
        };
        let pool = Pool::new(machine.memory(), PoolSettings::default()).unwrap();
        let kernel = Kernel::new(host, pool, config).unwrap();
        let cpus = machine.cpus().map(|cpu| OnCpu {
            processor: Processor::new(cpu),
            regs: RefCell::default(),
        });
        let world = Self {
            cpus: cpus.collect(),
            kernel,
            machine,
        };
        let start = UserRegs::new(CODE, STACK_TOP);
        let pid = world.kernel.start(&world.cpus[0].processor, start).unwrap();
        world.run(0, pid);
        for addr in [SCRATCH, STACK] {
            world.map(0, addr, 16);
        }
        world
    }

    pub(crate) fn cpu(&self, number: u32) -> MachineCpu<'m> {
        self.machine.cpu(number)
    }

    pub(crate) fn processor(&self, number: u32) -> &Processor<Host<'m>> {
        &self.cpus[number as usize].processor
    }

    pub(crate) fn regs(&self, number: u32) -> UserRegs {
        *self.cpus[number as usize].regs.borrow()
    }

    pub(crate) fn change_regs(&self, number: u32, change: impl FnOnce(&mut UserRegs)) {
        change(&mut self.cpus[number as usize].regs.borrow_mut());
    }

    pub(crate) fn host(&self) -> &Host<'m> {
        self.kernel.platform()
    }

    /// Switches to a thread and lets it come to user mode.
    pub(crate) fn run(&self, cpu: u32, tid: i32) {
        assert_eq!(self.resume(cpu, tid), Outcome::Resume);
    }

    pub(crate) fn resume(&self, cpu: u32, tid: i32) -> Outcome {
        let on = &self.cpus[cpu as usize];
        let mut regs = on.regs.borrow_mut();
        self.kernel
            .switch_to(&on.processor, &mut regs, tid)
            .unwrap();
        self.kernel.deliver(&on.processor, &mut regs)
    }

    pub(crate) fn deliver(&self, cpu: u32) -> Outcome {
        let on = &self.cpus[cpu as usize];
        self.kernel
            .deliver(&on.processor, &mut on.regs.borrow_mut())
    }

    /// Another entry, whatever comes of it.
    pub(crate) fn enter_by(
        &self,
        cpu: u32,
        entry: impl FnOnce(&Kernel<Host<'m>>, &Processor<Host<'m>>, &mut UserRegs) -> Outcome,
    ) -> Outcome {
        let on = &self.cpus[cpu as usize];
        entry(&self.kernel, &on.processor, &mut on.regs.borrow_mut())
    }

    /// A system call, whatever comes of it.
    pub(crate) fn enter(&self, cpu: u32, nr: u64, args: &[u64]) -> Outcome {
        let on = &self.cpus[cpu as usize];
        let mut regs = on.regs.borrow_mut();
        let arg = |at: usize| args.get(at).copied().unwrap_or(0);
        regs.rax = nr;
        [regs.rdi, regs.rsi, regs.rdx] = [arg(0), arg(1), arg(2)];
        [regs.r10, regs.r8, regs.r9] = [arg(3), arg(4), arg(5)];
        self.kernel.syscall(&on.processor, &mut regs)
    }

    /// A system call that comes back with a result.
    pub(crate) fn call_on(&self, cpu: u32, nr: u64, args: &[u64]) -> i64 {
        assert_eq!(self.enter(cpu, nr, args), Outcome::Resume, "call {nr}");
        self.regs(cpu).rax.cast_signed()
    }

    pub(crate) fn call(&self, nr: u64, args: &[u64]) -> i64 {
        self.call_on(0, nr, args)
    }

    /// A system call that has to succeed.
    pub(crate) fn ok(&self, nr: u64, args: &[u64]) -> u64 {
        let result = self.call(nr, args);
        assert!(result >= 0, "call {nr} {args:x?}: {result}");
        result.cast_unsigned()
    }

    /// A system call that leaves its thread waiting.
    pub(crate) fn blocks(&self, cpu: u32, nr: u64, args: &[u64]) {
        assert_eq!(self.enter(cpu, nr, args), Outcome::Blocked, "call {nr}");
    }

    /// Sets the clock, and wakes whose time has come.
    pub(crate) fn set_clock(&self, now: u64) {
        self.host().clock.set(Some(now));
        self.kernel.wake_expired();
    }

    pub(crate) fn put_time(&self, addr: u64, nanoseconds: u64) {
        let second = 1000 * MILLISECOND;
        self.put_words(addr, &[nanoseconds / second, nanoseconds % second]);
    }

    /// The time in a `struct timespec`.
    pub(crate) fn time(&self, addr: u64) -> u64 {
        self.word(addr) * 1000 * MILLISECOND + self.word(addr + 8)
    }

    /// Lets a thread that waited go on with its call, and gives what came of it.
    pub(crate) fn goes_on(&self, cpu: u32, tid: i32) -> i64 {
        self.run(cpu, tid);
        self.regs(cpu).rax.cast_signed()
    }

    pub(crate) fn map(&self, cpu: u32, addr: u64, nr_pages: u64) {
        let args = [addr, nr_pages * PAGE, RW, PRIVATE | FIXED, u64::MAX, 0];
        assert_eq!(self.call_on(cpu, nr::MMAP, &args), addr.cast_signed());
    }

    /// Pages behind a new key, which the running thread has open or not.
    pub(crate) fn map_keyed(&self, addr: u64, nr_pages: u64, rights: u64) -> u64 {
        self.map(0, addr, nr_pages);
        let key = self.ok(nr::PKEY_ALLOC, &[0, rights]);
        self.ok(nr::PKEY_MPROTECT, &[addr, nr_pages * PAGE, RW, key]);
        key
    }

    pub(crate) fn pkru(&self, cpu: u32) -> u32 {
        self.cpu(cpu).read_pkru().bits()
    }

    pub(crate) fn set_pkru(&self, cpu: u32, pkru: u32) {
        self.cpu(cpu).write_pkru(KeyRegister::from_bits(pkru));
    }

    /// An access of the program, with the faults that it takes. `Err` has what came of the one that could not be put right.
    pub(crate) fn access<T>(
        &self,
        cpu: u32,
        access: impl Fn(MachineCpu<'m>) -> Result<T, Exception>,
    ) -> Result<T, Outcome> {
        let on = &self.cpus[cpu as usize];
        let before = self.regs(cpu);
        for _ in 0..10 {
            let mut regs = on.regs.borrow_mut();
            let outcome = match access(self.cpu(cpu)) {
                Ok(value) => return Ok(value),
                Err(Exception::PageFault(fault)) => {
                    self.kernel.page_fault(&on.processor, &mut regs, fault)
                }
                Err(_) => self.kernel.general_protection(&on.processor, &mut regs, 0),
            };
            // A handler may have started where another one had just begun.
            let has_moved = (regs.rip, regs.rsp) != (before.rip, before.rsp);
            if outcome != Outcome::Resume || has_moved {
                return Err(outcome);
            }
        }
        panic!("the access faults for ever");
    }

    pub(crate) fn read(&self, cpu: u32, addr: u64) -> Result<u8, Outcome> {
        self.access(cpu, |cpu| cpu.user_read(addr))
    }

    pub(crate) fn write(&self, cpu: u32, addr: u64, byte: u8) -> Result<(), Outcome> {
        self.access(cpu, |cpu| cpu.user_write(addr, byte))
    }

    /// Puts bytes into the memory of the process on CPU 0, whatever its keys and protection.
    pub(crate) fn put(&self, addr: u64, bytes: &[u8]) {
        let space = self.processor(0).space().unwrap();
        space.write_remote(&self.cpu(0), addr, bytes, true).unwrap();
    }

    pub(crate) fn put_words(&self, addr: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(addr, &bytes);
    }

    pub(crate) fn get<const N: usize>(&self, addr: u64) -> [u8; N] {
        self.get_on(0, addr)
    }

    pub(crate) fn get_on<const N: usize>(&self, cpu: u32, addr: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let space = self.processor(cpu).space().unwrap();
        space
            .read_remote(&self.cpu(cpu), addr, &mut bytes, true)
            .unwrap();
        bytes
    }

    pub(crate) fn word(&self, addr: u64) -> u64 {
        u64::from_le_bytes(self.get(addr))
    }

    pub(crate) fn int(&self, addr: u64) -> i32 {
        i32::from_le_bytes(self.get(addr))
    }

    /// Installs the handler for a signal.
    pub(crate) fn handle(&self, signo: i32, flags: u64, mask: u64) {
        let flags = flags | SA_SIGINFO | SA_RESTORER;
        self.sigaction(signo, [HANDLER, flags, RESTORER, mask]);
    }

    pub(crate) fn sigaction(&self, signo: i32, action: [u64; 4]) {
        self.put_words(SCRATCH, &action);
        self.ok(nr::RT_SIGACTION, &[number(signo), SCRATCH, 0, 8]);
    }

    /// Sends a signal to the thread on CPU 0, by itself.
    pub(crate) fn raise(&self, signo: i32) -> Outcome {
        let tid = self.processor(0).current().unwrap().tid();
        let pid = self.processor(0).current().unwrap().process().pid();
        self.enter(0, nr::TGKILL, &[number(pid), number(tid), number(signo)])
    }

    pub(crate) fn set_altstack(&self, start: u64, len: u64, flags: u64) -> i64 {
        self.put_words(SCRATCH, &[start, flags, len]);
        self.call(nr::SIGALTSTACK, &[SCRATCH, 0])
    }

    /// The mask of the thread on CPU 0.
    pub(crate) fn mask(&self) -> u64 {
        self.ok(nr::RT_SIGPROCMASK, &[0, 0, SCRATCH + 64, 8]);
        self.word(SCRATCH + 64)
    }

    pub(crate) fn set_mask(&self, mask: u64) {
        self.put_words(SCRATCH + 64, &[mask]);
        self.ok(nr::RT_SIGPROCMASK, &[2, SCRATCH + 64, 0, 8]);
    }

    /// Whether the thread on CPU 0 is at the start of its handler.
    pub(crate) fn is_in_handler(&self) -> bool {
        self.regs(0).rip == HANDLER
    }

    /// The frame that the handler on CPU 0 has.
    pub(crate) fn frame(&self) -> Frame<'_, 'm> {
        assert!(self.is_in_handler());
        Frame {
            world: self,
            at: self.regs(0).rsp,
        }
    }

    /// The handler on CPU 0 returns.
    pub(crate) fn sigreturn(&self) -> Outcome {
        self.change_regs(0, |regs| regs.rsp += 8);
        self.enter(0, nr::RT_SIGRETURN, &[])
    }

    pub(crate) fn fork(&self) -> i32 {
        i32::try_from(self.ok(nr::FORK, &[])).unwrap()
    }

    /// A new thread, with a stack of its own somewhere in the scratch memory.
    pub(crate) fn thread(&self) -> i32 {
        i32::try_from(self.ok(nr::CLONE, &[THREAD, SCRATCH + 8 * PAGE])).unwrap()
    }
}

/// `CLONE_VM|FS|FILES|SIGHAND|THREAD`.
pub(crate) const THREAD: u64 = 0x1_0F00;

/// A signal frame in memory.
pub(crate) struct Frame<'a, 'm> {
    world: &'a World<'m>,
    pub(crate) at: u64,
}

impl Frame<'_, '_> {
    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.world.word(self.at + offset)
    }

    pub(crate) fn set_word(&self, offset: u64, word: u64) {
        self.world.put_words(self.at + offset, &[word]);
    }

    /// err, trapno, cr2.
    pub(crate) fn fault(&self) -> [u64; 3] {
        [self.word(200), self.word(208), self.word(224)]
    }

    /// signo, code, address, key.
    pub(crate) fn info(&self) -> (i32, i32, u64, i32) {
        let int = |offset| self.world.int(self.at + 312 + offset);
        (int(0), int(8), self.word(312 + 16), int(0x20))
    }

    /// The extended state.
    pub(crate) fn xstate(&self) -> u64 {
        self.word(232)
    }

    pub(crate) fn pkru_at(&self) -> u64 {
        self.xstate() + u64::from(self.world.kernel.config().xstate.layout.pkru_offset)
    }

    pub(crate) fn pkru(&self) -> u32 {
        self.world.int(self.pkru_at()).cast_unsigned()
    }

    pub(crate) fn set_pkru(&self, pkru: u32) {
        self.world.put(self.pkru_at(), &pkru.to_le_bytes());
    }
}

pub(crate) fn number(signed: i32) -> u64 {
    i64::from(signed).cast_unsigned()
}

pub(crate) fn error(errno: Errno) -> i64 {
    -i64::from(errno.number())
}

pub(crate) fn killed(signo: i32) -> Outcome {
    Outcome::ProcessEnded(ExitStatus::Killed(signo))
}
