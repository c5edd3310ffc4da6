//! Long random runs against a naive machine: a list of remembered translations, searched from the front, and page
//! tables that are a list of pages. What is compared is every outcome of every access, on three CPUs and two address
//! spaces, with flushes that come late, partly or never.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{D, P, PLENTY, Tables, U, W, XD, entry};
use pkeys_core::{Access, KeyCheck, KeyRegister, LeafSize, Pkey, Privilege};
use pkeys_kernel::hardware::{Cpu, CpuSet, PhysAddr, PhysMemory, Stale};
use pkeys_machine::{Exception, Machine};

const NR_CPUS: usize = 3;
const NR_SPACES: usize = 2;
const PAGE: u64 = 4096;
/// Where small pages are, and large ones.
const SMALL_START: u64 = 0x10_0000_0000;
const LARGE_START: u64 = 0x20_0000_0000;
const NR_SMALL: u64 = 24;
const NR_LARGE: u64 = 3;

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, nr: u64) -> bool {
        self.below(nr) == 0
    }
}

/// A page as an entry of the page tables describes it, or a TLB.
#[derive(Clone, Copy)]
struct Page {
    start: u64,
    size: LeafSize,
    phys: PhysAddr,
    flags: u64,
    pkey: u8,
}

impl Page {
    fn holds(&self, addr: u64) -> bool {
        (self.start..self.start + self.size.bytes()).contains(&addr)
    }

    fn meets(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.start + self.size.bytes()
    }
}

#[derive(Clone, Default)]
struct NaiveCpu {
    space: usize,
    pkru: u32,
    remembered: Vec<Page>,
}

/// The naive machine.
struct Naive {
    cpus: Vec<NaiveCpu>,
    spaces: Vec<Vec<Page>>,
}

impl Naive {
    /// A user-mode access: where it goes, or the error code.
    fn access(&mut self, cpu: usize, access: Access, addr: u64) -> Result<PhysAddr, u32> {
        let is_write = access == Access::Write;
        let cpu = &mut self.cpus[cpu];
        let space = &mut self.spaces[cpu.space];
        let known = cpu.remembered.iter().find(|page| page.holds(addr)).copied();
        let denied = |page: &Page| denial(page, access, cpu.pkru);
        let base = 4 + 2 * u32::from(is_write) + 0x10 * u32::from(access == Access::Fetch);
        let result = match known {
            Some(page) if denied(&page).is_some() => Err(denied(&page).unwrap() | base),
            Some(page) if !is_write || page.flags & D != 0 => return Ok(place(&page, addr)),
            _ => match space.iter_mut().find(|page| page.holds(addr)) {
                None => Err(base),
                Some(page) => match denied(page) {
                    Some(code) => Err(code | base),
                    None => {
                        page.flags |= if is_write { D } else { 0 };
                        Ok(*page)
                    }
                },
            },
        };
        cpu.remembered.retain(|page| !page.holds(addr));
        cpu.remembered.extend(result);
        result.map(|page| place(&page, addr))
    }
}

fn place(page: &Page, addr: u64) -> PhysAddr {
    PhysAddr(page.phys.0 + (addr - page.start))
}

/// P, and PK if the key is among the reasons; `None` if nothing denies the access.
fn denial(page: &Page, access: Access, pkru: u32) -> Option<u32> {
    let key = KeyCheck {
        access,
        mode: Privilege::User,
        page: if page.flags & U != 0 {
            Privilege::User
        } else {
            Privilege::Supervisor
        },
        pkey: Pkey::new(page.pkey).unwrap(),
        cr0_wp: true,
        cr4_pke: true,
        cr4_pks: false,
        pkru: KeyRegister::from_bits(pkru),
        pkrs: KeyRegister::ALL_OPEN,
    };
    let page_denies = page.flags & U == 0
        || access == Access::Write && page.flags & W == 0
        || access == Access::Fetch && page.flags & XD != 0;
    if key.is_allowed() {
        page_denies.then_some(1)
    } else {
        Some(0x21)
    }
}

/// An address that a page may be at, or a little beside.
fn any_addr(random: &mut Random) -> u64 {
    if random.one_in(4) {
        LARGE_START + random.below(NR_LARGE * LeafSize::Size2M.bytes())
    } else {
        SMALL_START + random.below(NR_SMALL * PAGE)
    }
}

/// Both machines, and what is done to both.
struct Pair<'m> {
    machine: &'m Machine,
    tables: Vec<Tables<'m>>,
    naive: Naive,
    random: Random,
}

impl Pair<'_> {
    /// Maps a page anew, changes it or takes it away, in the tables alone.
    fn change_entry(&mut self) {
        let random = &mut self.random;
        let space = random.below(NR_SPACES as u64) as usize;
        let addr = any_addr(random);
        let size = if addr < LARGE_START {
            LeafSize::Size4K
        } else {
            LeafSize::Size2M
        };
        let start = addr & !(size.bytes() - 1);
        let leaf = self.tables[space].leaf(start, size);
        self.naive.spaces[space].retain(|page| page.start != start);
        let mut changed = 0;
        if !random.one_in(5) {
            let flags = [(U, 8), (W, 3), (XD, 2)].map(|(bit, often)| {
                let is_set = !random.one_in(often);
                if is_set { bit } else { 0 }
            });
            let page = Page {
                start,
                size,
                // Blocks stay allocated for the whole run: a stale translation is to be used, not to end it.
                phys: self.machine.memory().allocate(size).unwrap(),
                flags: flags.iter().fold(P, |all, flag| all | flag),
                pkey: random.below(16) as u8,
            };
            changed = entry(page.phys, size, page.flags, page.pkey);
            self.naive.spaces[space].push(page);
        }
        self.machine.memory().write_entry(leaf, changed);
    }

    /// Something that drops TLB entries.
    fn flush(&mut self) {
        let random = &mut self.random;
        let number = random.below(NR_CPUS as u64) as usize;
        let cpu = self.machine.cpu(number as u32);
        let start = any_addr(random) & !(PAGE - 1);
        let end = start + PAGE * (1 + random.below(40));
        let range = Stale::Range { start, end };
        match random.below(8) {
            0 => {
                let space = random.below(NR_SPACES as u64) as usize;
                cpu.load_root(self.tables[space].root);
                self.naive.cpus[number].space = space;
                self.naive.cpus[number].remembered.clear();
            }
            1 => {
                cpu.flush(Stale::Everything);
                self.naive.cpus[number].remembered.clear();
            }
            2..5 => {
                cpu.invlpg(start + 5);
                let remembered = &mut self.naive.cpus[number].remembered;
                remembered.retain(|page| !page.holds(start));
            }
            5 => {
                cpu.flush(range);
                let remembered = &mut self.naive.cpus[number].remembered;
                remembered.retain(|page| !page.meets(start, end));
            }
            _ => {
                let others = CpuSet(random.below(1 << NR_CPUS));
                let space = random.below(NR_SPACES as u64) as usize;
                cpu.shoot_down(others, self.tables[space].root, range);
                for (other, naive) in self.naive.cpus.iter_mut().enumerate() {
                    let is_meant = others.contains(other as u32) && other != number;
                    if is_meant && naive.space == space {
                        naive.remembered.retain(|page| !page.meets(start, end));
                    }
                }
            }
        }
    }

    /// An access on both; gives whether it faulted.
    fn access(&mut self) -> bool {
        let random = &mut self.random;
        let number = random.below(NR_CPUS as u64) as usize;
        let cpu = self.machine.cpu(number as u32);
        let addr = any_addr(random);
        let access = [Access::Read, Access::Write, Access::Fetch][random.below(3) as usize];
        let value = random.next() as u8;
        let mut byte = value;
        let result = cpu.access(Privilege::User, access, addr, &mut byte);
        let expected = self.naive.access(number, access, addr);
        match (result, expected) {
            (Ok(()), Ok(phys)) => {
                let mut there = [0];
                self.machine.memory().read(phys, &mut there);
                assert_eq!(there, [byte], "CPU {number}, {access} {addr:#x}");
            }
            (Err(Exception::PageFault(fault)), Err(code)) => {
                assert_eq!((fault.addr, fault.code.bits()), (addr, code));
            }
            other => panic!("CPU {number}, {access} {addr:#x}: {other:x?}"),
        }
        let remembered = self.naive.cpus[number].remembered.len();
        assert_eq!(cpu.tlb_len(), remembered);
        result.is_err()
    }
}

fn run(seed: u64, nr_steps: u32) {
    let machine = Machine::new(NR_CPUS as u32, PLENTY);
    let tables: Vec<_> = (0..NR_SPACES).map(|_| Tables::new(&machine)).collect();
    for cpu in machine.cpus() {
        cpu.load_root(tables[0].root);
    }
    let mut pair = Pair {
        machine: &machine,
        tables,
        naive: Naive {
            cpus: vec![NaiveCpu::default(); NR_CPUS],
            spaces: vec![Vec::new(); NR_SPACES],
        },
        random: Random(seed),
    };
    let mut faults = 0;
    let mut accesses = 0;
    for _ in 0..nr_steps {
        match pair.random.below(40) {
            0 | 1 => pair.change_entry(),
            2 => pair.flush(),
            3 => {
                let number = pair.random.below(NR_CPUS as u64) as usize;
                let pkru = pair.random.next() as u32 & pair.random.next() as u32;
                machine
                    .cpu(number as u32)
                    .write_pkru(KeyRegister::from_bits(pkru));
                pair.naive.cpus[number].pkru = pkru;
            }
            _ => {
                accesses += 1;
                faults += u32::from(pair.access());
            }
        }
    }
    // A run in which nearly all accesses end alike would show little.
    assert!(
        faults > accesses / 10 && faults < accesses * 9 / 10,
        "{faults} of {accesses}"
    );
}

#[test]
fn random_runs_agree_with_a_naive_machine() {
    for seed in 1..=20 {
        run(seed * 0x9E37_79B9, 20_000);
    }
}
