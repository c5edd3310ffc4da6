//! The command line.
//!
//! Words are separated by blanks; each is `name=value`. What is not understood is refused with its name, and with the
//! name that was probably meant: a kernel that ignores `pks_stary=silent` runs in another mode than its user thinks.
//!
//! `cpus` and `test` are what the kernel acts on. The others are read and checked, and change nothing so far: every stray
//! access ends the kernel.

use core::fmt;

use pkeys_core::{AccessBits, KeyRegister, Knobs, Mode, Pkey};

/// The largest number of CPUs, which a set of CPUs is made for.
pub const MAX_CPUS: u32 = 64;

const NAMES: [&str; 5] = ["cpus", "test", "pks", "pks_stray", "init_pkru"];

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// How many CPUs there have to be.
    pub cpus: u32,
    /// Which case to run; all of them, if none is named.
    pub test: Option<&'a str>,
    /// `pks=`: the knob for shared pages. `pks_stray=`: the one for all others.
    pub knobs: Knobs,
    /// `init_pkru=`: what PKRU starts with.
    pub init_pkru: KeyRegister,
}

/// Why a command line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadOption<'a> {
    /// There is no such option.
    Unknown {
        /// The word.
        word: &'a str,
        /// The option whose name is most like it.
        nearest: &'static str,
    },
    /// The value is none that the option has.
    Value {
        /// The option.
        name: &'a str,
        /// The value.
        value: &'a str,
        /// What it takes.
        expected: &'static str,
    },
    /// The command line is not text.
    NotText,
}

impl fmt::Display for BadOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word, nearest } => {
                write!(f, "unknown option {word:?} (did you mean {nearest}=?)")
            }
            Self::Value {
                name,
                value,
                expected,
            } => write!(f, "{name}={value}: expected {expected}"),
            Self::NotText => f.write_str("the command line is not UTF-8"),
        }
    }
}

impl core::error::Error for BadOption<'_> {}

impl<'a> Options<'a> {
    /// What holds without a command line.
    pub const DEFAULT: Self = Self {
        cpus: 1,
        test: None,
        knobs: Knobs::DEFAULT,
        init_pkru: KeyRegister::LINUX_INIT,
    };

    /// Reads a command line. Of an option that is given twice the last counts.
    ///
    /// # Errors
    ///
    /// [`BadOption`] for the first word that is not understood.
    pub fn parse(line: &'a str) -> Result<Self, BadOption<'a>> {
        let mut options = Self::DEFAULT;
        for word in line.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            options.take(word, name, value)?;
        }
        Ok(options)
    }

    fn take(&mut self, word: &'a str, name: &'a str, value: &'a str) -> Result<(), BadOption<'a>> {
        let bad = |expected| BadOption::Value {
            name,
            value,
            expected,
        };
        let mode = || Mode::parse(value).ok_or(bad("strict, relaxed, silent or off"));
        match name {
            "cpus" => {
                let cpus = value.parse().ok();
                self.cpus = cpus
                    .filter(|cpus| (1..=MAX_CPUS).contains(cpus))
                    .ok_or(bad("a number from 1 to 64"))?;
            }
            "test" if value.is_empty() => return Err(bad("the name of a case")),
            "test" => self.test = Some(value),
            "pks" => self.knobs.shared = mode()?,
            "pks_stray" => self.knobs.stray = mode()?,
            "init_pkru" => {
                self.init_pkru = parse_register(value)
                    .ok_or(bad("a register in hexadecimal that leaves key 0 open"))?;
            }
            _ => {
                let nearest = nearest(name, NAMES);
                return Err(BadOption::Unknown { word, nearest });
            }
        }
        Ok(())
    }
}

/// A register in hexadecimal, with or without `0x`. One that closes key 0 would stop every program at its first
/// instruction that touches memory. (Linux takes it.)
fn parse_register(value: &str) -> Option<KeyRegister> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    let register = KeyRegister::from_bits(u32::from_str_radix(digits, 16).ok()?);
    (register.get(Pkey::DEFAULT) == AccessBits::UNRESTRICTED).then_some(register)
}

/// The one of some names that a word is most like: by the fewest letters to change, add or leave out.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> &'n str {
    names
        .into_iter()
        .min_by_key(|name| distance(word, name))
        .unwrap_or("")
}

/// How many letters there are to change, add or leave out. Of long words only the beginning counts.
fn distance(a: &str, b: &str) -> usize {
    const MAX: usize = 40;
    let a = a.as_bytes();
    let b = &b.as_bytes()[..b.len().min(MAX)];
    let mut row: [usize; MAX + 1] = core::array::from_fn(|column| column);
    for (line, &left) in a.iter().take(MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, &right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read() {
        let options =
            Options::parse(" cpus=4 test=keys pks=silent  pks_stray=off init_pkru=0x55555550\n");
        assert_eq!(
            options,
            Ok(Options {
                cpus: 4,
                test: Some("keys"),
                knobs: Knobs {
                    stray: Mode::Off,
                    shared: Mode::Silent
                },
                init_pkru: KeyRegister::from_bits(0x5555_5550),
            })
        );
        assert_eq!(Options::parse(""), Ok(Options::DEFAULT));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_was_meant() {
        for (word, nearest) in [
            ("pks_stary=silent", "pks_stray"),
            ("cpu=3", "cpus"),
            ("tests=x", "test"),
            ("", "pks"),
        ] {
            if word.is_empty() {
                continue;
            }
            assert_eq!(
                Options::parse(word),
                Err(BadOption::Unknown { word, nearest })
            );
        }
        assert_eq!(
            Options::parse("cpu=3").map_err(|bad| bad.to_string()),
            Err("unknown option \"cpu=3\" (did you mean cpus=?)".to_string())
        );
    }

    #[test]
    fn bad_values_are_refused() {
        for word in [
            "cpus=0",
            "cpus=65",
            "cpus=x",
            "cpus=",
            "cpus",
            "test",
            "test=",
            "pks=Strict",
            "pks_stray=",
            "init_pkru=",
            "init_pkru=0x1",
            "init_pkru=3",
            "init_pkru=0x155555554",
            "init_pkru=55555556",
        ] {
            let refused = matches!(Options::parse(word), Err(BadOption::Value { .. }));
            assert!(refused, "{word}");
        }
    }

    #[test]
    fn distances_are_numbers_of_letters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), expected);
        }
        distance(&"x".repeat(1000), &"y".repeat(1000));
    }
}
