//! The two knobs: what is done about a stray access, and about one to a shared page.
//!
//! They can be turned while the system runs, and a fault handler reads them at any time, so both are in one atomic word.
//! Contexts that were pardoned under an old mode keep that until they end; a new mode holds for the next fault.

use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};

use pkeys_core::{Excerpt, Knobs, Mode, PageState};

/// The knobs of a system.
#[derive(Debug)]
pub struct Modes(AtomicU16);

impl Modes {
    /// Knobs to begin with.
    #[must_use]
    pub const fn new(knobs: Knobs) -> Self {
        Self(AtomicU16::new(word(knobs)))
    }

    /// The knobs now.
    #[must_use]
    pub fn get(&self) -> Knobs {
        let [stray, shared] = self.0.load(Ordering::Relaxed).to_le_bytes();
        Knobs {
            // Only modes are stored.
            stray: Mode::from_u8(stray).unwrap_or(Mode::Strict),
            shared: Mode::from_u8(shared).unwrap_or(Mode::Strict),
        }
    }

    /// Turns both.
    pub fn set(&self, knobs: Knobs) {
        self.0.store(word(knobs), Ordering::Relaxed);
    }

    /// The mode for pages of a state.
    #[must_use]
    pub fn mode_for(&self, page: PageState) -> Mode {
        self.get().mode_for(page)
    }
}

const fn word(knobs: Knobs) -> u16 {
    u16::from_le_bytes([knobs.stray.as_u8(), knobs.shared.as_u8()])
}

/// Reads `pks=MODE` (shared pages) or `pks_stray=MODE` into knobs. `None` for an option that is neither.
#[must_use]
pub fn parse_option(option: &str, knobs: Knobs) -> Option<Result<Knobs, BadMode>> {
    let (name, value) = option.split_once('=')?;
    let set = |mode| match name {
        "pks" => Knobs {
            shared: mode,
            ..knobs
        },
        _ => Knobs {
            stray: mode,
            ..knobs
        },
    };
    match name {
        "pks" | "pks_stray" => Some(Mode::parse(value).map(set).ok_or_else(|| BadMode {
            value: Excerpt::new(value),
        })),
        _ => None,
    }
}

/// A mode that there is not.
#[derive(Debug, Clone, Copy)]
pub struct BadMode {
    /// What was given.
    pub value: Excerpt,
}

impl fmt::Display for BadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a mode: strict, relaxed, silent or off",
            self.value.as_str()
        )
    }
}

impl core::error::Error for BadMode {}
