//! A machine with one address space on it, and threads that run in it: one for each CPU.

use pkeys_core::{KeyRegister, LeafSize, Pkey};
use pkeys_kernel::abi::{Errno, MapFlags, Prot};
use pkeys_kernel::hardware::Cpu;
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys};
use pkeys_kernel::memory::{Caller, FaultEnd, Pool, PoolSettings, Space};
use pkeys_machine::{Machine, MachineCpu, Memory};

pub(crate) type Lock = spin::Mutex<()>;
pub(crate) type TestPool<'m> = Pool<&'m Memory, Lock>;
pub(crate) type TestSpace<'m> = Space<&'m Memory, Lock>;

pub(crate) const PAGE: u64 = 4096;
/// Where tests map: far from where mappings without an address go.
pub(crate) const ARENA: u64 = 0x4000_0000;

pub(crate) const NONE: u64 = 0;
pub(crate) const R: u64 = 1;
pub(crate) const RW: u64 = 3;
pub(crate) const X: u64 = 4;
pub(crate) const RX: u64 = 5;
pub(crate) const RWX: u64 = 7;

pub(crate) const ANON: u64 = 0x20;
pub(crate) const SHARED: u64 = ANON | 1;
pub(crate) const PRIVATE: u64 = ANON | 2;
pub(crate) const FIXED: u64 = 0x10;
pub(crate) const HUGE: u64 = MapFlags::HUGETLB.bits();

/// A machine with so many CPUs and 16 MiB.
pub(crate) fn machine(nr_cpus: u32) -> Machine {
    Machine::new(nr_cpus, 16 << 20)
}

/// An address space, and a thread on each CPU of the machine.
pub(crate) struct Rig<'m> {
    pub(crate) machine: &'m Machine,
    pub(crate) space: TestSpace<'m>,
    pub(crate) threads: Vec<ThreadKeys>,
}

impl<'m> Rig<'m> {
    /// On all CPUs, with the register that Linux starts with.
    pub(crate) fn new(machine: &'m Machine) -> Self {
        Self::with_settings(machine, PoolSettings::default())
    }

    pub(crate) fn with_settings(machine: &'m Machine, settings: PoolSettings) -> Self {
        let pool = Pool::new(machine.memory(), settings).unwrap();
        Self::with_space(machine, Space::new(pool).unwrap())
    }

    pub(crate) fn with_space(machine: &'m Machine, space: TestSpace<'m>) -> Self {
        let init = InitPkru::DEFAULT;
        for cpu in machine.cpus() {
            space.activate(&cpu);
            if cpu.has_pku() {
                cpu.write_pkru(init.register());
            }
        }
        Self {
            machine,
            space,
            threads: machine.cpus().map(|_| ThreadKeys::new(init)).collect(),
        }
    }

    /// The thread on a CPU.
    pub(crate) fn on(&self, number: u32) -> User<'_, 'm> {
        User {
            space: &self.space,
            cpu: self.machine.cpu(number),
            keys: &self.threads[number as usize],
        }
    }

    /// Forks on CPU 0. The child runs nowhere yet.
    pub(crate) fn fork(&self) -> Result<TestSpace<'m>, Errno> {
        let user = self.on(0);
        self.space.fork(&user.caller())
    }

    /// Every CPU stops running the space, and it goes.
    pub(crate) fn end(self) {
        for cpu in self.machine.cpus() {
            self.space.deactivate(&cpu);
        }
    }
}

/// A thread that runs on a CPU, in an address space.
pub(crate) struct User<'a, 'm> {
    pub(crate) space: &'a TestSpace<'m>,
    pub(crate) cpu: MachineCpu<'m>,
    pub(crate) keys: &'a ThreadKeys,
}

impl<'m> User<'_, 'm> {
    pub(crate) fn caller(&self) -> Caller<'_, MachineCpu<'m>> {
        Caller {
            cpu: &self.cpu,
            keys: self.keys,
        }
    }

    pub(crate) fn mmap(&self, addr: u64, len: u64, prot: u64, flags: u64) -> Result<u64, Errno> {
        self.space
            .mmap(&self.caller(), addr, len, prot, flags, u64::MAX, 0)
    }

    /// Pages of the arena, at a place that must be had.
    pub(crate) fn map_pages(&self, first: u64, count: u64, prot: u64, flags: u64) -> u64 {
        let addr = ARENA + first * PAGE;
        let mapped = self.mmap(addr, count * PAGE, prot, flags | FIXED);
        assert_eq!(mapped, Ok(addr));
        addr
    }

    pub(crate) fn munmap(&self, addr: u64, len: u64) -> Result<u64, Errno> {
        self.space.munmap(&self.caller(), addr, len)
    }

    pub(crate) fn mprotect(&self, addr: u64, len: u64, prot: u64) -> Result<u64, Errno> {
        self.space.mprotect(&self.caller(), addr, len, prot)
    }

    pub(crate) fn pkey_mprotect(
        &self,
        addr: u64,
        len: u64,
        prot: u64,
        pkey: i32,
    ) -> Result<u64, Errno> {
        self.space
            .pkey_mprotect(&self.caller(), addr, len, prot, pkey)
    }

    pub(crate) fn mremap(
        &self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        new_addr: u64,
    ) -> Result<u64, Errno> {
        self.space
            .mremap(&self.caller(), addr, old_len, new_len, flags, new_addr)
    }

    pub(crate) fn madvise(&self, addr: u64, len: u64, advice: i32) -> Result<u64, Errno> {
        self.space.madvise(&self.caller(), addr, len, advice)
    }

    pub(crate) fn mseal(&self, addr: u64, len: u64) -> Result<u64, Errno> {
        self.space.mseal(&self.caller(), addr, len, 0)
    }

    /// A new key with these rights.
    pub(crate) fn pkey_alloc(&self, rights: u64) -> i32 {
        let pkey = self.space.pkey_alloc(&self.caller(), 0, rights).unwrap();
        i32::try_from(pkey).unwrap()
    }

    pub(crate) fn set_pkru(&self, pkru: u32) {
        self.cpu.write_pkru(KeyRegister::from_bits(pkru));
    }

    pub(crate) fn pkru(&self) -> u32 {
        self.cpu.read().bits()
    }

    /// Executes an access until it goes through or ends in a signal.
    fn access<R>(
        &self,
        mut access: impl FnMut() -> Result<R, pkeys_machine::Exception>,
    ) -> Result<R, FaultEnd> {
        for _ in 0..4 {
            match access() {
                Ok(done) => return Ok(done),
                Err(exception) => {
                    let fault = exception.page_fault().expect("a page fault");
                    self.space.page_fault(&self.caller(), fault)?;
                }
            }
        }
        panic!("the same fault again and again");
    }

    pub(crate) fn read(&self, addr: u64) -> Result<u8, FaultEnd> {
        self.access(|| self.cpu.user_read(addr))
    }

    pub(crate) fn write(&self, addr: u64, byte: u8) -> Result<(), FaultEnd> {
        self.access(|| self.cpu.user_write(addr, byte))
    }

    pub(crate) fn fetch(&self, addr: u64) -> Result<u8, FaultEnd> {
        self.access(|| self.cpu.user_fetch(addr))
    }
}

/// What is allocated: tables, pages, the reserve.
pub(crate) fn nr_frames(machine: &Machine) -> [usize; 3] {
    [LeafSize::Size4K, LeafSize::Size2M, LeafSize::Size1G]
        .map(|size| machine.memory().nr_allocated(size))
}

pub(crate) fn prot_of(bits: u64) -> Prot {
    Prot::from_bits_truncate(bits)
}

pub(crate) fn pkey(number: i32) -> Pkey {
    Pkey::checked(number).unwrap()
}
