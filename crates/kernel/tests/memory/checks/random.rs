//! Random programs on two CPUs, with forks, against the model.
//!
//! Every page is looked at after every step: a wrong byte or right shows at the step that did it.

use std::collections::BTreeMap;

use pkeys_kernel::abi::Errno;
use pkeys_kernel::hardware::Cpu;
use pkeys_kernel::keys::{InitPkru, ThreadKeys};
use pkeys_machine::Machine;

use super::model::{Common, Model, Touch};
use super::rig::*;

/// The arena in pages.
const FIRST: u64 = ARENA / PAGE;
const NR_PAGES: u64 = 12;
const NR_CPUS: u32 = 2;

/// xorshift.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let bound = u64::try_from(list.len()).unwrap();
        list[usize::try_from(self.below(bound)).unwrap()]
    }

    fn range(&mut self) -> core::ops::Range<u64> {
        let start = self.below(NR_PAGES);
        let len = 1 + self.below((NR_PAGES - start).min(4));
        FIRST + start..FIRST + start + len
    }
}

/// A process on the machine, and what is thought of it.
struct Pair<'m> {
    space: TestSpace<'m>,
    model: Model,
    threads: Vec<ThreadKeys>,
}

impl<'m> Pair<'m> {
    fn user<'a>(&'a self, machine: &'m Machine, number: u32) -> User<'a, 'm> {
        User {
            space: &self.space,
            cpu: machine.cpu(number),
            keys: &self.threads[number as usize],
        }
    }

    /// Lets all CPUs run it.
    fn enter(&self, machine: &Machine) {
        for (cpu, pkru) in machine.cpus().zip(&self.model.pkru) {
            self.space.activate(&cpu);
            cpu.write_pkru(pkeys_core::KeyRegister::from_bits(*pkru));
        }
    }

    fn leave(&self, machine: &Machine) {
        for cpu in machine.cpus() {
            self.space.deactivate(&cpu);
        }
    }
}

/// One call or access, on both sides.
fn step(
    random: &mut Random,
    user: &User<'_, '_>,
    thread: usize,
    model: &mut Model,
    common: &mut Common,
    seen: &mut BTreeMap<&'static str, u64>,
) {
    let range = random.range();
    let (addr, len) = (range.start * PAGE, (range.end - range.start) * PAGE);
    let prot = random.pick(&[NONE, R, RW, RW, RW, X, RX, RWX, 2, 6]);
    let mut both = |name, is_fine| *seen.entry(name).or_insert(0) += u64::from(is_fine);
    match random.below(24) {
        0..=2 => {
            let is_shared = random.below(3) == 0;
            let flags = FIXED | if is_shared { SHARED } else { PRIVATE };
            let found = user.mmap(addr, len, prot, flags);
            let expected = model.mmap(common, thread, range, prot, is_shared);
            assert_eq!(found, expected, "mmap");
            both("mmap", found.is_ok());
        }
        3 => {
            let found = user.munmap(addr, len);
            assert_eq!(found, model.munmap(range), "munmap");
            both("munmap", found.is_ok());
        }
        4..=8 => {
            let pkey = random.pick(&[-1, -1, 0, 1, 2, 3, 15, 16]);
            let found = user.pkey_mprotect(addr, len, prot, pkey);
            let expected = model.pkey_mprotect(thread, range, prot, pkey);
            assert_eq!(found, expected, "pkey_mprotect {prot} {pkey}");
            both("pkey_mprotect", found.is_ok());
        }
        9 | 10 => {
            let new = random.below(NR_PAGES - (range.end - range.start) + 1) + FIRST;
            let found = user.mremap(addr, len, len, 3, new * PAGE);
            let to = new..new + (range.end - range.start);
            let overlaps = to.start < range.end && range.start < to.end;
            match found {
                Ok(at) => {
                    assert!(
                        model.is_alike(range.clone()),
                        "what is moved is one mapping"
                    );
                    assert_eq!(at, new * PAGE);
                    assert_eq!(model.munmap(to), Ok(0));
                    model.moved(range, new);
                    both("mremap", true);
                }
                Err(Errno::Invalid) => assert!(overlaps, "mremap"),
                Err(Errno::Perm) => {}
                // By then what was in the way may be gone.
                Err(Errno::Fault) => {
                    if model.pages.contains_key(&range.start) && !overlaps {
                        let _ = model.munmap(to);
                    }
                }
                Err(other) => panic!("mremap: {other}"),
            }
        }
        11 => {
            let found = user.madvise(addr, len, 4);
            assert_eq!(found, model.drop_pages(thread, range), "MADV_DONTNEED");
            both("dontneed", found.is_ok());
        }
        12 => {
            let is_write = random.below(2) == 0;
            let found = user.madvise(addr, len, if is_write { 23 } else { 22 });
            assert_eq!(
                found,
                model.populate(thread, range, is_write),
                "MADV_POPULATE"
            );
            both("populate", found.is_ok());
        }
        13 if random.below(20) == 0 => {
            let found = user.mseal(addr, len);
            assert_eq!(found, model.mseal(range), "mseal");
            both("mseal", found.is_ok());
        }
        14 => {
            let rights = random.below(4);
            let found = user.space.pkey_alloc(&user.caller(), 0, rights);
            let rights = u32::try_from(rights).unwrap();
            assert_eq!(found, model.pkey_alloc(thread, rights), "pkey_alloc");
            both("pkey_alloc", found.is_ok());
        }
        15 => {
            let pkey = random.pick(&[1, 2, 3, 4, 5, 15, 16, -1]);
            let found = user.space.pkey_free(&user.caller(), pkey);
            assert_eq!(found, model.pkey_free(pkey), "pkey_free");
            both("pkey_free", found.is_ok());
        }
        16 => {
            let pkru = random.pick(&[0, 0x5555_5554, 4, 8, 0x10, 0x20, 0xAAAA_AAA8]);
            user.set_pkru(pkru);
            model.pkru[thread] = pkru;
        }
        17 => {
            let byte = random.below(256) as u8;
            let write = (random.below(2) == 0).then_some(byte);
            let force = random.below(2) == 0;
            let mut buffer = [byte];
            let done = match write {
                Some(_) => user.space.write_remote(&user.cpu, addr, &buffer, force),
                None => user.space.read_remote(&user.cpu, addr, &mut buffer, force),
            };
            let found = done.ok().map(|()| buffer[0]);
            let expected = model.touch_remotely(common, range.start, write, force);
            assert_eq!(found, expected, "remote {write:?} {force}");
            both("remote", found.is_some());
        }
        _ => {
            let touch = Touch::Write(random.below(256) as u8);
            check_touch(user, thread, model, common, range.start, touch);
        }
    }
}

fn check_touch(
    user: &User<'_, '_>,
    thread: usize,
    model: &mut Model,
    common: &mut Common,
    page: u64,
    touch: Touch,
) {
    let addr = page * PAGE;
    let found = match touch {
        Touch::Read => user.read(addr),
        Touch::Write(byte) => user.write(addr, byte).map(|()| byte),
        Touch::Fetch => user.fetch(addr),
    };
    let expected = model.touch(common, thread, page, touch);
    assert_eq!(found, expected, "{touch:?} of {addr:#x} on {thread}");
}

/// Each thread looks at each page.
fn look<'m>(random: &mut Random, machine: &'m Machine, pair: &mut Pair<'m>, common: &mut Common) {
    for number in 0..NR_CPUS {
        let user = User {
            space: &pair.space,
            cpu: machine.cpu(number),
            keys: &pair.threads[number as usize],
        };
        let thread = number as usize;
        assert_eq!(user.pkru(), pair.model.pkru[thread], "PKRU of {thread}");
        for page in FIRST..FIRST + NR_PAGES {
            // Not all of them, so that some stay absent and some stay in no TLB.
            if random.below(4) == 0 {
                let touch = random.pick(&[Touch::Read, Touch::Read, Touch::Fetch]);
                check_touch(&user, thread, &mut pair.model, common, page, touch);
            }
            let view = pair.space.mapping(page * PAGE);
            let found = view.map(|view| (view.prot.bits(), i32::from(view.pkey.get())));
            let expected = pair.model.pages.get(&page);
            assert_eq!(found, expected.map(|page| (page.prot, page.pkey)));
        }
    }
}

fn run(seed: u64, nr_steps: u64, seen: &mut BTreeMap<&'static str, u64>) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let machine = machine(NR_CPUS);
    let start = Rig::new(&machine);
    let mut common = Common::default();
    let mut family = vec![Pair {
        space: start.space,
        model: Model::new(NR_CPUS as usize),
        threads: start.threads,
    }];
    for _ in 0..nr_steps {
        let number = u32::try_from(random.below(u64::from(NR_CPUS))).unwrap();
        let thread = number as usize;
        let pair = family.last_mut().unwrap();
        let mut model = pair.model.clone();
        let user = pair.user(&machine, number);
        step(&mut random, &user, thread, &mut model, &mut common, seen);
        pair.model = model;
        look(&mut random, &machine, pair, &mut common);
        match random.below(60) {
            0 if family.len() < 4 => {
                let parent = family.last().unwrap();
                let space = parent.space.fork(&parent.user(&machine, 0).caller());
                let child = Pair {
                    space: space.unwrap(),
                    model: parent.model.clone(),
                    threads: (0..NR_CPUS)
                        .map(|_| ThreadKeys::new(InitPkru::DEFAULT))
                        .collect(),
                };
                parent.leave(&machine);
                child.enter(&machine);
                family.push(child);
                *seen.entry("fork").or_insert(0) += 1;
            }
            1 if family.len() > 1 => {
                family.last().unwrap().leave(&machine);
                family.pop();
                family.last().unwrap().enter(&machine);
            }
            2 => {
                // Back to a relative, whose pages the others have changed meanwhile, or not.
                family.last().unwrap().leave(&machine);
                family.rotate_left(1);
                family.last().unwrap().enter(&machine);
            }
            _ => {}
        }
    }
    family.last().unwrap().leave(&machine);
    drop(family);
    assert_eq!(nr_frames(&machine), [0; 3], "frames leaked");
}

pub(crate) fn random_programs_agree_with_the_model() {
    let mut seen = BTreeMap::new();
    for seed in 1..=150 {
        run(seed, 400, &mut seen);
    }
    for name in [
        "mmap",
        "munmap",
        "pkey_mprotect",
        "mremap",
        "dontneed",
        "populate",
        "mseal",
        "pkey_alloc",
        "pkey_free",
        "remote",
        "fork",
    ] {
        let count = seen.get(name).copied().unwrap_or(0);
        assert!(count > 20, "only {count} times {name} went well: {seen:?}");
    }
}
