//! What contexts do with mappings, step by step, beside a naive model of what each of them may use then.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use pkeys_core::{Access, PageFaultErrorCode, PageState, Rights};
use pkeys_kernel::pks::PksKey;
use pkeys_kernel::pks::kmap::{Kmap, LocalPage, Mark, Marks, NoRoom, SharedKeys, SharedPage};
use pkeys_kernel::pks::region::{Openers, Page, Protected};

use crate::rig::{
    Broken, CATALOGUE, Holding, JOURNAL, Kernel, LEDGER, Lock, READABLE, Rig, SHARED, TestRegions,
    ThisCpu, page, pages,
};

/// The pages of a scene, with the key that each has as its own: two of one key, one each of two others, one of no region.
pub(crate) const HOMES: [Option<PksKey>; 5] = [
    Some(LEDGER),
    Some(LEDGER),
    Some(JOURNAL),
    Some(CATALOGUE),
    None,
];

/// Marks of which a test may break the count.
#[derive(Debug, Default)]
pub(crate) struct TestMarks {
    marks: RefCell<BTreeMap<u64, Mark>>,
    /// A second mapping is not counted.
    pub(crate) counts_to_one: bool,
}

impl Marks for TestMarks {
    fn get(&self, page: Page) -> Mark {
        let marks = self.marks.borrow();
        marks.get(&page.addr()).copied().unwrap_or(Mark::NONE)
    }

    fn set(&self, page: Page, mark: Mark) -> Result<(), NoRoom> {
        let broken = Mark::from_bits(mark.bits() & !Mark::MAX_COUNT | 1);
        let is_broken = self.counts_to_one && mark.count() > 1;
        let mark = if is_broken { broken } else { mark };
        self.marks.borrow_mut().insert(page.addr(), mark);
        Ok(())
    }
}

pub(crate) type TestKmap = Kmap<'static, Kernel, Lock, TestMarks>;

/// A step of a thread that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// kmap.
    Share { thread: usize, page: usize },
    /// kunmap, of the mapping made first.
    Unshare { thread: usize, page: usize },
    /// `kmap_local_page`.
    Map {
        thread: usize,
        page: usize,
        rights: Rights,
    },
    /// `kunmap_local` of the mapping that the thread made at this place among those that it has.
    Unmap { thread: usize, nth: usize },
    /// A thread that does not run goes on on this CPU, where another one ran.
    Switch { cpu: u32, thread: usize },
}

/// What threads hold: shared mappings by page, local ones by thread, and where each thread runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) nr_shared: Vec<usize>,
    pub(crate) local: Vec<Vec<(usize, Rights)>>,
    cpus: Vec<Option<u32>>,
}

/// Threads, CPUs, pages of regions, and what is mapped.
pub(crate) struct Scene {
    pub(crate) rig: &'static Rig,
    pub(crate) kmap: &'static TestKmap,
    _protected: Vec<Protected<'static, Kernel, Lock>>,
    nr_threads: usize,
    shared: Vec<VecDeque<SharedPage<'static, Kernel, Lock, TestMarks>>>,
    /// By thread, in the order in which they were made.
    local: Vec<Vec<(Holding, LocalPage<'static, ThisCpu>)>>,
}

impl Scene {
    pub(crate) fn new(nr_cpus: u32, nr_threads: usize) -> Self {
        Self::broken(nr_cpus, nr_threads, None, false)
    }

    pub(crate) fn broken(
        nr_cpus: u32,
        nr_threads: usize,
        broken: Option<Broken>,
        counts_to_one: bool,
    ) -> Self {
        let rig = Rig::new(nr_cpus, nr_threads, HOMES.len());
        let regions: &TestRegions =
            Box::leak(Box::new(TestRegions::new(rig.keys(), Kernel::of(rig))));
        let protect = |first, nr, key| {
            Protected::new(regions, pages(first, nr), key, Openers::Anybody).unwrap()
        };
        let protected = vec![
            protect(0, 2, LEDGER),
            protect(2, 1, JOURNAL),
            protect(3, 1, CATALOGUE),
        ];
        let keys = SharedKeys {
            no_access: Some(SHARED),
            read_only: Some(READABLE),
        };
        let marks = TestMarks {
            counts_to_one,
            ..TestMarks::default()
        };
        // What is broken is what happens from now on.
        rig.broken.set(broken);
        Self {
            rig,
            kmap: Box::leak(Box::new(Kmap::new(regions, keys, marks))),
            _protected: protected,
            nr_threads,
            shared: HOMES.iter().map(|_| VecDeque::new()).collect(),
            local: (0..nr_threads).map(|_| Vec::new()).collect(),
        }
    }

    /// What threads hold and where they run, for a test that does not come by the same place twice.
    pub(crate) fn state(&self) -> State {
        let sorted = |local: &Vec<(Holding, LocalPage<'static, ThisCpu>)>| {
            let mut held: Vec<_> = local
                .iter()
                .map(|(held, _)| (held.page, held.rights))
                .collect();
            held.sort_unstable();
            held
        };
        State {
            nr_shared: self.shared.iter().map(VecDeque::len).collect(),
            local: self.local.iter().map(sorted).collect(),
            cpus: (0..self.nr_threads)
                .map(|thread| self.rig.cpu_of(thread))
                .collect(),
        }
    }

    /// What may happen next, on pages of these numbers.
    pub(crate) fn next(&self, of: &[usize], all_rights: &[Rights]) -> Vec<Step> {
        let mut steps = Vec::new();
        for thread in 0..self.nr_threads {
            if self.rig.cpu_of(thread).is_none() {
                let cpus = 0..self.rig.machine.nr_cpus();
                steps.extend(cpus.map(|cpu| Step::Switch { cpu, thread }));
                continue;
            }
            for page in of.iter().copied() {
                steps.push(Step::Share { thread, page });
                if !self.shared[page].is_empty() {
                    steps.push(Step::Unshare { thread, page });
                }
                let rights = all_rights.iter().copied();
                steps.extend(rights.map(|rights| Step::Map {
                    thread,
                    page,
                    rights,
                }));
            }
            let open = 0..self.local[thread].len();
            steps.extend(open.map(|nth| Step::Unmap { thread, nth }));
        }
        steps
    }

    pub(crate) fn step(&mut self, step: Step) {
        let rig = self.rig;
        match step {
            Step::Share { thread, page: at } => {
                let shared = self.run(thread, || self.kmap.kmap(page(at)).unwrap());
                self.shared[at].push_back(shared);
            }
            Step::Unshare { thread, page: at } => {
                let shared = self.shared[at].pop_front();
                self.run(thread, || drop(shared));
            }
            Step::Map {
                thread,
                page: at,
                rights,
            } => {
                let map = || self.kmap.kmap_local_page(page(at), rights).unwrap();
                let local = self.run(thread, map);
                let holding = Holding {
                    context: thread,
                    page: at,
                    rights,
                };
                self.local[thread].push((holding, local));
                rig.hold(holding);
            }
            Step::Unmap { thread, nth } => {
                let (holding, local) = self.local[thread].remove(nth);
                rig.let_go(holding);
                self.run(thread, || drop(local));
            }
            Step::Switch { cpu, thread } => rig.switch(cpu, thread),
        }
        rig.probe("done");
    }

    fn run<T>(&self, thread: usize, body: impl FnOnce() -> T) -> T {
        self.rig.on(self.rig.cpu_of(thread).unwrap(), body)
    }

    /// Takes everything back, so that the scene can be played again.
    pub(crate) fn clear(&mut self) {
        for thread in 0..self.nr_threads {
            if self.rig.cpu_of(thread).is_none() && !self.local[thread].is_empty() {
                self.rig.switch(0, thread);
            }
            while !self.local[thread].is_empty() {
                self.step(Step::Unmap { thread, nth: 0 });
            }
        }
        for page in 0..HOMES.len() {
            while !self.shared[page].is_empty() {
                let thread = self.rig.thread_on(0);
                self.step(Step::Unshare { thread, page });
            }
        }
        for cpu in 0..self.rig.machine.nr_cpus() {
            let thread = cpu as usize;
            if let Some(elsewhere) = self.rig.cpu_of(thread).filter(|other| *other != cpu) {
                let mut others = 0..self.nr_threads;
                let idle = others.find(|other| self.rig.cpu_of(*other).is_none());
                self.rig.switch(elsewhere, idle.unwrap());
            }
            if self.rig.cpu_of(thread).is_none() {
                self.rig.switch(cpu, thread);
            }
        }
    }

    /// What is not as the model says, after any number of steps.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut found = self.rig.violations();
        for (page, home) in HOMES.iter().enumerate() {
            self.check_page(page, *home, &mut found);
            for cpu in 0..self.rig.machine.nr_cpus() {
                for access in [Access::Read, Access::Write] {
                    self.check_access(cpu, page, access, &mut found);
                }
            }
        }
        found
    }

    fn check_page(&self, number: usize, home: Option<PksKey>, found: &mut Vec<String>) {
        let nr_shared = self.shared[number].len();
        let is_shared = home.is_some() && nr_shared > 0;
        let told = [self.kmap.is_shared(page(number)), is_shared];
        if told[0] != told[1] {
            found.push(format!("page {number} is shared: {told:?}"));
        }
        let counted = self.kmap.nr_shared(page(number)) as usize;
        if home.is_some() && counted != nr_shared {
            found.push(format!("page {number}: {counted} of {nr_shared} counted"));
        }
        let key = home.map(|home| shared_key(home, is_shared).pkey());
        let has = self.rig.pkey(number);
        if has != key.unwrap_or_default() {
            found.push(format!("page {number} has key {has}, not {key:?}"));
        }
        let state = self.kmap.state(page(number).addr(), has);
        if (state == PageState::Shared) != is_shared {
            found.push(format!("page {number} is {state:?}"));
        }
    }

    fn check_access(&self, cpu: u32, page: usize, access: Access, found: &mut Vec<String>) {
        let result = self.rig.access(cpu, page, access);
        let is_right = match result {
            Ok(()) => self.allows(self.rig.thread_on(cpu), page, access),
            Err(code) => {
                code.bits() & PageFaultErrorCode::PK != 0
                    && !self.allows(self.rig.thread_on(cpu), page, access)
            }
        };
        if !is_right {
            let thread = self.rig.thread_on(cpu);
            found.push(format!(
                "{access} of page {page} by {thread} on CPU {cpu}: {result:?}"
            ));
        }
    }

    /// What a thread may use: a page of its own key if it has any page of that key mapped, and a shared page if it has a page
    /// mapped of a key of which some page is shared and that has the same closed rights.
    fn allows(&self, thread: usize, page: usize, access: Access) -> bool {
        let Some(home) = HOMES[page] else {
            return true;
        };
        let is_shared = |page: usize| !self.shared[page].is_empty();
        let closed = |key: PksKey| self.rig.keys().closed().rights(key.pkey());
        let opens = |held: &Holding| {
            let held_home = HOMES[held.page];
            let reaches = if is_shared(page) {
                (0..HOMES.len()).any(|other| HOMES[other] == held_home && is_shared(other))
                    && held_home.is_some_and(|held| closed(held) == closed(home))
            } else {
                held_home == Some(home)
            };
            reaches && held.rights.allows(access)
        };
        let held = self.local[thread].iter().any(|(held, _)| opens(held));
        held || closed(home).allows(access)
    }
}

/// The key that a page of a key has.
fn shared_key(home: PksKey, is_shared: bool) -> PksKey {
    match (is_shared, home) {
        (false, home) => home,
        (true, CATALOGUE) => READABLE,
        (true, _) => SHARED,
    }
}
