//! The power goes at every step of random changes, and caches have written back whatever they liked.
//!
//! Before each write, flush and fence that the store makes, and after each change, all that may be on the device if the power
//! went now is looked at, or much of it: every combination of the writes that are not there to stay, where there are few, and
//! none, all, each alone, all but each, and random bytes of random ones, where there are many. Each is opened. What is found
//! is the state before the change or after it; once the call has returned, it is the state after it.

use core::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::model::{Model, Moment, Random, Site};
use super::workload::{Contents, MANY_KEYS, SMALL, contents, random_change};
use crate::dax::{Store, StoreError};

/// What may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// The store is being made: an empty one, or none.
    NoneOrEmpty,
    /// One of these.
    Either(Contents, Contents),
}

/// Looks at what may be found, and keeps the first thing that is wrong.
struct Judge {
    allowed: Allowed,
    random: Random,
    wrong: Option<String>,
    nr_steps: usize,
    nr_outcomes: usize,
}

impl Judge {
    /// Opens everything that may be there at a moment.
    fn look(&mut self, moment: &Moment) {
        self.nr_steps += 1;
        if self.wrong.is_some() {
            return;
        }
        for outcome in moment.outcomes(&mut self.random) {
            self.nr_outcomes += 1;
            if let Err(wrong) = self.open(outcome) {
                self.wrong = Some(wrong);
                return;
            }
        }
    }

    fn open(&mut self, outcome: Model) -> Result<(), String> {
        let store = match (Store::open(outcome), &self.allowed) {
            (Ok(store), _) => store,
            (Err(StoreError::NotAStore), Allowed::NoneOrEmpty) => return Ok(()),
            (Err(other), _) => return Err(format!("not opened: {other}")),
        };
        let found = contents(&store).map_err(|error| format!("not read: {error}"))?;
        let is_allowed = match &self.allowed {
            Allowed::NoneOrEmpty => found.is_empty(),
            Allowed::Either(before, after) => found == *before || found == *after,
        };
        if !is_allowed {
            return Err(format!("found {found:?}, not {:?}", self.allowed));
        }
        if self.random.below(8) == 0 {
            go_on(store, found)?;
        }
        Ok(())
    }
}

/// A store that was found goes on as any does: changes are made, and are there.
fn go_on(mut store: Store<Model>, mut expected: Contents) -> Result<(), String> {
    let told = |error| format!("does not go on: {error}");
    // However full it is, what goes makes room for what is no larger.
    let gone = expected.pop_first();
    let (key, value) = gone.unwrap_or_else(|| (b"more".to_vec(), b"of it".to_vec()));
    store.delete(&key).map_err(told)?;
    store.compact().map_err(told)?;
    store.put(&key, &value).map_err(told)?;
    expected.insert(key, value);
    let again = Store::open(store.into_device()).map_err(told)?;
    let found = contents(&again).map_err(told)?;
    if found == expected {
        Ok(())
    } else {
        Err(format!("found {found:?} later, not {expected:?}"))
    }
}

/// What a run comes to.
#[derive(Debug, Default)]
struct Run {
    nr_steps: usize,
    nr_outcomes: usize,
    sites: BTreeSet<Site>,
}

/// Changes on a device, the power going every so often for good. One flush or fence may be left out.
fn run(seed: u64, nr_changes: usize, left_out: Option<Site>) -> Result<Run, String> {
    let mut random = Random(seed);
    let judge = Rc::new(RefCell::new(Judge {
        allowed: Allowed::NoneOrEmpty,
        random: Random(seed ^ 0x5EED),
        wrong: None,
        nr_steps: 0,
        nr_outcomes: 0,
    }));
    let mut sites = BTreeSet::new();
    let watch = |device: &Model| {
        let judge = Rc::clone(&judge);
        device.leave_out(left_out);
        device.watch(move |moment| judge.borrow_mut().look(moment));
    };
    let device = Model::garbage(SMALL, &mut random);
    watch(&device);
    let mut store = Some(Store::format(device.clone()).map_err(|error| error.to_string())?);
    let mut device = device;
    let mut now = Contents::new();
    let nr_keys = [4, MANY_KEYS][random.below(2)];
    for number in 0..nr_changes {
        judge.borrow_mut().allowed = Allowed::Either(now.clone(), now.clone());
        judge.borrow_mut().look(&device.moment());
        if let Some(wrong) = judge.borrow_mut().wrong.take() {
            return Err(format!("seed {seed}, change {number}: {wrong}"));
        }
        if random.below(25) == 0 {
            // The power goes, and this is what is left. Nobody writes now, so that it is what it should be.
            sites.extend(device.sites());
            let outcomes = device.moment().outcomes(&mut random);
            device = outcomes[random.below(outcomes.len())].clone();
            watch(&device);
            store = Some(Store::open(device.clone()).map_err(|error| error.to_string())?);
        }
        let change = random_change(&mut random, nr_keys);
        let before = now.clone();
        change.apply(&mut now);
        judge.borrow_mut().allowed = Allowed::Either(before, now.clone());
        change.make(&mut store);
    }
    sites.extend(device.sites());
    let judge = judge.borrow();
    match &judge.wrong {
        Some(wrong) => Err(format!("seed {seed}, last change: {wrong}")),
        None => Ok(Run {
            nr_steps: judge.nr_steps,
            nr_outcomes: judge.nr_outcomes,
            sites,
        }),
    }
}

#[test]
fn after_the_power_has_gone_at_any_step_everything_that_was_promised_is_there() {
    let mut total = Run::default();
    for seed in 1..=8 {
        let run = run(seed, 60, None).unwrap();
        total.nr_steps += run.nr_steps;
        total.nr_outcomes += run.nr_outcomes;
    }
    println!("{} steps, {} outcomes", total.nr_steps, total.nr_outcomes);
    assert!(total.nr_steps > 5_000, "{total:?}");
    assert!(total.nr_outcomes > 100_000, "{total:?}");
}

/// The power goes within a change that begins on what another interrupted change has left, over and over.
#[test]
fn interrupted_changes_on_top_of_interrupted_changes_lose_nothing() {
    for seed in 1..=40 {
        let mut random = Random(seed * 7919);
        let mut device = Model::garbage(SMALL, &mut random);
        let mut now = contents(&Store::format(device.clone()).unwrap()).unwrap();
        for _ in 0..60 {
            let mut store = Some(Store::open(device.clone()).unwrap());
            assert_eq!(
                contents(store.as_ref().unwrap()).unwrap(),
                now,
                "seed {seed}"
            );
            let change = random_change(&mut random, MANY_KEYS);
            let mut after = now.clone();
            change.apply(&mut after);
            // A moment within the change, if it has that many steps.
            let chosen = Rc::new(RefCell::new(None));
            let (notes, at) = (Rc::clone(&chosen), random.below(30));
            let first = device.nr_steps();
            let mut step = first;
            device.watch(move |moment| {
                if step <= first + at {
                    *notes.borrow_mut() = Some(moment.clone());
                }
                step += 1;
            });
            change.make(&mut store);
            let moment = chosen.borrow_mut().take();
            let moment = moment.unwrap_or_else(|| device.moment());
            let outcomes = moment.outcomes(&mut random);
            device = outcomes[random.below(outcomes.len())].clone();
            let found = contents(&Store::open(device.clone()).unwrap()).unwrap();
            assert!(
                found == now || found == after,
                "seed {seed}: {change:?}: {found:?}"
            );
            now = found;
        }
    }
}

/// Each flush and each fence of the store, left out alone, is noticed. So none of them is there in vain, and the test above
/// sees what it is for.
#[test]
fn each_flush_and_each_fence_is_needed() {
    let complete = run(1, 150, None).unwrap();
    println!("{} flushes and fences", complete.sites.len());
    assert!(complete.sites.len() >= 12, "{:?}", complete.sites);
    for site in complete.sites {
        let noticed = (1..=8).find_map(|seed| run(seed, 150, Some(site)).err());
        println!("{site:?}: {noticed:?}");
        assert!(
            noticed.is_some(),
            "nobody notices that {site:?} is left out"
        );
    }
}
