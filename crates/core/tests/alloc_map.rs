//! The allocation map against a model in Linux's own terms: a set of numbers, and a number that may be set aside.

use std::collections::BTreeSet;

use pkeys_core::{AllocationMap, AllocationState, FreeError, KeySet, Pkey};

/// The map as Linux describes it (`arch/x86/include/asm/pkeys.h`).
#[derive(Clone)]
struct Model {
    taken: BTreeSet<i32>,
    execute_only: Option<i32>,
}

impl Model {
    fn new() -> Self {
        Self {
            taken: BTreeSet::from([0]),
            execute_only: None,
        }
    }

    fn is_allocated(&self, pkey: i32) -> bool {
        self.taken.contains(&pkey) && self.execute_only != Some(pkey)
    }

    fn allocate(&mut self) -> Option<i32> {
        let free = (0..16).find(|pkey| !self.taken.contains(pkey))?;
        self.taken.insert(free);
        Some(free)
    }

    fn free(&mut self, pkey: i32) -> bool {
        self.is_allocated(pkey) && self.taken.remove(&pkey)
    }

    fn allocate_execute_only(&mut self) -> Option<i32> {
        if self.execute_only.is_none() {
            self.execute_only = self.allocate();
        }
        self.execute_only
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate,
    Free(i32),
    AllocateExecuteOnly,
}

fn every_step() -> Vec<Step> {
    let mut steps = vec![Step::Allocate, Step::AllocateExecuteOnly];
    steps.extend((-1..=16).map(Step::Free));
    steps
}

/// Takes one step on the value and on the model, and compares the results.
fn take(state: AllocationState, model: &mut Model, step: Step) -> AllocationState {
    let allocated = |got: Option<(AllocationState, Pkey)>, expected: Option<i32>| {
        assert_eq!(got.map(|(_, pkey)| i32::from(pkey)), expected, "{step:?}");
        got.map_or(state, |(next, _)| next)
    };
    match step {
        Step::Allocate => allocated(state.allocate(), model.allocate()),
        Step::AllocateExecuteOnly => {
            allocated(state.allocate_execute_only(), model.allocate_execute_only())
        }
        Step::Free(pkey) => {
            let is_execute_only = model.execute_only == Some(pkey);
            let is_freed = model.free(pkey);
            match state.free(pkey) {
                Ok(next) => {
                    assert!(is_freed, "{step:?}");
                    return next;
                }
                Err(FreeError::OutOfRange { pkey: named }) => {
                    assert!(!(0..16).contains(&pkey));
                    assert_eq!(named, pkey);
                }
                Err(FreeError::ExecuteOnly { pkey: named }) => {
                    assert!(is_execute_only);
                    assert_eq!(i32::from(named), pkey);
                }
                Err(FreeError::NotAllocated { pkey: named }) => {
                    assert!(!is_execute_only);
                    assert_eq!(i32::from(named), pkey);
                }
                Err(other) => panic!("{other}"),
            }
            assert!(!is_freed, "{step:?}");
            state
        }
    }
}

/// The same step on the word in memory.
fn take_atomic(map: &AllocationMap, step: Step) {
    match step {
        Step::Allocate => _ = map.allocate(),
        Step::AllocateExecuteOnly => _ = map.allocate_execute_only(),
        Step::Free(pkey) => _ = map.free(pkey),
    }
}

fn check(state: AllocationState, model: &Model) {
    for pkey in (-3..20).chain([115, i32::MIN, i32::MAX, 0x1_0000, 256]) {
        assert_eq!(
            state.is_allocated(pkey),
            model.is_allocated(pkey),
            "{state:?} {pkey}"
        );
    }
    let numbers = |set: KeySet| set.iter().map(i32::from).collect::<BTreeSet<_>>();
    assert_eq!(numbers(state.taken()), model.taken);
    let mut usable = model.taken.clone();
    usable.retain(|&pkey| model.is_allocated(pkey));
    assert_eq!(numbers(state.usable()), usable);
    assert_eq!(state.execute_only().map(i32::from), model.execute_only);
    assert_eq!(AllocationState::from_bits(state.bits()), Some(state));
    // What user space would compute from the published word.
    let word = state.bits();
    for pkey in 0..16 {
        let by_formula = word & !(word >> 16) & (1 << pkey) != 0;
        assert_eq!(by_formula, model.is_allocated(pkey));
    }
}

fn follow(state: AllocationState, model: &Model, depth: u32) {
    check(state, model);
    if depth == 0 {
        return;
    }
    for step in every_step() {
        let mut next_model = model.clone();
        let next = take(state, &mut next_model, step);
        let map = AllocationMap::from_state(state);
        take_atomic(&map, step);
        assert_eq!(map.snapshot(), next, "{step:?}");
        follow(next, &next_model, depth - 1);
    }
}

/// Starts after some allocations, so that short sequences reach both the empty and the full map.
fn start(steps: &[Step]) -> (AllocationState, Model) {
    let mut model = Model::new();
    let state = steps.iter().fold(AllocationState::INITIAL, |state, &step| {
        take(state, &mut model, step)
    });
    (state, model)
}

#[test]
fn every_short_sequence_agrees_with_linux() {
    let full = [Step::Allocate; 15];
    let nearly_full = &full[..13];
    let full_with_execute_only = [&full[..14], &[Step::AllocateExecuteOnly]].concat();
    for (steps, depth) in [
        (&[][..], 4),
        (nearly_full, 3),
        (&full[..], 3),
        (&full_with_execute_only[..], 3),
    ] {
        let (state, model) = start(steps);
        follow(state, &model, depth);
    }
}

#[test]
fn long_walks_agree_with_linux() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let (mut was_full, mut was_empty) = (false, false);
    // Many walks, as the execute-only key of one never ends.
    for _ in 0..200 {
        let map = AllocationMap::default();
        let mut model = Model::new();
        for turn in 0..1000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let state = map.snapshot();
            let free = Step::Free(i32::try_from(random >> 32 & 31).unwrap() - 8);
            // The tide turns every hundred steps, so that a walk sees both shores.
            let is_rising = turn / 100 % 2 == 0;
            let step = match random % 16 {
                0 if turn > 300 => Step::AllocateExecuteOnly,
                1..=10 if is_rising => Step::Allocate,
                1..=2 => Step::Allocate,
                _ => free,
            };
            let next = take(state, &mut model, step);
            take_atomic(&map, step);
            assert_eq!(map.snapshot(), next, "{step:?}");
            check(next, &model);
            was_full |= next.taken() == KeySet::ALL;
            was_empty |= next.taken().is_empty();
        }
    }
    assert!(was_full && was_empty);
}

#[test]
fn a_new_map_has_key_0_and_no_execute_only_key() {
    let map = AllocationMap::new();
    check(map.snapshot(), &Model::new());
    assert_eq!(map.snapshot(), AllocationState::INITIAL);
    assert!(map.is_allocated(0));
    assert_eq!(map.execute_only(), None);
    assert_eq!(map.allocate(), Pkey::new(1));
}

#[test]
fn a_freed_key_0_is_the_next_even_for_execute_only_memory() {
    let map = AllocationMap::new();
    assert_eq!(map.free(0), Ok(()));
    assert!(!map.is_allocated(0));
    assert_eq!(map.allocate_execute_only(), Some(Pkey::DEFAULT));
    assert_eq!(map.execute_only(), Some(Pkey::DEFAULT));
    assert!(!map.is_allocated(0));
    let pkey = Pkey::DEFAULT;
    assert_eq!(map.free(0), Err(FreeError::ExecuteOnly { pkey }));
    assert_eq!(map.allocate(), Pkey::new(1));
}

#[test]
fn words_that_cannot_be_are_refused() {
    let lows = [0, 1, 0x8000, 0x5555, 0xAAAA, 0x1234, 0xFFFF];
    for low in lows {
        for high in 0..=0xFFFF_u32 {
            let members: Vec<u32> = (0..16).filter(|k| high / 2_u32.pow(*k) % 2 == 1).collect();
            let is_possible = match members[..] {
                [] => true,
                [only] => low / 2_u32.pow(only) % 2 == 1,
                _ => false,
            };
            let word = high * 0x1_0000 + low;
            let state = AllocationState::from_bits(word);
            assert_eq!(
                state.map(AllocationState::bits),
                is_possible.then_some(word)
            );
        }
    }
}

#[test]
fn errors_say_which_key_and_why() {
    let map = AllocationMap::new();
    let hidden = map.allocate_execute_only().unwrap();
    let text = |pkey| map.free(pkey).unwrap_err().to_string();
    assert_eq!(text(-1), "-1 is not a protection key: keys are 0 to 15");
    assert_eq!(text(7), "protection key 7 is not allocated");
    assert_eq!(
        text(hidden.into()),
        "protection key 1 is held for execute-only memory"
    );
}
