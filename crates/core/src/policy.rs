//! What is done about a stray access: report it, count it, stop it or let it through.
//!
//! There are two knobs. `stray` is for pages that nobody but the holder of a grant may touch; `shared` is for pages
//! that were marked globally unprotected, because their address was handed to contexts that cannot be given a grant.
//! Each knob has one of four [`Mode`]s, and [`decide`] turns the mode into an [`Action`]. How an access is let
//! through, for one instruction or until its context ends, is a third choice, [`Pardon`].
//!
//! The kernel's page-fault handler and the library's signal handler call the same function, so that a mode means the
//! same on both sides. How a report is made, and what a site is, is theirs.

use core::fmt;
use core::str::FromStr;

use crate::excerpt::Excerpt;

/// What is done about a stray access.
///
/// As a number, strict is 0: memory that was never written holds the safest mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Mode {
    /// Report and stop.
    #[default]
    Strict = 0,
    /// Report once a site, and pardon.
    Relaxed = 1,
    /// Pardon and count.
    Silent = 2,
    /// Nothing is protected. An access that faults nevertheless is in a race with a change of mode, and is let
    /// through without a trace.
    Off = 3,
}

impl Mode {
    /// Every mode, from the strictest down.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Relaxed, Self::Silent, Self::Off];

    /// The mode with that number, as [`Mode::as_u8`] gives it.
    #[must_use]
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Strict),
            1 => Some(Self::Relaxed),
            2 => Some(Self::Silent),
            3 => Some(Self::Off),
            _ => None,
        }
    }

    /// The number, for atomics and for C.
    #[must_use]
    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The mode of that name, in lower case and without blanks around it; `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// The name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
            Self::Silent => "silent",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::parse(name).ok_or_else(|| UnknownName {
            value: Excerpt::new(name),
            expected: "strict, relaxed, silent or off",
        })
    }
}

/// For how long a pardoned access is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Pardon {
    /// For the one instruction: every stray access is seen, at the price of a second trap.
    #[default]
    Instruction = 0,
    /// Until the context ends: cheap, but what follows in the same context goes unseen.
    Context = 1,
}

impl Pardon {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Instruction, Self::Context];

    /// The choice with that number, as [`Pardon::as_u8`] gives it.
    #[must_use]
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Instruction),
            1 => Some(Self::Context),
            _ => None,
        }
    }

    /// The number, for atomics and for C.
    #[must_use]
    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The choice of that name, in lower case and without blanks around it; `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pardon| pardon.name() == name)
    }

    /// The name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instruction => "instruction",
            Self::Context => "context",
        }
    }
}

impl fmt::Display for Pardon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Pardon {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::parse(name).ok_or_else(|| UnknownName {
            value: Excerpt::new(name),
            expected: "instruction or context",
        })
    }
}

/// A text that names no [`Mode`], or no [`Pardon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnknownName {
    /// The text that was given, or its beginning.
    pub value: Excerpt,
    /// The names that there are.
    pub expected: &'static str,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not one of {}", self.value, self.expected)
    }
}

impl core::error::Error for UnknownName {}

/// Which of the two knobs rules a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Only who holds a grant may touch it: any other access is a stray one.
    Stray,
    /// The page is marked globally unprotected: contexts without a grant have its address by right.
    Shared,
}

/// The two knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Knobs {
    /// The mode for pages that are not shared. By default strict.
    pub stray: Mode,
    /// The mode for shared pages. By default relaxed.
    pub shared: Mode,
}

impl Knobs {
    /// Stray strict, shared relaxed.
    pub const DEFAULT: Self = Self {
        stray: Mode::Strict,
        shared: Mode::Relaxed,
    };

    /// The mode that rules pages of that state.
    #[must_use]
    #[inline]
    pub const fn mode_for(self, page: PageState) -> Mode {
        match page {
            PageState::Stray => self.stray,
            PageState::Shared => self.shared,
        }
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a faulting access ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It does not go through: the program's own handler, or death.
    Stop,
    /// It goes through.
    Pardon,
}

/// What a fault handler is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// Tell somebody.
    pub report: bool,
    /// Add one to the count of stray accesses. All of them are counted, except while the mode is off.
    pub count: bool,
    /// How the access ends.
    pub outcome: Outcome,
}

/// What is to be done about a stray access under a mode. `first_at_site` says that this place in the code was not
/// reported before; only [`Mode::Relaxed`] asks.
#[must_use]
#[inline]
pub const fn decide(mode: Mode, first_at_site: bool) -> Action {
    let (report, count, outcome) = match mode {
        Mode::Strict => (true, true, Outcome::Stop),
        Mode::Relaxed => (first_at_site, true, Outcome::Pardon),
        Mode::Silent => (false, true, Outcome::Pardon),
        Mode::Off => (false, false, Outcome::Pardon),
    };
    Action {
        report,
        count,
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    const MODES: [(Mode, u8, &str); 4] = [
        (Mode::Strict, 0, "strict"),
        (Mode::Relaxed, 1, "relaxed"),
        (Mode::Silent, 2, "silent"),
        (Mode::Off, 3, "off"),
    ];

    const PARDONS: [(Pardon, u8, &str); 2] = [
        (Pardon::Instruction, 0, "instruction"),
        (Pardon::Context, 1, "context"),
    ];

    #[test]
    fn modes_have_their_numbers_and_names() {
        assert_eq!(Mode::ALL, MODES.map(|(mode, ..)| mode));
        assert_eq!(Mode::default(), Mode::Strict);
        for (mode, number, name) in MODES {
            assert_eq!(mode.as_u8(), number);
            assert_eq!(mode.to_string(), name);
            assert_eq!(Mode::parse(name), Some(mode));
            assert_eq!(name.parse(), Ok(mode));
        }
        for number in 0..=u8::MAX {
            let expected = MODES
                .iter()
                .find(|(_, n, _)| *n == number)
                .map(|(mode, ..)| *mode);
            assert_eq!(Mode::from_u8(number), expected, "{number}");
        }
    }

    #[test]
    fn pardons_have_their_numbers_and_names() {
        assert_eq!(Pardon::ALL, PARDONS.map(|(pardon, ..)| pardon));
        assert_eq!(Pardon::default(), Pardon::Instruction);
        for (pardon, number, name) in PARDONS {
            assert_eq!(pardon.as_u8(), number);
            assert_eq!(pardon.to_string(), name);
            assert_eq!(Pardon::parse(name), Some(pardon));
            assert_eq!(name.parse(), Ok(pardon));
        }
        for number in 0..=u8::MAX {
            let expected = PARDONS
                .iter()
                .find(|(_, n, _)| *n == number)
                .map(|(p, ..)| *p);
            assert_eq!(Pardon::from_u8(number), expected, "{number}");
        }
    }

    #[test]
    fn names_are_taken_only_as_they_are() {
        for name in [
            "", " ", "Strict", "STRICT", " strict", "strict ", "stric", "0", "none",
        ] {
            assert_eq!(Mode::parse(name), None, "{name:?}");
            assert_eq!(Pardon::parse(name), None, "{name:?}");
        }
        // Nothing that differs from a name in one character, or lacks it, is that name or another.
        for (_, _, name) in MODES {
            for cut in 0..name.len() {
                let (front, back) = (&name[..cut], &name[cut + 1..]);
                assert_eq!(Mode::parse(&format!("{front}{back}")), None);
                assert_eq!(Mode::parse(&format!("{front}?{back}")), None);
            }
        }
    }

    #[test]
    fn errors_name_the_value_and_the_choices() {
        assert_eq!(
            "Lax".parse::<Mode>().unwrap_err().to_string(),
            "\"Lax\" is not one of strict, relaxed, silent or off"
        );
        assert_eq!(
            "".parse::<Pardon>().unwrap_err().to_string(),
            "\"\" is not one of instruction or context"
        );
    }

    #[test]
    fn every_decision_is_the_one_of_the_table() {
        use Outcome::{Pardon, Stop};
        // Mode, first at its site: report, count, outcome.
        let table = [
            (Mode::Strict, true, true, true, Stop),
            (Mode::Strict, false, true, true, Stop),
            (Mode::Relaxed, true, true, true, Pardon),
            (Mode::Relaxed, false, false, true, Pardon),
            (Mode::Silent, true, false, true, Pardon),
            (Mode::Silent, false, false, true, Pardon),
            (Mode::Off, true, false, false, Pardon),
            (Mode::Off, false, false, false, Pardon),
        ];
        for (mode, first_at_site, report, count, outcome) in table {
            let expected = Action {
                report,
                count,
                outcome,
            };
            assert_eq!(
                decide(mode, first_at_site),
                expected,
                "{mode} {first_at_site}"
            );
        }
    }

    #[test]
    fn each_knob_rules_its_own_pages() {
        assert_eq!(Knobs::default(), Knobs::DEFAULT);
        assert_eq!(Knobs::DEFAULT.mode_for(PageState::Stray), Mode::Strict);
        assert_eq!(Knobs::DEFAULT.mode_for(PageState::Shared), Mode::Relaxed);
        for stray in Mode::ALL {
            for shared in Mode::ALL {
                let knobs = Knobs { stray, shared };
                assert_eq!(knobs.mode_for(PageState::Stray), stray);
                assert_eq!(knobs.mode_for(PageState::Shared), shared);
            }
        }
    }
}
