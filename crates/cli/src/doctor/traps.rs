//! What changed for protection keys between kernels, and what that means for the running one.
//!
//! Verdicts go by the version number alone: distributions carry fixes back to older numbers, so a warning says "may". The
//! exception is `mseal(2)`, which was tried.

use core::fmt;

use serde::Serialize;

/// A kernel's version: three numbers of its release, as 6.12.37.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(u32, u32, u32);

impl Release {
    /// The numbers at the beginning of a release's name; those that are not there are 0.
    pub(crate) fn parse(release: &str) -> Option<Self> {
        let numbers = release
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
        let major = numbers.next().filter(|&major| major > 0)?;
        Some(Self(
            major,
            numbers.next().unwrap_or(0),
            numbers.next().unwrap_or(0),
        ))
    }

    fn is_in(self, series: (u32, u32)) -> bool {
        (self.0, self.1) == series
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What something means for the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All is well.
    Good,
    /// Something useful is not there.
    Absent,
    /// Something may go wrong.
    Beware,
    /// The kernel's version cannot be read.
    Unknown,
}

/// One change, and the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trap {
    /// The version that brought the change.
    pub(crate) since: &'static str,
    /// What it is about.
    pub(crate) topic: &'static str,
    pub(crate) verdict: Verdict,
    /// The verdict in words.
    pub(crate) text: &'static str,
}

/// Judges a kernel. `has_mseal` is what a trial of the call gave.
pub(crate) fn judge(release: Option<Release>, is_amd: bool, has_mseal: bool) -> Vec<Trap> {
    let Some(release) = release else {
        return vec![trap(
            "?",
            "version",
            Verdict::Unknown,
            "cannot be read from the release's name",
        )];
    };
    vec![
        calls(release),
        fork(release),
        saved_state(release),
        ptrace(release),
        mseal(has_mseal),
        signal_stack(release),
        amd_signal(release, is_amd),
    ]
}

fn trap(since: &'static str, topic: &'static str, verdict: Verdict, text: &'static str) -> Trap {
    Trap {
        since,
        topic,
        verdict,
        text,
    }
}

fn calls(release: Release) -> Trap {
    let (verdict, text) = match release >= Release(4, 9, 0) {
        true => (Verdict::Good, "since 4.9, if the kernel is built with them"),
        false => (Verdict::Absent, "there are none before 4.9"),
    };
    trap("4.9", "key system calls", verdict, text)
}

/// The allocation map was not copied before (commit a31e184e4f69).
fn fork(release: Release) -> Trap {
    let (verdict, text) = match release >= Release(5, 0, 0) {
        true => (Verdict::Good, "since 5.0 a child keeps its parent's keys"),
        false => (Verdict::Beware, "before 5.0 a child may lose its keys"),
    };
    trap("5.0", "fork(2)", verdict, text)
}

/// Fixed in 5.13 and carried back to two series: V8 refuses keys on all others.
fn saved_state(release: Release) -> Trap {
    let is_fixed = release >= Release(5, 13, 0)
        || release.is_in((5, 4)) && release >= Release(5, 4, 182)
        || release.is_in((5, 10)) && release >= Release(5, 10, 103);
    let (verdict, text) = match is_fixed {
        true => (Verdict::Good, "since 5.13 PKRU is restored as it should be"),
        false => (Verdict::Beware, "before 5.13 PKRU may be restored wrongly"),
    };
    trap("5.13", "saved state", verdict, text)
}

/// Broken when PKRU left the XSAVE buffer in 5.14; mended at the end of 2022.
fn ptrace(release: Release) -> Trap {
    let is_broken = release >= Release(5, 14, 0) && release < Release(6, 2, 0);
    let (verdict, text) = match is_broken {
        true => (
            Verdict::Beware,
            "5.14 to 6.1: a debugger's PKRU may be lost",
        ),
        false => (Verdict::Good, "a debugger's change of PKRU holds"),
    };
    trap("6.2", "ptrace(2)", verdict, text)
}

fn mseal(has_mseal: bool) -> Trap {
    let (verdict, text) = match has_mseal {
        true => (Verdict::Good, "since 6.10: it can pin the key of a range"),
        false => (Verdict::Absent, "before 6.10 no range's key can be pinned"),
    };
    trap("6.10", "mseal(2)", verdict, text)
}

/// Commits 84ee6e8d195e, 70044df250d0, d10b554919d4.
fn signal_stack(release: Release) -> Trap {
    let (verdict, text) = match release >= Release(6, 12, 0) {
        true => (Verdict::Good, "since 6.12 it may have a key"),
        false => (Verdict::Absent, "before 6.12 one with a closed key kills"),
    };
    trap("6.12", "signal stack", verdict, text)
}

/// Commit ae6012d72fa6 is in 6.13; 6.12.37 has one that builds on it.
fn amd_signal(release: Release, is_amd: bool) -> Trap {
    let is_fixed = release >= Release(6, 13, 0) || release >= Release(6, 12, 37);
    let (verdict, text) = match (is_amd, is_fixed) {
        (false, _) => (Verdict::Good, "6.12.0 to 6.12.36 on AMD: not this CPU"),
        (true, true) => (Verdict::Good, "PKRU survives a signal"),
        (true, false) if release < Release(6, 12, 0) => {
            (Verdict::Good, "6.12.0 to 6.12.36: not this kernel")
        }
        (true, false) => (Verdict::Beware, "before 6.12.37 a signal may open all keys"),
    };
    trap("6.13", "AMD and signals", verdict, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(release: &str, is_amd: bool) -> Vec<Verdict> {
        let traps = judge(Release::parse(release), is_amd, false);
        traps.iter().map(|trap| trap.verdict).collect()
    }

    #[test]
    fn releases_as_distributions_write_them() {
        assert_eq!(
            Release::parse("6.1.0-56-cloud-amd64"),
            Some(Release(6, 1, 0))
        );
        assert_eq!(Release::parse("5.10.103"), Some(Release(5, 10, 103)));
        assert_eq!(Release::parse("6.18-rc1"), Some(Release(6, 18, 0)));
        assert_eq!(Release::parse("7"), Some(Release(7, 0, 0)));
        assert_eq!(Release::parse(""), None);
        assert_eq!(Release::parse("next"), None);
    }

    #[test]
    fn each_trap_opens_and_closes_where_the_kernel_changed() {
        use Verdict::{Absent, Beware, Good};
        assert_eq!(
            verdicts("4.8.0", false),
            [Absent, Beware, Beware, Good, Absent, Absent, Good]
        );
        assert_eq!(
            verdicts("4.19.1", false),
            [Good, Beware, Beware, Good, Absent, Absent, Good]
        );
        assert_eq!(
            verdicts("5.4.182", false),
            [Good, Good, Good, Good, Absent, Absent, Good]
        );
        assert_eq!(
            verdicts("5.11.200", false),
            [Good, Good, Beware, Good, Absent, Absent, Good]
        );
        assert_eq!(
            verdicts("6.1.0", false),
            [Good, Good, Good, Beware, Absent, Absent, Good]
        );
        assert_eq!(
            verdicts("6.12.36", true),
            [Good, Good, Good, Good, Absent, Good, Beware]
        );
        assert_eq!(
            verdicts("6.12.37", true),
            [Good, Good, Good, Good, Absent, Good, Good]
        );
        assert_eq!(
            verdicts("6.11.9", true),
            [Good, Good, Good, Good, Absent, Absent, Good]
        );
        assert_eq!(verdicts("nonsense", true), [Verdict::Unknown]);
    }
}
