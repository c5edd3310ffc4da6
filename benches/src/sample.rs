//! Rounds, cycles and quartiles.
//!
//! The variants of a comparison take turns: A B C, A B C, and so on. A round gives each a figure, cycles of the time-stamp
//! counter for one iteration; a ratio is taken within a round and the median over all of them.

use core::arch::x86_64::{_mm_lfence, _rdtsc};

use serde::{Deserialize, Serialize};

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// For figures that are quoted.
    Full,
    /// To see that it runs.
    Smoke,
}

impl Effort {
    /// So many rounds, or as few as show that it runs.
    pub(crate) const fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Smoke => 3,
        }
    }

    /// So many iterations a round, or as few as show that it runs.
    pub(crate) const fn iterations(self, full: u32) -> u32 {
        match self {
            Self::Full => full,
            Self::Smoke if full < 4 => full,
            Self::Smoke => 4,
        }
    }
}

/// Median and quartiles of a set of values.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// The quartiles of the values, which are sorted for it.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self {
            low: at(1),
            median: at(2),
            high: at(3),
        }
    }
}

/// What the rounds of a comparison gave: cycles an iteration, by variant and round.
#[derive(Debug)]
pub(crate) struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// The ratio of one variant to another, within each round.
    pub(crate) fn ratio(&self, variant: usize, to: usize) -> Spread {
        let pairs = self.0[variant].iter().zip(&self.0[to]);
        Spread::of(pairs.map(|(a, b)| a / b).collect())
    }

    /// The difference of one variant to another, within each round.
    pub(crate) fn difference(&self, variant: usize, to: usize) -> Spread {
        let pairs = self.0[variant].iter().zip(&self.0[to]);
        Spread::of(pairs.map(|(a, b)| a - b).collect())
    }

    /// What was measured by other means than the counter: by variant and round.
    pub(crate) fn of(values: Vec<Vec<f64>>) -> Self {
        Self(values)
    }

    /// The cycles of one variant, for the reader who wants to see where a ratio comes from.
    pub(crate) fn cycles(&self, variant: usize) -> Spread {
        Spread::of(self.0[variant].clone())
    }
}

/// One variant: runs so many iterations.
pub(crate) type Variant<'a> = &'a mut dyn FnMut(u32);

/// One variant that other threads have a part in: runs so many iterations and says how many there were with theirs.
pub(crate) type Joint<'a> = &'a mut dyn FnMut(u32) -> u64;

/// Runs the variants in turn. The first round warms up and is not counted.
pub(crate) fn compare(rounds: usize, iterations: u32, variants: &mut [Variant<'_>]) -> Rounds {
    take_turns(rounds, variants, |variant| {
        variant(iterations);
        u64::from(iterations)
    })
}

/// As [`compare`], for variants that several threads work at. Cycles for one iteration are then elapsed ones: the less,
/// the more all threads together get done.
pub(crate) fn compare_joint(rounds: usize, iterations: u32, variants: &mut [Joint<'_>]) -> Rounds {
    take_turns(rounds, variants, |variant| variant(iterations))
}

fn take_turns<V>(rounds: usize, variants: &mut [V], run: impl Fn(&mut V) -> u64) -> Rounds {
    let mut cycles = vec![Vec::with_capacity(rounds); variants.len()];
    for round in 0..=rounds {
        for (variant, cycles) in variants.iter_mut().zip(&mut cycles) {
            let start = now();
            let iterations = run(variant);
            let end = now();
            if round > 0 {
                cycles.push((end - start) as f64 / iterations as f64);
            }
        }
    }
    Rounds(cycles)
}

/// The time-stamp counter, with nothing before it still under way and nothing after it begun.
fn now() -> u64 {
    // SAFETY: LFENCE is in every x86-64 CPU.
    unsafe { _mm_lfence() };
    // SAFETY: RDTSC is in every x86-64 CPU, and Linux lets programs use it.
    let now = unsafe { _rdtsc() };
    // SAFETY: as above.
    unsafe { _mm_lfence() };
    now
}

/// Keeps the process on the CPU that it is on: cycles of two CPUs are not compared.
pub(crate) fn pin_to_one_cpu() {
    let here = this_cpu();
    // Where it is refused, the spread shows it.
    run_on(|cpu| cpu == here);
}

/// Lets a thread run on any CPU again.
pub(crate) fn unpin() {
    run_on(|_| true);
}

/// Lets a thread run on any CPU but one. Where there is no other, it stays.
pub(crate) fn unpin_away_from(cpu: usize) {
    run_on(|other| other != cpu);
}

/// The CPU that this thread is on.
pub(crate) fn this_cpu() -> usize {
    // SAFETY: takes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).unwrap_or(0)
}

/// Lets this thread run on these CPUs. Those that are not there are passed over; where none is left, all stays.
fn run_on(is_allowed: impl Fn(usize) -> bool) {
    // SAFETY: a set of zeros is empty.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    let all = 0..usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    for cpu in all.filter(|cpu| is_allowed(*cpu)) {
        // SAFETY: a set of this function's own.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set has the size that is said.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}
