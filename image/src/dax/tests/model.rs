//! A device of which the power goes: what is there afterwards is what was flushed and fenced, and whatever else the test likes.

use core::cell::RefCell;
use core::panic::Location;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::dax::Device;

/// A place in the store's code.
pub(super) type Site = (&'static str, u32);

/// A write that is not there to stay yet.
#[derive(Debug, Clone, Copy)]
struct Pending {
    word: usize,
    value: u64,
    /// The bytes that were written.
    mask: u64,
    /// Whether it is there as a whole or not at all.
    is_whole: bool,
    /// Whether it was flushed, and waits for the fence.
    is_flushed: bool,
}

impl Pending {
    /// Puts some of its bytes into memory.
    fn apply(&self, words: &mut [u64], bytes: u64) {
        let mask = self.mask & bytes;
        let word = &mut words[self.word];
        *word = *word & !mask | self.value & mask;
    }
}

/// The contents of a device at one moment: what is there to stay, and what may be.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    words: Vec<u64>,
    pending: Vec<Pending>,
}

/// A random number.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

/// So many writes that are not there to stay are tried in every combination.
const ALL_COMBINATIONS: usize = 6;
/// Beyond that, so many at random.
const NR_RANDOM: usize = 24;

impl Moment {
    /// What may be there after the power has gone.
    pub(super) fn outcomes(&self, random: &mut Random) -> Vec<Model> {
        let nr = self.pending.len();
        let mut outcomes = Vec::new();
        if nr <= ALL_COMBINATIONS {
            for chosen in 0..1_u64 << nr {
                outcomes.push(self.outcome(|at| if chosen >> at & 1 == 1 { u64::MAX } else { 0 }));
            }
        } else {
            outcomes.push(self.outcome(|_| 0));
            outcomes.push(self.outcome(|_| u64::MAX));
            for one in 0..nr {
                outcomes.push(self.outcome(|at| if at == one { u64::MAX } else { 0 }));
                outcomes.push(self.outcome(|at| if at == one { 0 } else { u64::MAX }));
            }
        }
        // Bytes of what is not whole come one by one.
        for _ in 0..NR_RANDOM.min(nr * 4) {
            let density = random.below(3);
            outcomes.push(self.outcome(|_| match density {
                0 => random.next() & random.next(),
                1 => random.next(),
                _ => random.next() | random.next(),
            }));
        }
        outcomes
    }

    /// What is there if of each write that is not there to stay these bytes are.
    fn outcome(&self, mut bytes: impl FnMut(usize) -> u64) -> Model {
        let mut words = self.words.clone();
        for (at, pending) in self.pending.iter().enumerate() {
            let bytes = bytes(at);
            let bytes = match (pending.is_whole, bytes & 1) {
                (false, _) => bytes_of_bits(bytes),
                (true, 0) => 0,
                (true, _) => u64::MAX,
            };
            pending.apply(&mut words, bytes);
        }
        Model::of(words)
    }
}

/// Each of the lowest eight bits, as a byte of ones. All ones stay all ones.
fn bytes_of_bits(bits: u64) -> u64 {
    let byte = |at: u32| {
        if bits >> at & 1 == 1 {
            0xFF_u64 << (at * 8)
        } else {
            0
        }
    };
    (0..8).fold(0, |bytes, at| bytes | byte(at))
}

/// Looks on before each step.
type Onlooker = Box<dyn FnMut(&Moment)>;

/// The device.
#[derive(Clone)]
pub(super) struct Model(Rc<RefCell<Inner>>);

struct Inner {
    /// What reads see.
    now: Vec<u64>,
    moment: Moment,
    onlooker: Option<Onlooker>,
    nr_steps: usize,
    /// Flushes and fences, by the place in the code that asks for them.
    sites: BTreeSet<Site>,
    /// One that is left out.
    left_out: Option<Site>,
    /// The step that fails.
    failing: Option<usize>,
}

/// The device does not answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl core::fmt::Display for Gone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the device is gone")
    }
}

impl core::error::Error for Gone {}

impl Model {
    /// With these words in it, to stay.
    pub(super) fn of(words: Vec<u64>) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            now: words.clone(),
            moment: Moment {
                words,
                pending: Vec::new(),
            },
            onlooker: None,
            nr_steps: 0,
            sites: BTreeSet::new(),
            left_out: None,
            failing: None,
        })))
    }

    /// As it may come from the factory: full of anything.
    pub(super) fn garbage(len_bytes: usize, random: &mut Random) -> Self {
        Self::of((0..len_bytes / 8).map(|_| random.next()).collect())
    }

    pub(super) fn watch(&self, onlooker: impl FnMut(&Moment) + 'static) {
        self.0.borrow_mut().onlooker = Some(Box::new(onlooker));
    }

    pub(super) fn leave_out(&self, site: Option<Site>) {
        self.0.borrow_mut().left_out = site;
    }

    pub(super) fn fail_at(&self, step: usize) {
        let mut inner = self.0.borrow_mut();
        inner.failing = Some(inner.nr_steps + step);
    }

    pub(super) fn sites(&self) -> BTreeSet<Site> {
        self.0.borrow().sites.clone()
    }

    pub(super) fn nr_steps(&self) -> usize {
        self.0.borrow().nr_steps
    }

    /// The contents, if everything was there to stay.
    pub(super) fn words(&self) -> Vec<u64> {
        self.0.borrow().now.clone()
    }

    /// What is there and what may be, right now.
    pub(super) fn moment(&self) -> Moment {
        self.0.borrow().moment.clone()
    }

    fn step(&self) -> Result<(), Gone> {
        let (onlooker, moment) = {
            let mut inner = self.0.borrow_mut();
            let step = inner.nr_steps;
            inner.nr_steps += 1;
            if inner.failing.is_some_and(|failing| failing <= step) {
                return Err(Gone);
            }
            (inner.onlooker.take(), inner.moment.clone())
        };
        if let Some(mut onlooker) = onlooker {
            onlooker(&moment);
            self.0.borrow_mut().onlooker = Some(onlooker);
        }
        Ok(())
    }

    fn store(&self, word: usize, value: u64, mask: u64, is_whole: bool) {
        let pending = Pending {
            word,
            value,
            mask,
            is_whole,
            is_flushed: false,
        };
        let mut inner = self.0.borrow_mut();
        pending.apply(&mut inner.now, u64::MAX);
        inner.moment.pending.push(pending);
    }

    fn is_left_out(&self, site: Site) -> bool {
        let mut inner = self.0.borrow_mut();
        inner.sites.insert(site);
        inner.left_out == Some(site)
    }
}

impl core::fmt::Debug for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Device for Model {
    type Fault = Gone;

    fn len_bytes(&self) -> usize {
        self.0.borrow().now.len() * 8
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Gone> {
        let inner = self.0.borrow();
        if inner
            .failing
            .is_some_and(|failing| failing <= inner.nr_steps)
        {
            return Err(Gone);
        }
        for (at, byte) in (at..).zip(into) {
            *byte = inner.now[at / 8].to_le_bytes()[at % 8];
        }
        Ok(())
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Gone> {
        self.step()?;
        for (at, byte) in (at..).zip(bytes) {
            let shift = at % 8 * 8;
            self.store(at / 8, u64::from(*byte) << shift, 0xFF << shift, false);
        }
        self.0.borrow_mut().moment.join();
        Ok(())
    }

    fn write_word(&mut self, at: usize, word: u64) -> Result<(), Gone> {
        self.step()?;
        assert!(at.is_multiple_of(8), "{at} is in the middle of a word");
        self.store(at / 8, word, u64::MAX, true);
        Ok(())
    }

    #[track_caller]
    fn flush(&mut self, at: usize, len_bytes: usize) -> Result<(), Gone> {
        let site = Location::caller();
        self.step()?;
        if self.is_left_out((site.file(), site.line())) {
            return Ok(());
        }
        let lines = at / 64..=(at + len_bytes - 1) / 64;
        let mut inner = self.0.borrow_mut();
        for pending in &mut inner.moment.pending {
            pending.is_flushed |= lines.contains(&(pending.word / 8));
        }
        Ok(())
    }

    #[track_caller]
    fn fence(&mut self) -> Result<(), Gone> {
        let site = Location::caller();
        self.step()?;
        if !self.is_left_out((site.file(), site.line())) {
            self.0.borrow_mut().moment.settle();
        }
        Ok(())
    }
}

impl Moment {
    /// What was flushed is there to stay.
    fn settle(&mut self) {
        let Self { words, pending } = self;
        for settled in pending.iter().filter(|pending| pending.is_flushed) {
            settled.apply(words, u64::MAX);
        }
        // Those to the same word that were not flushed came later.
        pending.retain(|pending| !pending.is_flushed);
    }

    /// Bytes of one word that were written by one call are one write, in which each byte is on its own.
    fn join(&mut self) {
        let mut joined: Vec<Pending> = Vec::new();
        for pending in self.pending.drain(..) {
            match joined.last_mut() {
                Some(last)
                    if last.word == pending.word
                        && last.mask & pending.mask == 0
                        && !last.is_whole
                        && !pending.is_whole
                        && !last.is_flushed =>
                {
                    last.value |= pending.value;
                    last.mask |= pending.mask;
                }
                _ => joined.push(pending),
            }
        }
        self.pending = joined;
    }
}
