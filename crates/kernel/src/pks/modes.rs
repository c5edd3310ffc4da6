//! The settings: what is done about a stray access, about one to a shared page, and for how long a pardon is.
//!
//! They can be turned while the system runs, and a fault handler reads them at any time, so all are in one atomic word.
//! Contexts that were pardoned under an old mode keep that until they end; a new mode holds for the next fault.
//!
//! A mode that is off also takes part in the closed rights: see [`super::Pks::closed`].

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use pkeys_core::{Excerpt, Knobs, Mode, PageState, Pardon, UnknownName};

/// What the boot options set and a running system may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The two knobs.
    pub knobs: Knobs,
    /// For how long an access is let through.
    pub pardon: Pardon,
}

impl Settings {
    /// Stray accesses die, accesses to shared pages are told of once a site, and a pardon is for one instruction.
    pub const DEFAULT: Self = Self {
        knobs: Knobs::DEFAULT,
        pardon: Pardon::Instruction,
    };

    /// Reads a boot option: `pks=MODE` for shared pages, `pks_stray=MODE` for the others, `pks_pardon=instruction` or
    /// `pks_pardon=context`. `None` for an option of another name.
    #[must_use]
    pub fn with_option(self, option: &str) -> Option<Result<Self, BadSetting>> {
        let (name, value) = option.split_once('=')?;
        let bad = |UnknownName {
                       value, expected, ..
                   }| BadSetting { value, expected };
        let Self { knobs, pardon } = self;
        Some(match name {
            "pks" => value.parse().map_err(bad).map(|shared| Self {
                knobs: Knobs { shared, ..knobs },
                pardon,
            }),
            "pks_stray" => value.parse().map_err(bad).map(|stray| Self {
                knobs: Knobs { stray, ..knobs },
                pardon,
            }),
            "pks_pardon" => value
                .parse()
                .map_err(bad)
                .map(|pardon| Self { knobs, pardon }),
            _ => return None,
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The settings of a system.
#[derive(Debug)]
pub struct Modes(AtomicU32);

impl Modes {
    /// Settings to begin with.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self(AtomicU32::new(word(settings)))
    }

    /// The settings now.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Settings {
        settings(self.0.load(Ordering::Relaxed))
    }

    /// Changes all of them; gives what they were.
    pub(super) fn swap(&self, new: Settings) -> Settings {
        settings(self.0.swap(word(new), Ordering::Relaxed))
    }

    /// The mode for pages of a state.
    #[must_use]
    pub fn mode_for(&self, page: PageState) -> Mode {
        self.get().knobs.mode_for(page)
    }
}

fn settings(word: u32) -> Settings {
    let [stray, shared, pardon, _] = word.to_le_bytes();
    // Only settings are stored.
    let mode = |number| Mode::from_u8(number).unwrap_or(Mode::Strict);
    Settings {
        knobs: Knobs {
            stray: mode(stray),
            shared: mode(shared),
        },
        pardon: Pardon::from_u8(pardon).unwrap_or(Pardon::Instruction),
    }
}

const fn word(Settings { knobs, pardon }: Settings) -> u32 {
    u32::from_le_bytes([knobs.stray.as_u8(), knobs.shared.as_u8(), pardon.as_u8(), 0])
}

/// A boot option with a value that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadSetting {
    /// What was given.
    pub value: Excerpt,
    /// What there is.
    pub expected: &'static str,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not one of {}", self.value, self.expected)
    }
}

impl core::error::Error for BadSetting {}
