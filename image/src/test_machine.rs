//! A machine with supervisor keys on, for tests of what stands on regions: one thread, a handler, and some pages.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::ptr;

use pkeys_core::{
    Access, KeyRegister, Knobs, LeafSize, PageFaultErrorCode, PageState, Pkey, Privilege, Rights,
    pte, x86,
};
use pkeys_kernel::hardware::{Cpu, PhysAddr, PhysMemory};
use pkeys_kernel::pks::region::{Host, KeyedMemory, NoPages, Openers, Pages, Region, Regions};
use pkeys_kernel::pks::{
    Callbacks, Context, Declaration, Declared, Pks, PksCpu, PksKey, Settings, enter, leave,
    refresh, start_cpu,
};
use pkeys_machine::{Controls, Exception, Machine, MachineCpu};

pub(crate) type Lock = spin::Mutex<()>;
pub(crate) type TestRegion = Region<'static, ThisKernel, Lock, MachineMemory>;

/// Where the pages are.
const BASE: u64 = 0xFFFF_8880_0000_0000;
const WRITABLE: u64 = 1 << 1;

const DECLARED: Declared<2> = Declared::new([
    Declaration {
        name: "store",
        closed: Rights::NoAccess,
        pages: PageState::Stray,
    },
    Declaration {
        name: "catalogue",
        closed: Rights::ReadOnly,
        pages: PageState::Stray,
    },
]);
pub(crate) const STORE: PksKey = DECLARED.key("store");
pub(crate) const CATALOGUE: PksKey = DECLARED.key("catalogue");

/// The machine, and what its kernel knows.
pub(crate) struct Bench {
    machine: Machine,
    pks: Pks<Lock>,
    page_table: PhysAddr,
    /// The thread's, and the handler's.
    contexts: [Context; 2],
    current: Cell<usize>,
    cached: Cell<u64>,
    /// What accesses of code on the machine were made with: the access, and the rights on the store's key.
    pub(crate) log: RefCell<Vec<(&'static str, Rights)>>,
}

impl Bench {
    /// A machine with so many pages. It lives as long as the test's program, as a kernel does.
    pub(crate) fn new(nr_pages: usize) -> &'static Self {
        let machine = Machine::new(1, 4 << 20);
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
        let bench: &Self = Box::leak(Box::new(Self {
            machine,
            pks: Pks::new(&DECLARED, Callbacks::NONE, Settings::DEFAULT),
            page_table,
            contexts: [Context::new(), Context::new()],
            current: Cell::new(0),
            cached: Cell::new(0),
            log: RefCell::default(),
        }));
        bench.cpu().load_root(root);
        start_cpu(&ThisCpu(bench), &bench.contexts[0]);
        bench
    }

    fn cpu(&self) -> MachineCpu<'_> {
        self.machine.cpu(0)
    }

    /// The regions of a kernel on it.
    pub(crate) fn regions(&'static self) -> &'static Regions<'static, ThisKernel, Lock> {
        let kernel = ThisKernel(ThisCpu(self));
        Box::leak(Box::new(Regions::new(self.pks.keys(), kernel)))
    }

    /// A region of consecutive pages.
    pub(crate) fn region(&'static self, first: usize, nr_pages: usize) -> TestRegion {
        let memory = self.memory(first, nr_pages);
        Region::new(self.regions(), memory, STORE, Openers::Owner).unwrap()
    }

    pub(crate) fn memory(&'static self, first: usize, nr_pages: usize) -> MachineMemory {
        MachineMemory {
            bench: self,
            first,
            nr_pages,
        }
    }

    /// An access of the code that runs to a byte, counted from the first page.
    pub(crate) fn access(
        &self,
        at: usize,
        access: Access,
        byte: &mut u8,
    ) -> Result<(), PageFaultErrorCode> {
        let addr = BASE + at as u64;
        match self.cpu().access(Privilege::Supervisor, access, addr, byte) {
            Ok(()) => Ok(()),
            Err(Exception::PageFault(fault)) => Err(fault.code),
            Err(other) => panic!("{other:?} at {addr:#x}"),
        }
    }

    /// An interrupt of the code that runs.
    pub(crate) fn interrupt(&'static self, handler: impl FnOnce()) {
        let cpu = ThisCpu(self);
        let interrupted = cpu.current();
        enter(&cpu, &self.contexts[1]);
        handler();
        leave(&cpu, interrupted);
    }

    /// What stands in pages, past all keys.
    pub(crate) fn bytes(&self, first: usize, nr_pages: usize) -> Vec<u8> {
        let mut bytes = vec![0; nr_pages * 4096];
        let memory = self.machine.memory();
        for (number, page) in (first..).zip(bytes.chunks_mut(4096)) {
            let entry = memory.read_entry(self.entry(number));
            memory.read(PhysAddr(entry & 0x000F_FFFF_FFFF_F000), page);
        }
        bytes
    }

    /// The rights that the code that runs has on the store's key.
    pub(crate) fn rights(&self) -> Rights {
        let value = self.cpu().read_msr(x86::PKRS_MSR).unwrap();
        KeyRegister::from_bits(u32::try_from(value).unwrap()).rights(STORE.pkey())
    }

    /// Writes down what is done.
    pub(crate) fn note(&self, what: &'static str) {
        self.log.borrow_mut().push((what, self.rights()));
    }

    fn entry(&self, page: usize) -> PhysAddr {
        PhysAddr(self.page_table.0 + page as u64 * 8)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// Consecutive pages of the machine.
#[derive(Debug)]
pub(crate) struct MachineMemory {
    pub(crate) bench: &'static Bench,
    first: usize,
    nr_pages: usize,
}

impl MachineMemory {
    /// Accesses bytes as the code that runs.
    pub(crate) fn access(
        &self,
        at: usize,
        access: Access,
        bytes: &mut [u8],
    ) -> Result<(), PageFaultErrorCode> {
        assert!(at + bytes.len() <= self.nr_pages * 4096);
        for (byte, at) in bytes.iter_mut().zip(self.first * 4096 + at..) {
            self.bench.access(at, access, byte)?;
        }
        Ok(())
    }
}

impl KeyedMemory for MachineMemory {
    type Fault = PageFaultErrorCode;

    fn pages(&self) -> Result<Pages, NoPages> {
        Pages::new(BASE + self.first as u64 * 4096, self.nr_pages as u64 * 4096)
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), PageFaultErrorCode> {
        self.bench.note("read");
        self.access(at, Access::Read, into)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), PageFaultErrorCode> {
        self.bench.note("write");
        self.access(at, Access::Write, &mut bytes.to_vec())
    }
}

/// The CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisCpu(&'static Bench);

impl PksCpu for ThisCpu {
    fn write_pkrs(&self, value: KeyRegister) {
        let written = self.0.cpu().write_msr(x86::PKRS_MSR, value.bits().into());
        written.unwrap();
    }

    fn cached(&self) -> u64 {
        self.0.cached.get()
    }

    fn set_cached(&self, value: u64) {
        self.0.cached.set(value);
    }

    fn enable(&self) {
        self.0.cpu().set_controls(Controls {
            pks: true,
            ..Controls::LINUX
        });
    }

    fn closed(&self) -> KeyRegister {
        self.0.pks.closed()
    }

    fn current(&self) -> &Context {
        &self.0.contexts[self.0.current.get()]
    }

    fn set_current(&self, context: &Context) {
        let mut contexts = self.0.contexts.iter();
        let number = contexts.position(|known| ptr::eq(known, context));
        self.0.current.set(number.unwrap());
    }
}

/// The kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisKernel(ThisCpu);

impl Host for ThisKernel {
    type Cpu = ThisCpu;
    type Error = core::convert::Infallible;

    fn cpu(&self) -> &ThisCpu {
        &self.0
    }

    fn knobs(&self) -> Knobs {
        self.0.0.pks.knobs()
    }

    fn set_pkey(&self, pages: Pages, pkey: Pkey) -> Result<(), Self::Error> {
        let Bench { machine, .. } = self.0.0;
        for page in pages.iter() {
            let number = usize::try_from((page.addr() - BASE) / 4096).unwrap();
            let at = self.0.0.entry(number);
            let entry = machine.memory().read_entry(at);
            machine.memory().write_entry(at, pte::set(entry, pkey));
        }
        Ok(())
    }

    fn shoot_down(&self, pages: Pages) {
        for page in pages.iter() {
            self.0.0.cpu().invlpg(page.addr());
        }
    }

    fn refresh(&self) {
        refresh(&self.0);
    }
}
