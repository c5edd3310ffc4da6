//! Signals by number, sets of them, and what each does when nobody says otherwise.
//!
//! Source: `signal(7)`; Linux `include/linux/signal.h` (`sig_kernel_ignore`, `sig_kernel_stop`, `SYNCHRONOUS_MASK`).

use core::fmt;

use crate::abi::signal as number;

/// A signal: a number from 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signo(u8);

/// What a signal does to a process that has no handler for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAction {
    /// Nothing.
    Ignore,
    /// The process stops.
    Stop,
    /// The process ends.
    End,
}

impl Signo {
    /// How many there are.
    pub const COUNT: usize = 64;

    /// `SIGKILL`.
    pub const KILL: Self = Self(9);
    /// `SIGSEGV`.
    pub const SEGV: Self = Self(11);
    /// `SIGBUS`.
    pub const BUS: Self = Self(7);
    /// `SIGFPE`.
    pub const FPE: Self = Self(8);
    /// `SIGILL`.
    pub const ILL: Self = Self(4);
    /// `SIGTRAP`.
    pub const TRAP: Self = Self(5);
    /// `SIGPIPE`.
    pub const PIPE: Self = Self(13);
    /// `SIGCHLD`.
    pub const CHLD: Self = Self(17);
    /// `SIGCONT`.
    pub const CONT: Self = Self(18);
    /// `SIGSTOP`.
    pub const STOP: Self = Self(19);

    /// The signal of this number; `None` for 0, and for what is no signal.
    #[must_use]
    pub fn new(signo: i32) -> Option<Self> {
        match u8::try_from(signo) {
            Ok(small @ 1..=64) => Some(Self(small)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Its place in a table of all signals.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Whether no handler, mask or other action can be had for it.
    #[must_use]
    pub const fn is_unstoppable(self) -> bool {
        self.0 == Self::KILL.0 || self.0 == Self::STOP.0
    }

    /// Whether each sending counts: the others are pending once or not at all.
    #[must_use]
    pub const fn is_queued(self) -> bool {
        self.number() >= number::SIGRTMIN
    }

    /// What it does by default.
    #[must_use]
    pub const fn default_action(self) -> DefaultAction {
        match self.number() {
            number::SIGCHLD | number::SIGCONT | number::SIGURG | number::SIGWINCH => {
                DefaultAction::Ignore
            }
            number::SIGSTOP | number::SIGTSTP | number::SIGTTIN | number::SIGTTOU => {
                DefaultAction::Stop
            }
            _ => DefaultAction::End,
        }
    }
}

impl fmt::Display for Signo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.number() {
            number::SIGTRAP => "SIGTRAP",
            number::SIGBUS => "SIGBUS",
            number::SIGKILL => "SIGKILL",
            number::SIGUSR1 => "SIGUSR1",
            number::SIGSEGV => "SIGSEGV",
            number::SIGUSR2 => "SIGUSR2",
            number::SIGPIPE => "SIGPIPE",
            number::SIGTERM => "SIGTERM",
            number::SIGCHLD => "SIGCHLD",
            number::SIGCONT => "SIGCONT",
            number::SIGSTOP => "SIGSTOP",
            other => return write!(f, "signal {other}"),
        };
        f.pad(name)
    }
}

/// A set of signals, as `sigset_t`: bit *n* - 1 is signal *n*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);

    /// `SIGKILL` and `SIGSTOP`, which no mask holds.
    pub const UNSTOPPABLE: Self = Self::of(Signo::KILL).or(Self::of(Signo::STOP));

    /// Those that an instruction raises, which are delivered before others: `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGTRAP`,
    /// `SIGFPE`, `SIGSYS`.
    pub const SYNCHRONOUS: Self = Self(1 << 10 | 1 << 6 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 30);

    /// Those that stop a process by default.
    pub const STOPS: Self = Self(1 << 18 | 1 << 19 | 1 << 20 | 1 << 21);

    /// The set of one signal.
    #[must_use]
    pub const fn of(signo: Signo) -> Self {
        Self(1 << signo.index())
    }

    /// Signals of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Signals of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Signals of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// All signals that are not in it.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(!self.0)
    }

    /// What a mask may hold of it.
    #[must_use]
    pub const fn blockable(self) -> Self {
        self.without(Self::UNSTOPPABLE)
    }

    /// Whether a signal is in it.
    #[must_use]
    pub const fn contains(self, signo: Signo) -> bool {
        self.0 & Self::of(signo).0 != 0
    }

    /// Whether there is none in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{DefaultAction, SigSet, Signo};

    #[test]
    fn numbers_from_1_to_64_are_signals() {
        for signo in (-200..200).chain([i32::MIN, i32::MAX]) {
            let found = Signo::new(signo);
            assert_eq!(found.is_some(), (1..=64).contains(&signo), "{signo}");
            assert!(found.is_none_or(|found| found.number() == signo));
        }
    }

    #[test]
    fn synchronous_signals_and_stops_are_those_of_linux() {
        let set = |numbers: &[i32]| {
            let signals = numbers.iter().filter_map(|signo| Signo::new(*signo));
            signals.fold(SigSet::EMPTY, |set, signo| set.or(SigSet::of(signo)))
        };
        assert_eq!(SigSet::SYNCHRONOUS, set(&[4, 5, 7, 8, 11, 31]));
        assert_eq!(SigSet::STOPS, set(&[19, 20, 21, 22]));
        assert_eq!(SigSet::UNSTOPPABLE, set(&[9, 19]));
        for signo in (1..=64).filter_map(Signo::new) {
            let stops = signo.default_action() == DefaultAction::Stop;
            assert_eq!(SigSet::STOPS.contains(signo), stops, "{signo}");
            assert_eq!(SigSet::UNSTOPPABLE.contains(signo), signo.is_unstoppable());
        }
    }
}
