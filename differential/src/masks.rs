//! What two runs of one program cannot agree on: the one table, and the rule that keeps it honest.
//!
//! A mask may hide only what differs between Linux and Linux. `differential twice` runs every batch on Linux twice with
//! all masks off. Each difference has to be one that a mask hides, and each mask has to hide one: a mask that never fires
//! fails the run. A difference between Linux and our kernel alone is never masked; steps that would show one are not made
//! ([`crate::exclusions`]), or the kernel is wrong.
//!
//! The table is empty. What differs by nature is not told in the first place: process and thread numbers, file
//! descriptors, addresses outside of the arena, times.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::witness::{Fact, What};

/// A kind of fact, or a part of it, that is not compared.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// What it is called.
    pub name: &'static str,
    /// Why two runs on one kernel differ in it.
    pub reason: &'static str,
    /// The kind of fact.
    pub what: What,
    /// What is left of the value.
    pub hide: fn(u64) -> u64,
}

/// All masks.
pub const MASKS: &[Mask] = &[];

static IS_OFF: AtomicBool = AtomicBool::new(false);

/// Turns all masks off, in this process and the children that it forks from now on.
pub fn turn_off() {
    IS_OFF.store(true, Relaxed);
}

/// What is compared of a fact.
#[inline]
#[must_use]
pub fn masked(what: What, value: u64) -> u64 {
    if MASKS.is_empty() || IS_OFF.load(Relaxed) {
        return value;
    }
    let fitting = MASKS.iter().filter(|mask| mask.what == what);
    fitting.fold(value, |value, mask| (mask.hide)(value))
}

/// How often each mask of a table was needed.
#[derive(Debug)]
pub struct Firings {
    masks: &'static [Mask],
    counts: Vec<u64>,
}

impl Firings {
    /// None yet.
    #[must_use]
    pub fn new(masks: &'static [Mask]) -> Self {
        Self {
            masks,
            counts: vec![0; masks.len()],
        }
    }

    /// Looks at the facts of one step, told by two runs without masks. Each mask that hides a difference is counted.
    ///
    /// # Errors
    ///
    /// The place of the first difference that no mask hides.
    pub fn explain(&mut self, one: &[Fact], other: &[Fact]) -> Result<(), usize> {
        for (index, (first, second)) in one.iter().zip(other).enumerate() {
            if first == second {
                continue;
            }
            let hides = |mask: &Mask| {
                first.0 == second.0
                    && mask.what == first.0
                    && (mask.hide)(first.1) == (mask.hide)(second.1)
            };
            let mask = self.masks.iter().position(hides).ok_or(index)?;
            self.counts[mask] += 1;
        }
        if one.len() == other.len() {
            Ok(())
        } else {
            Err(one.len().min(other.len()))
        }
    }

    /// Each mask and how often it fired.
    pub fn counts(&self) -> impl Iterator<Item = (&'static Mask, u64)> {
        self.masks.iter().zip(self.counts.iter().copied())
    }

    /// The masks that never fired: nothing that two runs differ in, so that they hide nothing but errors.
    pub fn idle(&self) -> impl Iterator<Item = &'static Mask> {
        self.counts()
            .filter(|(_, count)| *count == 0)
            .map(|(mask, _)| mask)
    }
}

#[cfg(test)]
mod tests {
    use super::{Firings, MASKS, Mask, masked};
    use crate::witness::What;

    const TABLE: &[Mask] = &[
        Mask {
            name: "lowest bit of an error code",
            reason: "an example",
            what: What::Err,
            hide: |value| value & !1,
        },
        Mask {
            name: "a byte",
            reason: "an example",
            what: What::Byte,
            hide: |_| 0,
        },
    ];

    #[test]
    fn a_mask_fires_where_it_hides_a_difference() {
        let mut firings = Firings::new(TABLE);
        let one = [(What::Signo, 11), (What::Err, 4)];
        let other = [(What::Signo, 11), (What::Err, 5)];
        assert_eq!(firings.explain(&one, &one), Ok(()));
        assert_eq!(firings.idle().count(), 2);
        assert_eq!(firings.explain(&one, &other), Ok(()));
        let idle: Vec<_> = firings.idle().map(|mask| mask.name).collect();
        assert_eq!(idle, ["a byte"]);
    }

    #[test]
    fn other_differences_are_errors() {
        let mut firings = Firings::new(TABLE);
        let one = [(What::Signo, 11), (What::Err, 4)];
        let cases: [(&[_], usize); 4] = [
            (&[(What::Signo, 7), (What::Err, 4)], 0),
            (&[(What::Signo, 11), (What::Err, 6)], 1),
            (&[(What::Signo, 11), (What::Code, 4)], 1),
            (&[(What::Signo, 11)], 1),
        ];
        for (other, place) in cases {
            assert_eq!(firings.explain(&one, other), Err(place), "{other:?}");
        }
        assert_eq!(firings.idle().count(), 2);
    }

    #[test]
    fn every_mask_has_a_reason() {
        for mask in MASKS {
            assert!(mask.reason.len() > 20, "{}", mask.name);
        }
        assert_eq!(masked(What::Addr, 5), 5);
    }
}
