//! From thousands of steps to a few: which smaller programs to try next.
//!
//! Trying is dear where Linux runs in a guest, which has to boot for it; running many programs in one go is not. So the
//! shrinker asks in rounds. Each round offers candidates, all at once, and takes a verdict on each: the place of the
//! first step on which the sides differ, or none. What is behind that step goes for nothing in any case.
//!
//! First only the last steps are kept, as few as still differ. Then chunks are left out, one candidate a chunk; of those
//! that can go, as many as possible together; then smaller chunks, until no single step can go.

use crate::kept::Kept;

/// Candidates in a round, at most.
const MOST: usize = 24;

/// What is being tried.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// The last 1, 2, 4, ... steps.
    Tail,
    /// Without one chunk of so many steps, from the chunk of this number on.
    Chunks { size: usize, from: usize },
    /// Without the first, the first two, ... of these chunks.
    Together { size: usize, chunks: Vec<usize> },
    /// Nothing more can go.
    Done,
}

/// A program that differs, on its way to a small one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrinker {
    kept: Kept,
    phase: Phase,
    /// Whether something went since chunks of this size were first tried.
    has_shrunk: bool,
}

impl Shrinker {
    /// Begins with steps that differ at their end.
    #[must_use]
    pub fn new(kept: Kept) -> Self {
        let phase = if kept.0.len() < 2 {
            Phase::Done
        } else {
            Phase::Tail
        };
        Self {
            kept,
            phase,
            has_shrunk: false,
        }
    }

    /// The smallest program so far that differs.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether nothing is left to be tried.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// What to try.
    #[must_use]
    pub fn candidates(&self) -> Vec<Kept> {
        let len = self.kept.0.len();
        match &self.phase {
            Phase::Tail => {
                let sizes = (0..)
                    .map(|power| 1_usize << power)
                    .take_while(|size| *size < len);
                sizes
                    .map(|size| Kept(self.kept.0[len - size..].to_vec()))
                    .collect()
            }
            Phase::Chunks { size, from } => {
                let chunks = (*from..len.div_ceil(*size)).take(MOST);
                chunks.map(|chunk| self.without(*size, &[chunk])).collect()
            }
            Phase::Together { size, chunks } => (2..=chunks.len())
                .map(|count| self.without(*size, &chunks[..count]))
                .collect(),
            Phase::Done => Vec::new(),
        }
    }

    /// Takes a verdict on each candidate: the place in it of the first step that differs.
    pub fn take(&mut self, verdicts: &[Option<usize>]) {
        let candidates = self.candidates();
        let cut = |index: usize| {
            let place = verdicts.get(index).copied().flatten()?;
            let mut kept = candidates.get(index)?.clone();
            kept.0.truncate(place + 1);
            Some(kept)
        };
        match self.phase.clone() {
            Phase::Tail => {
                // The smallest first.
                if let Some(kept) = (0..candidates.len()).find_map(cut) {
                    self.kept = kept;
                }
                let size = (self.kept.0.len() / 8).max(1);
                self.begin(size);
            }
            Phase::Chunks { size, from } => {
                let can_go: Vec<usize> = (0..candidates.len())
                    .filter(|index| cut(*index).is_some())
                    .map(|index| from + index)
                    .collect();
                match can_go[..] {
                    [] => self.go_on(size, from + candidates.len()),
                    [chunk] => {
                        self.shrink(cut(chunk - from));
                        self.go_on(size, from + candidates.len() - 1);
                    }
                    _ => {
                        self.phase = Phase::Together {
                            size,
                            chunks: can_go,
                        }
                    }
                }
            }
            Phase::Together { size, chunks } => {
                let most = (0..candidates.len()).rev().find_map(cut);
                // That one of them can go is known, if not all of the rest.
                let one = || self.without(size, &chunks[..1]);
                let next = most.unwrap_or_else(one);
                self.shrink(Some(next));
                self.begin(size.min(self.kept.0.len()).max(1));
            }
            Phase::Done => {}
        }
        // The step that differs has to stay.
        if self.kept.0.len() < 2 {
            self.phase = Phase::Done;
        }
    }

    fn shrink(&mut self, kept: Option<Kept>) {
        if let Some(kept) = kept {
            self.kept = kept;
            self.has_shrunk = true;
        }
    }

    fn begin(&mut self, size: usize) {
        self.has_shrunk = false;
        self.phase = Phase::Chunks { size, from: 0 };
    }

    /// The next chunks of this size, or smaller ones.
    fn go_on(&mut self, size: usize, from: usize) {
        if from < self.kept.0.len().div_ceil(size) {
            self.phase = Phase::Chunks { size, from };
        } else if self.has_shrunk {
            self.begin(size);
        } else if size > 1 {
            self.begin(size / 2);
        } else {
            self.phase = Phase::Done;
        }
    }

    fn without(&self, size: usize, chunks: &[usize]) -> Kept {
        let kept = self.kept.0.iter().enumerate();
        let rest = kept.filter(|(index, _)| !chunks.contains(&(index / size)));
        Kept(rest.map(|(_, place)| *place).collect())
    }

    /// The whole state as one line of text.
    #[must_use]
    pub fn encode(&self) -> String {
        let phase = match &self.phase {
            Phase::Tail => "tail".to_owned(),
            Phase::Chunks { size, from } => format!("chunks,{size},{from}"),
            Phase::Together { size, chunks } => {
                let chunks: Vec<String> = chunks.iter().map(usize::to_string).collect();
                format!("together,{size},{}", chunks.join("+"))
            }
            Phase::Done => "done".to_owned(),
        };
        format!("{} {phase} {}", self.kept.encode(), self.has_shrunk)
    }

    /// From that line.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let [kept, phase, has_shrunk] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let parts: Vec<&str> = phase.split(',').collect();
        let size = |text: &str| text.parse::<usize>().ok().filter(|size| *size > 0);
        let phase = match parts[..] {
            ["tail"] => Phase::Tail,
            ["done"] => Phase::Done,
            ["chunks", nr, from] => Phase::Chunks {
                size: size(nr)?,
                from: from.parse().ok()?,
            },
            ["together", nr, chunks] => Phase::Together {
                size: size(nr)?,
                chunks: chunks
                    .split('+')
                    .map(|chunk| chunk.parse().ok())
                    .collect::<Option<_>>()?,
            },
            _ => return None,
        };
        Some(Self {
            kept: Kept::decode(kept).ok()?,
            phase,
            has_shrunk: has_shrunk.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Shrinker;
    use crate::kept::Kept;

    /// Shrinks a program that differs, at its last needed step, if it has all of `needed` in order; gives what is left
    /// and the number of rounds.
    fn shrink(len: u32, needed: &[u32]) -> (Vec<u32>, usize) {
        let differs = |kept: &Kept| -> Option<usize> {
            let has_all = needed.iter().all(|place| kept.0.contains(place));
            let last = needed.last()?;
            has_all.then(|| kept.0.iter().position(|place| place == last))?
        };
        let last = *needed.last().unwrap();
        assert!(last < len);
        let mut shrinker = Shrinker::new(Kept::first(last as usize + 1));
        let mut rounds = 0;
        while !shrinker.is_done() {
            let candidates = shrinker.candidates();
            assert!(!candidates.is_empty() && candidates.len() <= 24);
            let verdicts: Vec<_> = candidates.iter().map(differs).collect();
            assert_eq!(Shrinker::decode(&shrinker.encode()), Some(shrinker.clone()));
            shrinker.take(&verdicts);
            assert!(differs(shrinker.kept()).is_some(), "{shrinker:?}");
            rounds += 1;
            assert!(rounds < 200, "{shrinker:?}");
        }
        (shrinker.kept().0.clone(), rounds)
    }

    #[test]
    fn what_is_needed_is_left_and_nothing_else() {
        let cases: [&[u32]; 7] = [
            &[0],
            &[3199],
            &[0, 3199],
            &[1600, 1601, 1602],
            &[3190, 3195, 3199],
            &[5, 700, 1500, 2200, 3000],
            &[
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
                24, 25,
            ],
        ];
        for needed in cases {
            let (left, rounds) = shrink(3200, needed);
            assert_eq!(left, needed);
            assert!(rounds < 60, "{needed:?} took {rounds} rounds");
        }
    }

    #[test]
    fn nonsense_is_no_shrinker() {
        for text in [
            "",
            "1-2 tail",
            "x tail true",
            "1 chunks,0,0 true",
            "1 done maybe",
        ] {
            assert_eq!(Shrinker::decode(text), None, "{text}");
        }
    }
}
