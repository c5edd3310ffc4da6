//! Random programs from a seed.
//!
//! A batch is sixteen programs of two hundred steps, made from one seed by a generator whose stream never changes. Which
//! step comes next is a matter of weights (`WEIGHTS`): accesses and the calls about keys are common, what costs a
//! process is rare. Purely random steps would seldom build the states that matter, so now and then a few steps come
//! together that do ([`crate::idiom`]). And the arguments are drawn from few values, so that steps are about the same
//! pages and keys.
//!
//! The generator knows nothing of what comes of a step. What it never makes stands in [`crate::exclusions`].

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::arena::NR_PAGES;
use crate::defect::Defect;
use crate::draw::Draw;
use crate::idiom;
use crate::op::{
    Advice, Altstack, BareAct, Death, Edit, Fixing, Futex, HandledAct, Inside, Kind, Length,
    Mapping, Move, Offset, Op, Place, Remote, Way,
};

/// Steps of a batch.
pub const BATCH_STEPS: u32 = 3200;

/// Steps of a program, its end included.
pub const PROGRAM_STEPS: u32 = 200;

/// What the Linux at the other side allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Signals reach a thread whose stack, or alternate stack, has a key that is closed; and there is `mseal(2)`. Since
    /// Linux 6.12.
    pub has_keyed_stacks: bool,
}

impl Rules {
    /// Nothing is left out.
    pub const ALL: Self = Self {
        has_keyed_stacks: true,
    };

    /// For a version of Linux.
    #[must_use]
    pub const fn for_linux(major: u32, minor: u32) -> Self {
        Self {
            has_keyed_stacks: major > 6 || major == 6 && minor >= 12,
        }
    }
}

/// How often each kind of step is drawn, against all others. Kinds that are missing come in other ways.
const WEIGHTS: &[(Kind, u16)] = &[
    (Kind::Read, 900),
    (Kind::Write, 700),
    (Kind::Call, 120),
    (Kind::Mmap, 260),
    (Kind::Munmap, 70),
    (Kind::Mprotect, 330),
    (Kind::PkeyMprotect, 420),
    (Kind::PkeyAlloc, 170),
    (Kind::PkeyExhaust, 4),
    (Kind::PkeyFree, 130),
    (Kind::Mremap, 80),
    (Kind::Madvise, 120),
    (Kind::Wrpkru, 80),
    (Kind::SetRights, 380),
    (Kind::Rdpkru, 60),
    (Kind::Xrstor, 20),
    (Kind::Bare, 100),
    (Kind::Raise, 40),
    (Kind::Handled, 120),
    (Kind::PipeWrite, 60),
    (Kind::PipeRead, 60),
    (Kind::Vmsplice, 12),
    (Kind::Futex, 30),
    (Kind::Remotely, 50),
    (Kind::Smaps, 2),
    (Kind::Bad, 300),
];

const TOTAL: usize = {
    let (mut total, mut index) = (0, 0);
    while index < WEIGHTS.len() {
        total += WEIGHTS[index].1 as usize;
        index += 1;
    }
    total
};

/// Each kind as often as its weight says.
static KINDS: [Kind; TOTAL] = {
    let mut kinds = [Kind::Read; TOTAL];
    let (mut index, mut at) = (0, 0);
    while index < WEIGHTS.len() {
        let mut left = WEIGHTS[index].1;
        while left > 0 {
            kinds[at] = WEIGHTS[index].0;
            at += 1;
            left -= 1;
        }
        index += 1;
    }
    kinds
};

/// The seed of one batch of a run, as one number that says the rules as well.
#[must_use]
pub const fn batch_seed(seed: u64, number: u64, rules: Rules) -> u64 {
    // The finalizer of SplitMix64: batches of neighbouring numbers and seeds have nothing in common.
    let mut mixed = seed ^ number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ mixed >> 31) & !1 | rules.has_keyed_stacks as u64
}

/// The steps of a batch.
#[must_use]
pub fn batch(seed: u64, number: u64, rules: Rules) -> Generator {
    Generator::new(batch_seed(seed, number, rules))
}

/// Makes a batch.
#[derive(Debug)]
pub struct Generator {
    draw: Draw,
    rules: Rules,
    /// Steps left of the batch, and of the program.
    left: u32,
    left_in_program: u32,
    /// Steps that are to come next, the last first.
    queue: Vec<Op>,
    /// Where steps run, and who is there, if everything went as expected.
    place: Place,
    taken: [bool; 5],
}

impl Generator {
    /// From what [`batch_seed`] gave.
    #[must_use]
    pub fn new(batch_seed: u64) -> Self {
        let mut generator = Self {
            draw: Draw::new(ChaCha8Rng::seed_from_u64(batch_seed)),
            rules: Rules {
                has_keyed_stacks: batch_seed & 1 != 0,
            },
            left: BATCH_STEPS,
            left_in_program: PROGRAM_STEPS,
            queue: Vec::with_capacity(16),
            place: Place::Main,
            taken: [false; 5],
        };
        generator.begin();
        generator
    }

    /// The first steps of a program: mostly there is memory and there are keys.
    fn begin(&mut self) {
        self.left_in_program = PROGRAM_STEPS;
        self.place = Place::Main;
        self.taken = [false; 5];
        self.draw.new_program();
        self.queue.clear();
        for _ in 0..self.draw.below(3) {
            let protect = self.protect();
            self.queue.push(protect);
        }
        for _ in 0..=self.draw.below(3) {
            let rights = self.draw.rights();
            self.queue.push(Op::PkeyAlloc { rights });
        }
        if !self.draw.one_in(10) {
            let (prot, what) = (3, self.mapping());
            let (page, nr, fixing) = (0, NR_PAGES, Fixing::Fixed);
            self.queue.push(Op::Mmap {
                page,
                nr,
                prot,
                what,
                fixing,
            });
        }
    }

    fn random(&mut self) -> Op {
        match self.place {
            Place::Main => {
                // A visit costs as much as ten steps, and to start somebody as much as fifty or a thousand.
                let has_others = self.taken.contains(&true);
                if self.draw.one_in(if has_others { 100 } else { 200 }) {
                    return self.elsewhere();
                }
                if self.draw.one_in(48) {
                    let has_thread = self.taken[Place::ThreadA as usize];
                    idiom::push(&mut self.draw, has_thread, &mut self.queue);
                    if let Some(op) = self.queue.pop() {
                        return op;
                    }
                }
            }
            place => {
                if self.draw.one_in(6) {
                    self.place = Place::Main;
                    return Op::Switch { place: Place::Main };
                }
                if self.draw.one_in(20)
                    && let Some(op) = self.in_a_peer(place)
                {
                    return op;
                }
            }
        }
        let kind = KINDS[self.draw.index(TOTAL)];
        self.of_kind(kind)
    }

    /// A step about places.
    fn elsewhere(&mut self) -> Op {
        let place = match self.draw.below(128) {
            0..=62 => Place::ThreadA,
            63..=98 => Place::ThreadB,
            99..=126 => Place::Child,
            _ => Place::Exec,
        };
        if !self.taken[place as usize] {
            self.taken[place as usize] = true;
            // Last in, first out: started now, switched to next.
            self.place = place;
            self.queue.push(Op::Switch { place });
            return Op::Start { place };
        }
        if self.draw.one_in(6) {
            self.taken[place as usize] = false;
            return Op::End { place };
        }
        self.place = place;
        Op::Switch { place }
    }

    /// A step that only a thread or a child may do.
    fn in_a_peer(&mut self, place: Place) -> Option<Op> {
        let stack = match self.draw.below(8) {
            0 => Altstack::Off,
            1 if place.is_child() => Altstack::ReadOnly,
            2 if place.is_child() => Altstack::Unmapped,
            _ => Altstack::Writable,
        };
        let choice = self.draw.below(4);
        if choice < 2 {
            let key = if self.rules.has_keyed_stacks {
                self.draw.key()
            } else {
                0
            };
            return Some(Op::SetAltstack { stack, key });
        }
        if !place.is_child() {
            return None;
        }
        if choice == 2 {
            self.taken[place as usize] = false;
            self.place = Place::Main;
            let how = self.draw.pick(Death::ALL);
            return Some(Op::Die { how });
        }
        let (page, nr) = self.draw.range();
        self.rules
            .has_keyed_stacks
            .then_some(Op::Mseal { page, nr })
    }

    fn of_kind(&mut self, kind: Kind) -> Op {
        let draw = &mut self.draw;
        match kind {
            Kind::Write => Op::Write {
                page: draw.page(),
                offset: draw.pick(Offset::ALL),
                value: draw.byte(),
            },
            Kind::Call => Op::Call { page: draw.page() },
            Kind::Mmap => self.map(),
            Kind::Munmap => {
                let (page, nr) = draw.range();
                Op::Munmap { page, nr }
            }
            Kind::Mprotect => {
                let ((page, nr), prot) = (draw.range(), draw.prot());
                Op::Mprotect { page, nr, prot }
            }
            Kind::PkeyMprotect => self.protect(),
            Kind::PkeyAlloc => Op::PkeyAlloc {
                rights: draw.rights(),
            },
            Kind::PkeyExhaust => Op::PkeyExhaust {
                freed: draw.byte() % 16,
            },
            Kind::PkeyFree => Op::PkeyFree { key: draw.key() },
            Kind::Mremap => self.remap(),
            Kind::Madvise => {
                let ((page, nr), advice) = (draw.range(), draw.pick(Advice::ALL));
                Op::Madvise { page, nr, advice }
            }
            Kind::Wrpkru => Op::Wrpkru { pkru: draw.pkru() },
            Kind::SetRights => Op::SetRights {
                key: draw.real_key(),
                rights: draw.rights(),
            },
            Kind::Rdpkru => Op::Rdpkru,
            Kind::Xrstor => Op::Xrstor,
            Kind::Bare => self.bare(),
            Kind::Raise => Op::Raise,
            Kind::Handled => Op::Handled {
                act: draw.pick(HandledAct::ALL),
                page: draw.page(),
                edit: draw.pick(Edit::ALL),
                pkru: draw.pkru(),
                way: draw.pick(Way::ALL),
                inside: draw.pick(Inside::ALL),
            },
            Kind::PipeWrite => Op::PipeWrite {
                page: draw.page(),
                offset: draw.pick(Offset::ALL),
                length: draw.pick(Length::ALL),
            },
            Kind::PipeRead => Op::PipeRead {
                page: draw.page(),
                offset: draw.pick(Offset::ALL),
                length: draw.pick(Length::ALL),
                value: draw.byte(),
            },
            Kind::Vmsplice => Op::Vmsplice { page: draw.page() },
            Kind::Futex => Op::Futex {
                how: draw.pick(Futex::ALL),
                page: draw.page(),
            },
            Kind::Remotely => Op::Remotely {
                how: draw.pick(Remote::ALL),
                page: draw.page(),
                value: draw.byte(),
            },
            Kind::Smaps => Op::Smaps { page: draw.page() },
            Kind::Bad => self.bad(),
            // The others are not drawn by weight.
            _ => Op::Read {
                page: draw.page(),
                offset: draw.pick(Offset::ALL),
            },
        }
    }

    fn mapping(&mut self) -> Mapping {
        match self.draw.below(64) {
            0..=3 => Mapping::Shared,
            4..=6 => Mapping::Populated,
            7 => Mapping::SharedPopulated,
            8 => Mapping::NoReserve,
            9 => Mapping::Stack,
            _ => Mapping::Private,
        }
    }

    fn map(&mut self) -> Op {
        let (page, nr) = self.draw.range();
        let (prot, what) = (self.draw.prot(), self.mapping());
        let fixing = if self.draw.one_in(8) {
            Fixing::NoReplace
        } else {
            Fixing::Fixed
        };
        Op::Mmap {
            page,
            nr,
            prot,
            what,
            fixing,
        }
    }

    fn protect(&mut self) -> Op {
        let (page, nr) = self.draw.range();
        let (prot, key) = (self.draw.prot(), self.draw.key());
        Op::PkeyMprotect {
            page,
            nr,
            prot,
            key,
        }
    }

    fn remap(&mut self) -> Op {
        let page = self.draw.page();
        let (to, how) = (self.draw.page(), self.draw.pick(Move::ALL));
        Op::Mremap {
            page,
            nr: 1,
            to,
            how,
        }
    }

    fn bare(&mut self) -> Op {
        let act = self.draw.pick(BareAct::ALL);
        let closes = self.rules.has_keyed_stacks && self.draw.below(5) < 2;
        let zero = if closes { 1 + self.draw.below(3) } else { 0 };
        let has_stack = act == BareAct::Call || self.draw.one_in(4);
        Op::Bare {
            act,
            page: self.draw.page(),
            pkru: self.draw.pkru() | zero,
            stack: if has_stack {
                self.draw.page()
            } else {
                NR_PAGES
            },
        }
    }

    fn bad(&mut self) -> Op {
        let mut defect = self.draw.pick(Defect::ALL);
        let is_mseal = matches!(
            defect,
            Defect::MsealFlag | Defect::MsealUnaligned | Defect::MsealNoLength
        );
        if is_mseal && !self.rules.has_keyed_stacks {
            defect = Defect::NoSuchCall;
        }
        let page = self.draw.page();
        Op::Bad { defect, page }
    }
}

impl Iterator for Generator {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        self.left = self.left.checked_sub(1)?;
        self.left_in_program -= 1;
        if self.left_in_program == 0 {
            self.begin();
            return Some(Op::EndProgram);
        }
        Some(match self.queue.pop() {
            Some(op) => op,
            None => self.random(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{BATCH_STEPS, PROGRAM_STEPS, Rules, WEIGHTS, batch, batch_seed};
    use crate::defect::Defect;
    use crate::op::{Kind, Op, Place};
    use crate::witness::Hash;

    /// The first steps under a seed, in one number. It changes when the generator does, and a seed of before then says
    /// something else: no harm, but nothing that should happen by the way.
    #[test]
    fn a_seed_gives_the_same_steps_for_ever() {
        let mut hash = Hash::default();
        for op in batch(1, 0, Rules::ALL).chain(batch(1, 1, Rules::ALL)) {
            hash.add(op.encode());
        }
        assert_eq!(format!("{:#018x}", hash.value()), GOLDEN);
    }

    const GOLDEN: &str = "0xb39d658e2ab3d38f";

    #[test]
    fn a_batch_is_whole_programs() {
        let ops: Vec<Op> = batch(7, 3, Rules::ALL).collect();
        assert_eq!(ops.len(), BATCH_STEPS as usize);
        for (index, op) in ops.iter().enumerate() {
            let is_last = (index + 1) % PROGRAM_STEPS as usize == 0;
            assert_eq!(*op == Op::EndProgram, is_last, "{index}");
        }
    }

    #[test]
    fn every_kind_and_every_defect_comes_within_a_hundred_thousand_steps() {
        let mut kinds: HashMap<Kind, u32> = HashMap::new();
        let mut defects: HashMap<Defect, u32> = HashMap::new();
        let mut starts: HashMap<Place, u32> = HashMap::new();
        for op in (0..32).flat_map(|number| batch(11, number, Rules::ALL)) {
            *kinds.entry(op.kind()).or_default() += 1;
            match op {
                Op::Bad { defect, .. } => *defects.entry(defect).or_default() += 1,
                Op::Start { place } => *starts.entry(place).or_default() += 1,
                _ => {}
            }
        }
        for kind in Kind::ALL {
            assert!(kinds.contains_key(kind), "{kind:?} never came");
        }
        for defect in Defect::ALL {
            assert!(defects.contains_key(defect), "{defect:?} never came");
        }
        assert_eq!(starts.len(), Place::ALL.len() - 1, "{starts:?}");
    }

    #[test]
    fn a_weight_is_a_share() {
        let total: u32 = WEIGHTS.iter().map(|(_, weight)| u32::from(*weight)).sum();
        let mut reads = 0_u32;
        let mut steps = 0_u32;
        for op in (0..32).flat_map(|number| batch(5, number, Rules::ALL)) {
            steps += 1;
            reads += u32::from(op.kind() == Kind::Read);
        }
        // Idioms, places and beginnings take about a seventh of the steps, and have reads as well.
        assert!(reads * total > steps * 700, "{reads} of {steps}");
        assert!(reads * total < steps * 1100, "{reads} of {steps}");
    }

    #[test]
    fn an_older_linux_gets_no_closed_stacks() {
        for op in (0..32).flat_map(|number| batch(11, number, Rules::for_linux(6, 1))) {
            match op {
                Op::Bare { pkru, .. } => assert_eq!(pkru & 3, 0),
                Op::SetAltstack { key, .. } => assert_eq!(key, 0),
                Op::Mseal { .. } => panic!("there is no such call"),
                _ => {}
            }
        }
        assert_eq!(Rules::for_linux(6, 12), Rules::ALL);
        assert_eq!(Rules::for_linux(7, 0), Rules::ALL);
        assert_ne!(Rules::for_linux(5, 19), Rules::ALL);
    }

    #[test]
    fn batches_have_seeds_of_their_own() {
        let seeds: std::collections::HashSet<u64> = (0..1000)
            .flat_map(|number| (0..10).map(move |seed| batch_seed(seed, number, Rules::ALL)))
            .collect();
        assert_eq!(seeds.len(), 10_000);
    }
}
