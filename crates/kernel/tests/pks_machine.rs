//! Supervisor keys on the software machine: what the protocol says that a context may do is what the CPU lets through.
//!
//! Each key has a page in the kernel's half of the tables. Accesses are made by the machine's CPU, with PKRS written and
//! CR4.PKS set by the protocol; faults are the machine's, and the key that they are judged by comes from a walk of its
//! tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::cell::Cell;

use pkeys_core::{
    Access, Knobs, LeafSize, Mode, PageState, Pardon, Pkey, Privilege, Rights, pte, x86,
};
use pkeys_kernel::hardware::{Cpu as _, HardwareFault, PhysAddr, PhysMemory as _};
use pkeys_kernel::pks::{
    self, Callbacks, Context, Declaration, Declared, Grant, INVALID, KeyFault, KeyedPage, Pks,
    PksCpu, PksKey, Settings, StepFrame, Verdict,
};
use pkeys_machine::{Controls, Exception, Machine, MachineCpu};

type Lock = spin::mutex::Mutex<()>;

const PAGE: u64 = 4096;
/// The page of key 0; the others follow.
const PAGES: u64 = 0xFFFF_8000_0000_0000;
const RIP: u64 = 0xFFFF_FFFF_8000_0000;
/// MOV [RAX], EAX.
const CODE: [u8; 3] = [0x89, 0x00, 0x90];
const IF: u64 = 1 << 9;

/// Present and writable, for the kernel.
const FLAGS: u64 = 3;

const RIGHTS: [Rights; 3] = [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite];
const ACCESSES: [Access; 2] = [Access::Read, Access::Write];

/// All fifteen keys, of every kind: closed to all, closed to writes, and open in turn.
fn declared() -> Declared<15> {
    const NAMES: [&str; 15] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o",
    ];
    Declared::new(core::array::from_fn(|at| Declaration {
        closed: RIGHTS[at % 3],
        ..Declaration::new(NAMES[at])
    }))
}

fn system(settings: Settings) -> Pks<Lock> {
    Pks::new(&declared(), Callbacks::NONE, settings)
}

fn page_of(pkey: Pkey) -> u64 {
    PAGES + PAGE * u64::from(pkey.get())
}

/// The machine's tables: one page for each key.
struct Tables<'m> {
    machine: &'m Machine,
    root: PhysAddr,
    last: PhysAddr,
}

impl<'m> Tables<'m> {
    fn new(machine: &'m Machine) -> Self {
        let memory = machine.memory();
        let table = || memory.allocate(LeafSize::Size4K).unwrap();
        let [root, third, second, last] = [(); 4].map(|()| table());
        let entry = |table: PhysAddr, number: u64| PhysAddr(table.0 + 8 * number);
        memory.write_entry(entry(root, 256), third.0 | FLAGS);
        memory.write_entry(entry(third, 0), second.0 | FLAGS);
        memory.write_entry(entry(second, 0), last.0 | FLAGS);
        for pkey in Pkey::all() {
            let page = pte::set(table().0 | FLAGS, pkey);
            memory.write_entry(entry(last, u64::from(pkey.get())), page);
        }
        Self {
            machine,
            root,
            last,
        }
    }

    fn leaf(&self, addr: u64) -> PhysAddr {
        PhysAddr(self.last.0 + (addr - PAGES) / PAGE * 8)
    }

    /// What the tables say of an address, whatever a TLB says.
    fn walk(&self, addr: u64) -> Option<KeyedPage> {
        let entry = self.machine.memory().read_entry(self.leaf(addr));
        Some(KeyedPage {
            pkey: pte::get(entry),
            state: PageState::Stray,
        })
    }

    fn set_key(&self, addr: u64, key: PksKey) {
        let memory = self.machine.memory();
        let entry = memory.read_entry(self.leaf(addr));
        memory.write_entry(self.leaf(addr), pte::set(entry, key.pkey()));
    }
}

/// The CPU, with a thread and its fault handler.
struct Rig<'m> {
    cpu: MachineCpu<'m>,
    tables: Tables<'m>,
    pks: &'m Pks<Lock>,
    contexts: [Context; 2],
    current: Cell<usize>,
    cache: Cell<u64>,
}

const THREAD: usize = 0;
const HANDLER: usize = 1;

impl<'m> Rig<'m> {
    fn new(machine: &'m Machine, pks: &'m Pks<Lock>) -> Self {
        let tables = Tables::new(machine);
        let cpu = machine.cpu(0);
        cpu.load_root(tables.root);
        Self {
            cpu,
            tables,
            pks,
            contexts: Default::default(),
            current: Cell::new(THREAD),
            cache: Cell::new(INVALID),
        }
    }

    fn start(&self) {
        pks::start_cpu(self, &self.contexts[THREAD]);
    }

    fn access(&self, access: Access, addr: u64) -> Result<(), HardwareFault> {
        let result = self.cpu.access(Privilege::Supervisor, access, addr, &mut 0);
        match result {
            Ok(()) => Ok(()),
            Err(Exception::PageFault(fault)) => Err(fault),
            Err(exception) => panic!("{exception:?}"),
        }
    }

    fn may(&self, access: Access, pkey: Pkey) -> bool {
        self.access(access, page_of(pkey)).is_ok()
    }

    /// What the machine lets through, on each key, in order.
    fn rights(&self) -> Vec<Rights> {
        let of = |pkey| match ACCESSES.map(|access| self.may(access, pkey)) {
            [true, true] => Rights::ReadWrite,
            [true, false] => Rights::ReadOnly,
            [false, false] => Rights::NoAccess,
            [false, true] => panic!("key {pkey}: writes without reads"),
        };
        Pkey::all().map(of).collect()
    }

    /// The handler of a fault: gives what was judged.
    fn page_fault(&self, fault: HardwareFault, frame: &mut Frame) -> Option<Pardon> {
        let [thread, handler] = &self.contexts;
        pks::enter(self, handler);
        let closed = self.pks.closed();
        let closed: Vec<_> = Pkey::all().map(|pkey| closed.rights(pkey)).collect();
        assert_eq!(self.rights(), closed, "the handler is closed");
        let key_fault = KeyFault {
            addr: fault.addr,
            code: fault.code,
            rip: RIP,
        };
        let page = self.tables.walk(fault.addr);
        let given = match self.pks.judge(&key_fault, thread, page) {
            Verdict::Pardon(pardoned) => Some(pardoned.give(thread, frame, &CODE)),
            Verdict::Retry | Verdict::Fatal(_) => None,
            Verdict::Other => panic!("it is a fault of a key"),
        };
        pks::leave(self, thread);
        given
    }
}

impl PksCpu for Rig<'_> {
    fn write_pkrs(&self, value: pkeys_core::KeyRegister) {
        self.cpu
            .write_msr(x86::PKRS_MSR, value.bits().into())
            .unwrap();
    }
    fn cached(&self) -> u64 {
        self.cache.get()
    }
    fn set_cached(&self, value: u64) {
        self.cache.set(value);
    }
    fn enable(&self) {
        let controls = self.cpu.controls();
        self.cpu.set_controls(Controls {
            pks: true,
            ..controls
        });
    }
    fn closed(&self) -> pkeys_core::KeyRegister {
        self.pks.closed()
    }
    fn current(&self) -> &Context {
        &self.contexts[self.current.get()]
    }
    fn set_current(&self, context: &Context) {
        let is_handler = core::ptr::eq(context, &self.contexts[HANDLER]);
        self.current.set(if is_handler { HANDLER } else { THREAD });
    }
}

/// The flags of the interrupted code.
struct Frame(u64);

impl StepFrame for Frame {
    fn rip(&self) -> u64 {
        RIP
    }
    fn rsp(&self) -> u64 {
        0
    }
    fn rflags(&self) -> u64 {
        self.0
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.0 = rflags;
    }
}

const LENIENT: Settings = Settings {
    knobs: Knobs {
        stray: Mode::Silent,
        shared: Mode::Silent,
    },
    pardon: Pardon::Context,
};

#[test]
fn a_context_reaches_what_its_grants_and_the_closed_rights_give() {
    let pks = system(LENIENT);
    let machine = Machine::new(1, 1 << 20);
    let rig = Rig::new(&machine, &pks);
    // Before it starts, keys have no say, whatever is in the register.
    rig.write_pkrs(pks.closed());
    assert_eq!(rig.rights(), [Rights::ReadWrite; 16]);
    rig.start();
    let closed: Vec<_> = [Rights::ReadWrite]
        .into_iter()
        .chain((0..15).map(|at| RIGHTS[at % 3]))
        .collect();
    assert_eq!(rig.rights(), closed);
    for key in PksKey::all() {
        for rights in RIGHTS {
            let grant = Grant::new(&rig, key, rights);
            let mut expected = closed.clone();
            let of_key = &mut expected[key.pkey().index()];
            *of_key = rights.max(*of_key);
            assert_eq!(rig.rights(), expected, "key {key}, {rights:?}");
            let value = rig.current().value(pks.closed());
            for (pkey, rights) in Pkey::all().zip(&expected) {
                assert_eq!(value.rights(pkey), *rights);
            }
            drop(grant);
            assert_eq!(rig.rights(), closed);
        }
    }
}

/// A fault of each key that has one, under each mode and for both kinds of pardons.
fn each_fault(check: impl Fn(&Rig<'_>, PksKey, Access, HardwareFault)) {
    for stray in Mode::ALL {
        for pardon in Pardon::ALL {
            let knobs = Knobs {
                stray,
                ..LENIENT.knobs
            };
            let pks = system(Settings { knobs, pardon });
            for key in PksKey::all() {
                for access in ACCESSES {
                    let machine = Machine::new(1, 1 << 20);
                    let rig = Rig::new(&machine, &pks);
                    rig.start();
                    let result = rig.access(access, page_of(key.pkey()));
                    let is_open = pks.closed().allows(key.pkey(), access);
                    assert_eq!(result.is_ok(), is_open, "{stray}, key {key}");
                    if let Err(fault) = result {
                        check(&rig, key, access, fault);
                    }
                }
            }
        }
    }
}

#[test]
fn a_pardon_lets_through_what_was_stopped_and_nothing_else() {
    let nr_faults = Cell::new(0);
    each_fault(|rig, key, access, fault| {
        nr_faults.set(nr_faults.get() + 1);
        let addr = page_of(key.pkey());
        assert_eq!(
            fault.code.bits(),
            if access == Access::Write { 0x23 } else { 0x21 }
        );
        let before = rig.rights();
        let mut frame = Frame(IF);
        let given = rig.page_fault(fault, &mut frame);
        let settings = rig.pks.settings();
        if settings.knobs.stray == Mode::Strict {
            assert_eq!((given, rig.rights()), (None, before));
            return;
        }
        assert_eq!(given, Some(settings.pardon));
        let mut expected = before.clone();
        expected[key.pkey().index()] = match access {
            Access::Write => Rights::ReadWrite,
            _ => Rights::ReadOnly,
        };
        assert_eq!(rig.access(access, addr), Ok(()));
        assert_eq!(rig.rights(), expected, "key {key}");
        let [thread, handler] = &rig.contexts;
        match settings.pardon {
            Pardon::Instruction => {
                pks::enter(rig, handler);
                assert!(pks::debug_trap(thread, &mut frame).is_some());
                pks::leave(rig, thread);
            }
            Pardon::Context => pks::end_of_context(rig),
        }
        assert_eq!(frame.0, IF);
        assert_eq!(rig.rights(), before);
    });
    // 15 keys, of which ten stop writes and five reads, under three modes and two kinds of pardons.
    assert_eq!(nr_faults.get(), (10 + 5) * 3 * 2);
}

#[test]
fn a_stale_translation_faults_once_and_is_found_out() {
    let pks = system(LENIENT);
    let machine = Machine::new(1, 1 << 20);
    let rig = Rig::new(&machine, &pks);
    rig.start();
    // Keys 1 and 4 are closed to all.
    let [old, new] = [1, 4].map(|number| PksKey::try_from(number).unwrap());
    let addr = page_of(old.pkey());
    let grant = Grant::new(&rig, old, Rights::ReadWrite);
    assert_eq!(rig.access(Access::Read, addr), Ok(()));
    drop(grant);
    // The page changes its key; the CPU is not told, and still goes by the old one.
    rig.tables.set_key(addr, new);
    let _grant = Grant::new(&rig, new, Rights::ReadOnly);
    let fault = rig.access(Access::Read, addr).unwrap_err();
    assert_eq!(rig.page_fault(fault, &mut Frame(IF)), None);
    assert_eq!(pks.counters().nr_false(), 1);
    assert_eq!(pks.counters().of_mode(Mode::Silent), 0);
    assert_eq!(rig.access(Access::Read, addr), Ok(()));
}
