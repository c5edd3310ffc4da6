//! Two threads that change the map under the lock, one that asks, and whether what it was told can be explained.

use core::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc as RealArc, Mutex as RealMutex, PoisonError};

use loom::sync::{Arc, Mutex};
use loom::thread;
use pkeys_core::alloc_map::Word;
use pkeys_core::{AllocationMap, AllocationState, KeyRegister};
use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::user::{self, KeyPage};
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys, get_set};
use pkeys_kernel::mutant::{self, Mutant};

use crate::words::Watched;

/// A change of the map.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// `pkey_alloc`.
    Alloc,
    /// `pkey_free`; in some orders it fails.
    Free(i32),
    /// `mprotect` to `PROT_EXEC`.
    ExecuteOnly,
}

/// Where the third thread asks, twice: first to read its rights, then to change them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asks {
    /// By the calls.
    Kernel,
    /// On the page.
    Page,
}

/// What an asking thread is told of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// It may be used.
    Taken,
    /// `EBADF`.
    Free,
    /// The page has a word that no map has.
    Nonsense,
}

impl Told {
    fn by<T>(got: Result<T, Errno>) -> Self {
        match got {
            Ok(_) => Self::Taken,
            Err(Errno::BadDescriptor) => Self::Free,
            Err(Errno::NoSystemCall) => Self::Nonsense,
            Err(other) => panic!("{other}"),
        }
    }

    fn is_true_of(self, state: AllocationState, pkey: i32) -> bool {
        self == if state.is_allocated(pkey) {
            Self::Taken
        } else {
            Self::Free
        }
    }
}

/// What all interleavings of a scene came to.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// How many there were.
    pub(crate) nr: usize,
    /// What was told in them.
    pub(crate) told: BTreeSet<[Told; 2]>,
    /// In how many no series of states explains it.
    pub(crate) nr_unexplained: usize,
}

/// Runs `body` with one rule of the library broken, or none. The choice is the whole program's, and its tests are threads.
pub(crate) fn with_rules(broken: Option<Mutant>, body: impl FnOnce()) {
    static RULES: RealMutex<()> = RealMutex::new(());
    let _guard = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    mutant::set(broken);
    body();
    mutant::set(None);
}

/// A register of the asking thread's own.
#[derive(Debug)]
struct Register(Cell<KeyRegister>);

impl PkruRegister for Register {
    fn read(&self) -> KeyRegister {
        self.0.get()
    }

    fn write(&self, pkru: KeyRegister) {
        self.0.set(pkru);
    }
}

fn register() -> Register {
    Register(Cell::new(KeyRegister::LINUX_INIT))
}

/// What the call says of a key.
pub(crate) fn ask_kernel<W: Word>(map: &AllocationMap<W>, pkey: i32) -> Told {
    Told::by(get_set::pkey_get(map, Some(&register()), pkey, 0))
}

/// What the page says of a key.
pub(crate) fn ask_page<W: Word>(page: &KeyPage<W>, pkey: i32) -> Told {
    Told::by(user::pkey_get(page, &register(), pkey, 0))
}

/// The address space: its map, its page, and its lock, under which stands what the map has held.
struct Space<W> {
    map: AllocationMap<W>,
    page: KeyPage<W>,
    held: Mutex<Vec<AllocationState>>,
}

impl<W: Watched> Space<W> {
    fn new() -> Self {
        let first = AllocationState::INITIAL;
        Self {
            map: AllocationMap::from_word(W::new(first.bits())),
            page: KeyPage {
                map: W::new(first.bits()),
                version: KeyPage::VERSION.into(),
            },
            held: Mutex::new(vec![first]),
        }
    }

    fn step(&self, step: Step) {
        let mut held = self.held.lock().unwrap();
        let before = *held.last().unwrap();
        let after = match step {
            Step::Alloc => {
                let (after, pkey) = before.allocate().unwrap();
                assert_eq!(self.map.allocate(), Some(pkey));
                after
            }
            Step::Free(pkey) => {
                let after = before.free(pkey);
                assert_eq!(self.map.free(pkey), after.map(|_| ()));
                after.unwrap_or(before)
            }
            Step::ExecuteOnly => {
                let (after, pkey) = before.allocate_execute_only().unwrap();
                assert_eq!(self.map.allocate_execute_only(), Some(pkey));
                after
            }
        };
        self.page.map.mirror(after);
        held.push(after);
    }

    /// Asks to read and to change rights. The register changes if and only if the second is let through.
    fn ask(&self, asks: Asks, pkey: i32) -> [Told; 2] {
        let (register, thread) = (register(), ThreadKeys::new(InitPkru::DEFAULT));
        let (first, second) = match asks {
            Asks::Kernel => {
                let to_set = Some(&register as &dyn PkruRegister);
                let first = ask_kernel(&self.map, pkey);
                let second = get_set::pkey_set(&self.map, &thread, to_set, pkey, 2, 0);
                (first, second)
            }
            Asks::Page => {
                let first = ask_page(&self.page, pkey);
                (first, user::pkey_set(&self.page, &register, pkey, 2, 0))
            }
        };
        let is_changed = register.read() != KeyRegister::LINUX_INIT;
        assert_eq!(second.is_ok(), is_changed);
        [first, Told::by(second)]
    }
}

/// Whether what was told is what states that the map held say, in the order in which it held them.
fn is_explained(held: &[AllocationState], told: [Told; 2], pkey: i32) -> bool {
    let mut later = held.iter().peekable();
    told.iter().all(|told| {
        // The same state may explain both, so it is not passed over.
        while later
            .next_if(|state| !told.is_true_of(**state, pkey))
            .is_some()
        {}
        later.peek().is_some()
    })
}

/// Plays a scene in all interleavings.
pub(crate) fn outcomes<W: Watched>(
    writers: [&'static [Step]; 2],
    asks: Asks,
    pkey: i32,
) -> Outcomes {
    let seen = RealArc::new(RealMutex::new(Outcomes {
        nr: 0,
        told: BTreeSet::new(),
        nr_unexplained: 0,
    }));
    let notes = RealArc::clone(&seen);
    loom::model(move || {
        let space = Arc::new(Space::<W>::new());
        let writers: Vec<_> = writers
            .into_iter()
            .filter(|steps| !steps.is_empty())
            .map(|steps| {
                let space = Arc::clone(&space);
                thread::spawn(move || steps.iter().for_each(|step| space.step(*step)))
            })
            .collect();
        let told = space.ask(asks, pkey);
        for writer in writers {
            writer.join().unwrap();
        }
        let held = space.held.lock().unwrap();
        let mut notes = notes.lock().unwrap();
        notes.nr += 1;
        notes.nr_unexplained += usize::from(!is_explained(&held, told, pkey));
        notes.told.insert(told);
    });
    let outcomes = RealArc::into_inner(seen).expect("the model is done");
    outcomes.into_inner().unwrap()
}
