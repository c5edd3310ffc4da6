//! The command line.
//!
//! Words are separated by blanks; each is `name=value`, but for `list`. What is not understood is refused with its name, and with the
//! name that was probably meant: a kernel that ignores `pks_stary=silent` runs in another mode than its user thinks. There
//! may be 4095 bytes of it: QEMU puts the end of a much longer one over what else it hands to the kernel.
//!
//! | word | what it asks for |
//! |---|---|
//! | `cpus=N` | so many CPUs, or the kernel ends |
//! | `test=NAME` | this case; all of them where neither this nor `exec` is given |
//! | `list` | the names of the cases, a line `case NAME` each, and nothing else |
//! | `pks=MODE`, `pks_stray=MODE` | what is done about accesses to shared pages, and about all other stray ones |
//! | `pks_pardon=instruction`, `pks_pardon=context` | for how long an access is let through |
//! | `init_pkru=HEX` | what PKRU starts with in programs and signal handlers; one that closes key 0 is refused |
//! | `exec=PATH` | runs a program in place of the cases; it is the first module that the boot loader brought (`-initrd`) |
//! | `arg=WORD`, again and again | the program's arguments behind its path, in order |
//! | `env=NAME=VALUE`, again and again | its environment |
//! | `log=2` | what the kernel itself says goes to the second serial line; the first one has the program's words alone |
//!
//! `PATH`, `WORD` and `NAME=VALUE` are [percent-encoded](decode), so that they may hold anything but zero bytes.
//!
//! With `exec` the last line that the kernel says is `pkeys: the program exited with status N` or `pkeys: the program was
//! killed by signal N`, and the machine ends with the status of success only for `exited with status 0`.

use core::fmt;

use pkeys_kernel::keys::InitPkru;
use pkeys_kernel::pks::{BadSetting, Settings};

/// The largest number of CPUs, which a set of CPUs is made for.
pub const MAX_CPUS: u32 = 64;

const NAMES: [&str; 11] = [
    "cpus",
    "test",
    LIST,
    "pks",
    "pks_stray",
    "pks_pardon",
    "init_pkru",
    "exec",
    "arg",
    "env",
    "log",
];

/// The one that has no value.
const LIST: &str = "list";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// How many CPUs there have to be.
    pub cpus: u32,
    /// Which case to run; all of them, if none is named.
    pub test: Option<&'a str>,
    /// Say the names of all cases instead of running any.
    pub list: bool,
    /// `pks=`: the knob for shared pages. `pks_stray=`: the one for all others. `pks_pardon=`: how long a pardon is.
    pub settings: Settings,
    /// `init_pkru=`: what PKRU starts with.
    pub init_pkru: InitPkru,
    /// `exec=`: the path of the program to run, encoded.
    pub exec: Option<&'a str>,
    /// `log=2`: the kernel speaks on the second serial line.
    pub is_log_apart: bool,
    /// The whole line, in which the program's arguments stand.
    line: &'a str,
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
    /// The command line is longer than what is looked at.
    TooLong {
        /// The most bytes that it may have.
        max: usize,
    },
}

impl fmt::Display for BadOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word, nearest } => {
                let equals = if *nearest == LIST { "" } else { "=" };
                write!(
                    f,
                    "unknown option {word:?} (did you mean {nearest}{equals}?)"
                )
            }
            Self::Value {
                name,
                value,
                expected,
            } => write!(f, "{name}={value}: expected {expected}"),
            Self::NotText => f.write_str("the command line is not UTF-8"),
            Self::TooLong { max } => {
                write!(f, "the command line is longer than {max} bytes")
            }
        }
    }
}

impl core::error::Error for BadOption<'_> {}

impl<'a> Options<'a> {
    /// What holds without a command line.
    pub const DEFAULT: Self = Self {
        cpus: 1,
        test: None,
        list: false,
        settings: Settings::DEFAULT,
        init_pkru: InitPkru::DEFAULT,
        exec: None,
        is_log_apart: false,
        line: "",
    };

    /// Reads a command line. Of an option that is given twice the last counts.
    ///
    /// # Errors
    ///
    /// [`BadOption`] for the first word that is not understood.
    pub fn parse(line: &'a str) -> Result<Self, BadOption<'a>> {
        let mut options = Self {
            line,
            ..Self::DEFAULT
        };
        for word in line.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            options.take(word, name, value)?;
        }
        if let (Some(value), Some(_)) = (options.test, options.exec) {
            return Err(BadOption::Value {
                name: "test",
                value,
                expected: "no case beside a program",
            });
        }
        Ok(options)
    }

    /// The program's arguments behind its path, encoded.
    pub fn args(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.all("arg=")
    }

    /// The program's environment, encoded.
    pub fn envs(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.all("env=")
    }

    fn all(&self, prefix: &'static str) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let words = self.line.split_ascii_whitespace();
        words.filter_map(move |word| word.strip_prefix(prefix))
    }

    fn take(&mut self, word: &'a str, name: &'a str, value: &'a str) -> Result<(), BadOption<'a>> {
        let bad = |expected| BadOption::Value {
            name,
            value,
            expected,
        };
        match name {
            "cpus" => {
                let cpus = value.parse().ok();
                self.cpus = cpus
                    .filter(|cpus| (1..=MAX_CPUS).contains(cpus))
                    .ok_or(bad("a number from 1 to 64"))?;
            }
            "test" if value.is_empty() => return Err(bad("the name of a case")),
            "test" => self.test = Some(value),
            "exec" | "arg" | "env"
                if decode(value).any(|byte| byte.is_none_or(|byte| byte == 0)) =>
            {
                return Err(bad(
                    "text with % and two hexadecimal digits in place of other bytes",
                ));
            }
            "exec" if value.is_empty() => return Err(bad("the path of a program")),
            "exec" => self.exec = Some(value),
            "arg" | "env" => {}
            "log" => {
                let is_known = ["1", "2"].contains(&value);
                self.is_log_apart = is_known.then_some(value == "2").ok_or(bad("1 or 2"))?;
            }
            LIST if word == LIST => self.list = true,
            LIST => return Err(bad("no value")),
            "pks" | "pks_stray" | "pks_pardon" => {
                if let Some(settings) = self.settings.with_option(word) {
                    self.settings =
                        settings.map_err(|BadSetting { expected, .. }| bad(expected))?;
                } else {
                    return Err(bad("a value"));
                }
            }
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
fn parse_register(value: &str) -> Option<InitPkru> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    InitPkru::new(u32::from_str_radix(digits, 16).ok()?).ok()
}

/// The bytes of a value, in which `%` and two hexadecimal digits stand for a byte; `None` in place of a `%` that does not.
pub fn decode(value: &str) -> impl Iterator<Item = Option<u8>> + Clone {
    let mut bytes = value.bytes();
    core::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let decoded = digit().and_then(|high| Some(high * 16 + digit()?));
        Some(decoded.and_then(|byte| u8::try_from(byte).ok()))
    })
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
    use pkeys_core::{Knobs, Mode, Pardon};

    use super::*;

    #[test]
    fn every_option_is_read() {
        let line = " cpus=4 test=keys list pks=silent  pks_stray=off pks_pardon=context init_pkru=0x55555550 log=1\n";
        assert_eq!(
            Options::parse(line),
            Ok(Options {
                cpus: 4,
                test: Some("keys"),
                list: true,
                settings: Settings {
                    knobs: Knobs {
                        stray: Mode::Off,
                        shared: Mode::Silent
                    },
                    pardon: Pardon::Context,
                },
                init_pkru: InitPkru::new(0x5555_5550).unwrap(),
                exec: None,
                is_log_apart: false,
                line,
            })
        );
        assert_eq!(Options::parse(""), Ok(Options::DEFAULT));
    }

    #[test]
    fn a_program_comes_with_arguments_and_environment() {
        let line = "exec=/bin/a%20b arg=one env=A=%C3%A9 arg= arg=%25 log=2 cpus=2";
        let Ok(options) = Options::parse(line) else {
            panic!("{line} is refused");
        };
        let text = |value: &str| {
            let bytes: Option<Vec<u8>> = decode(value).collect();
            String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        assert_eq!(options.exec.map(text).as_deref(), Some("/bin/a b"));
        assert_eq!(
            options.args().map(text).collect::<Vec<_>>(),
            ["one", "", "%"]
        );
        assert_eq!(options.envs().map(text).collect::<Vec<_>>(), ["A=\u{e9}"]);
        assert!(options.is_log_apart);
        assert_eq!(options.cpus, 2);
        assert_eq!(
            Options::parse("cpus=1").map(|options| options.args().count()),
            Ok(0)
        );
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_was_meant() {
        for (word, nearest) in [
            ("pks_stary=silent", "pks_stray"),
            ("cpu=3", "cpus"),
            ("tests=x", "test"),
            ("args=x", "arg"),
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
        for (word, says) in [
            ("cpu=3", "unknown option \"cpu=3\" (did you mean cpus=?)"),
            ("lst", "unknown option \"lst\" (did you mean list?)"),
        ] {
            let refused = Options::parse(word).map_err(|bad| bad.to_string());
            assert_eq!(refused, Err(says.to_string()));
        }
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
            "list=",
            "list=all",
            "pks=Strict",
            "pks_stray=",
            "pks",
            "pks_pardon=thread",
            "init_pkru=",
            "init_pkru=0x1",
            "init_pkru=3",
            "init_pkru=0x155555554",
            "init_pkru=55555556",
            "exec=",
            "exec=a%",
            "exec=a%4",
            "arg=%zz",
            "arg=%00",
            "env=%1",
            "log=3",
            "log=",
            "exec=a test=b",
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
