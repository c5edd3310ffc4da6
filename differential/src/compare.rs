//! Holds what Linux's side prints against the machine's side, in rounds.
//!
//! The first round is a stream of hashes. The machine runs each batch as its line comes; as long as the hashes agree, so
//! does everything that any program saw. At the first that do not, the batch's steps are asked for one by one, and then
//! smaller and smaller parts of it, until what is left cannot be made smaller ([`crate::shrink`]); last, all facts of what
//! is left. Each of these questions is one more run of the Linux side. Between rounds this process need not live on: all
//! that it has to know stands in a [`State`], which is a few lines of text.

use std::io::BufRead;

use crate::detail::{self, Step};
use crate::generate::{Rules, batch};
use crate::kept::Kept;
use crate::linux_side::nr_batches;
use crate::op::Op;
use crate::protocol::Asked;
use crate::reader::{Broken, Lines, read_stream};
use crate::report::Report;
use crate::shrink::Shrinker;
use crate::side::{Side, batch_hash};

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Of all programs.
    pub seed: u64,
    /// At least so many.
    pub steps: u64,
}

/// What is known when the Linux side has to be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Linux's version, which says what is generated.
    linux: (u32, u32),
    /// The batch that differs.
    batch: u64,
    /// What is asked about it.
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Where it differs first.
    Whole,
    /// Which smaller programs differ.
    Shrinking(Shrinker),
    /// What each side saw in these steps.
    Facts(Kept),
}

/// What a round came to.
#[derive(Debug)]
pub enum Verdict {
    /// Everything agreed.
    Agreed {
        /// Over so many steps.
        steps: u64,
    },
    /// The Linux side is to be run with these arguments, and its output to be compared with this state.
    Need(State),
    /// It differs, and this is all that is to be said.
    Diverged(Box<Report>),
}

/// The first round: runs the machine along the stream.
///
/// # Errors
///
/// [`Broken`].
pub fn first_round(
    plan: Plan,
    machine: &mut dyn Side,
    input: &mut dyn BufRead,
) -> Result<Verdict, Broken> {
    let mut differs = None;
    let mut died = None;
    let linux = read_stream(plan, input, &mut |rules, batch| {
        let mut ours = None;
        let ran = machine.with_root(&mut |root| {
            ours = Some(batch_hash(root, plan.seed, batch.number, rules));
        });
        died = ran.err();
        if ours != Some(batch.hash) {
            differs = Some(batch.number);
        }
        differs.is_none() && died.is_none()
    })?;
    if let Some(words) = died {
        return Err(Broken::Root(words));
    }
    Ok(match differs {
        None => Verdict::Agreed {
            steps: nr_batches(plan.steps) * u64::from(crate::generate::BATCH_STEPS),
        },
        Some(batch) => Verdict::Need(State {
            linux,
            batch,
            stage: Stage::Whole,
        }),
    })
}

/// The place of the first step on which two sides differ.
#[must_use]
pub fn first_difference(one: &[Step], other: &[Step]) -> Option<usize> {
    let differs = |(one, other): (&Step, &Step)| one.summary != other.summary;
    let place = one.iter().zip(other).position(differs);
    place.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

/// Steps one by one on a side.
///
/// # Errors
///
/// [`Broken::Root`].
pub fn run_all(side: &mut dyn Side, ops: &[Op], has_facts: bool) -> Result<Vec<Step>, Broken> {
    let mut steps = Vec::new();
    let ran = side.with_root(&mut |root| {
        detail::run(root, ops, has_facts, &mut |step| {
            steps.push(step);
            true
        });
    });
    ran.map_err(Broken::Root)?;
    Ok(steps)
}

impl State {
    /// The programs that the Linux side is asked for.
    fn programs(&self) -> Vec<Kept> {
        match &self.stage {
            Stage::Whole => vec![Kept::first(crate::generate::BATCH_STEPS as usize)],
            Stage::Shrinking(shrinker) => shrinker.candidates(),
            Stage::Facts(kept) => vec![kept.clone()],
        }
    }

    /// The arguments with which the Linux side is to be run.
    #[must_use]
    pub fn arguments(&self, plan: Plan) -> Vec<String> {
        let programs: Vec<String> = self.programs().iter().map(Kept::encode).collect();
        let mut arguments = vec![
            "linux".to_owned(),
            format!("--seed={}", plan.seed),
            format!("--detail={}", self.batch),
            format!("--keep={}", programs.join(",")),
        ];
        if matches!(self.stage, Stage::Facts(_)) {
            arguments.push("--facts".to_owned());
        }
        arguments
    }

    /// A further round: the Linux side's answer to [`State::arguments`].
    ///
    /// # Errors
    ///
    /// [`Broken`].
    pub fn next_round(
        self,
        plan: Plan,
        machine: &mut dyn Side,
        input: &mut dyn BufRead,
    ) -> Result<Verdict, Broken> {
        let mut lines = Lines(input);
        let header = lines.header(plan.seed, Asked::Detail(self.batch))?;
        let rules = Rules::for_linux(header.linux.0, header.linux.1);
        let all: Vec<Op> = batch(plan.seed, self.batch, rules).collect();
        let has_facts = matches!(self.stage, Stage::Facts(_));
        let mut answers = Vec::new();
        for (number, kept) in (0..).zip(self.programs()) {
            let theirs = lines.program(number)?;
            let ours = run_all(machine, &kept.of(&all), has_facts)?;
            answers.push((theirs, ours));
        }
        lines.end()?;
        let verdicts: Vec<Option<usize>> = answers
            .iter()
            .map(|(theirs, ours)| first_difference(theirs, ours))
            .collect();
        let unsteady = Broken::Unsteady { batch: self.batch };
        let stage = match self.stage {
            Stage::Whole => {
                let place = verdicts.first().copied().flatten().ok_or(unsteady)?;
                shrinking(Shrinker::new(Kept::first(place + 1)))
            }
            Stage::Shrinking(mut shrinker) => {
                shrinker.take(&verdicts);
                shrinking(shrinker)
            }
            Stage::Facts(kept) => {
                let place = verdicts.first().copied().flatten().ok_or(unsteady)?;
                let (theirs, ours) = answers.swap_remove(0);
                let report = Report {
                    seed: plan.seed,
                    batch: self.batch,
                    ops: kept.of(&all),
                    place,
                    linux: theirs,
                    machine: ours,
                };
                return Ok(Verdict::Diverged(Box::new(report)));
            }
        };
        Ok(Verdict::Need(Self { stage, ..self }))
    }

    /// The whole state as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let (major, minor) = self.linux;
        let stage = match &self.stage {
            Stage::Whole => "whole".to_owned(),
            Stage::Shrinking(shrinker) => format!("shrinking {}", shrinker.encode()),
            Stage::Facts(kept) => format!("facts {}", kept.encode()),
        };
        format!("{major} {minor} {} {stage}\n", self.batch)
    }

    /// From that text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut words = text.trim_end().splitn(5, ' ');
        let linux = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let batch = words.next()?.parse().ok()?;
        let stage = match (words.next()?, words.next()) {
            ("whole", None) => Stage::Whole,
            ("shrinking", Some(shrinker)) => Stage::Shrinking(Shrinker::decode(shrinker)?),
            ("facts", Some(kept)) => Stage::Facts(Kept::decode(kept).ok()?),
            _ => return None,
        };
        Some(Self {
            linux,
            batch,
            stage,
        })
    }
}

fn shrinking(shrinker: Shrinker) -> Stage {
    if shrinker.is_done() {
        Stage::Facts(shrinker.kept().clone())
    } else {
        Stage::Shrinking(shrinker)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, State, Verdict, first_round};
    use crate::fake::{Fake, FakeSide, Fault};
    use crate::kept::Kept;
    use crate::linux_side::{Share, details, stream};
    use crate::op::Op;
    use crate::report::Report;

    const PLAN: Plan = Plan {
        seed: 4,
        steps: 20_000,
    };

    /// Compares a right fake, in Linux's place, with a wrong one, as the driver does; each round with the state as text.
    fn compare(fault: Fault) -> (Verdict, u32) {
        let mut stream_bytes = Vec::new();
        let mut linux = Fake::new(Fault::None);
        stream(
            &mut linux,
            PLAN.seed,
            PLAN.steps,
            Share::ALL,
            &mut stream_bytes,
        )
        .unwrap();
        let mut machine = FakeSide(fault);
        let mut verdict = first_round(PLAN, &mut machine, &mut &stream_bytes[..]).unwrap();
        let mut rounds = 0;
        while let Verdict::Need(state) = verdict {
            let state = State::decode(&state.encode()).unwrap();
            let answer = answer(&state.arguments(PLAN));
            verdict = state
                .next_round(PLAN, &mut machine, &mut &answer[..])
                .unwrap();
            rounds += 1;
            assert!(rounds < 100);
        }
        (verdict, rounds)
    }

    /// What the Linux side prints for these arguments.
    fn answer(arguments: &[String]) -> Vec<u8> {
        let value = |name: &str| {
            let value = arguments
                .iter()
                .find_map(|argument| argument.strip_prefix(name));
            value.unwrap().to_owned()
        };
        assert_eq!(arguments[0], "linux");
        let seed = value("--seed=").parse().unwrap();
        let number = value("--detail=").parse().unwrap();
        let keep = value("--keep=");
        let programs: Vec<Kept> = keep
            .split(',')
            .map(|kept| Kept::decode(kept).unwrap())
            .collect();
        let has_facts = arguments.contains(&"--facts".to_owned());
        let mut out = Vec::new();
        let mut linux = Fake::new(Fault::None);
        details(&mut linux, seed, number, &programs, has_facts, &mut out).unwrap();
        out
    }

    fn report(fault: Fault) -> Report {
        match compare(fault) {
            (Verdict::Diverged(report), rounds) => {
                assert!(rounds < 40, "{fault:?} took {rounds} rounds");
                *report
            }
            (verdict, _) => panic!("{fault:?}: {verdict:?}"),
        }
    }

    #[test]
    fn equal_sides_agree() {
        let (verdict, rounds) = compare(Fault::None);
        assert!(
            matches!(verdict, Verdict::Agreed { steps: 22_400 }),
            "{verdict:?}"
        );
        assert_eq!(rounds, 0);
    }

    #[test]
    fn a_dropped_key_shrinks_to_a_few_steps() {
        let report = report(Fault::DropsKey);
        assert!(report.ops.len() <= 10, "{report}");
        let protects = |op: &Op| {
            matches!(
                op,
                Op::Mprotect { .. } | Op::Handled { .. } | Op::Bare { .. }
            )
        };
        assert!(report.ops.iter().any(protects), "{report}");
        assert_eq!(report.place, report.ops.len() - 1, "{report}");
    }

    #[test]
    fn a_leaked_key_shrinks_to_a_few_steps() {
        let report = report(Fault::LeaksKeys);
        assert!(report.ops.len() <= 6, "{report}");
    }

    #[test]
    fn a_wrong_death_is_seen() {
        let report = report(Fault::WrongDeath);
        assert!(
            report.ops.iter().any(|op| matches!(op, Op::Die { .. })),
            "{report}"
        );
        assert!(report.to_string().contains("killed by signal"), "{report}");
    }

    #[test]
    fn a_stream_with_a_gap_is_refused() {
        let mut bytes = Vec::new();
        let mut linux = Fake::new(Fault::None);
        stream(&mut linux, PLAN.seed, PLAN.steps, Share::ALL, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for gap in 0..lines.len() {
            let mut left = lines.clone();
            left.remove(gap);
            let mut machine = FakeSide(Fault::None);
            let input = left.join("\n");
            let result = first_round(PLAN, &mut machine, &mut input.as_bytes());
            assert!(result.is_err(), "without {:?}", lines[gap]);
        }
    }

    #[test]
    fn nonsense_is_no_state() {
        for text in [
            "",
            "6 12",
            "6 12 0 else",
            "6 12 0 facts",
            "6 12 0 shrinking x",
            "a b c whole",
        ] {
            assert_eq!(State::decode(text), None, "{text}");
        }
    }
}
