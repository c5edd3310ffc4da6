//! A case of the catalogue: a rule of the ABI, and a function that holds a system to it.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::system::{Ground, System};

/// What a case found.
pub type Verdict = Result<(), Mismatch>;

/// One rule, and what tries it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The topic, a dot, and the rule in short; unique.
    pub name: &'static str,
    /// The rule that is asserted, in one sentence.
    pub rule: &'static str,
    /// Where the rule comes from: manual page, kernel file and function, selftest.
    pub source: &'static str,
    /// The first version of Linux that has the rule, where not all since 5.10 have it.
    pub since: Option<(u32, u32)>,
    /// What the case cannot do without.
    pub needs: &'static [Need],
    /// Tries it.
    pub run: fn(&mut dyn System) -> Verdict,
}

impl Case {
    /// A case that every version has and that needs nothing.
    pub(crate) const fn new(
        name: &'static str,
        rule: &'static str,
        source: &'static str,
        run: fn(&mut dyn System) -> Verdict,
    ) -> Self {
        Self {
            name,
            rule,
            source,
            since: None,
            needs: &[],
            run,
        }
    }

    /// The same, for a rule that came later.
    pub(crate) const fn since(mut self, major: u32, minor: u32) -> Self {
        self.since = Some((major, minor));
        self
    }

    /// The same, for what not every system gives.
    pub(crate) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Why the case does not apply to this system, if it does not.
    pub fn skipped(&self, sys: &mut dyn System) -> Option<String> {
        if let (Some(since), Ground::Linux { major, minor }) = (self.since, sys.ground())
            && (major, minor) < since
        {
            return Some(format!("since {}.{}", since.0, since.1));
        }
        let missing = self.needs.iter().find(|need| !need.is_met(sys))?;
        Some(format!("needs {missing}"))
    }
}

/// What a case cannot do without, and what a system may lack without being wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A page of 2 MiB from `MAP_HUGETLB`.
    Hugetlb,
    /// `memfd_create(2)`.
    Memfd,
    /// `pipe2(2)`, with `read(2)` and `write(2)`.
    Pipe,
    /// `mseal(2)`: a kernel of 64 bits may be built without.
    Mseal,
    /// XRSTOR: a kernel may keep the state of programs by FXSAVE alone.
    Xrstor,
}

impl Need {
    fn is_met(self, sys: &mut dyn System) -> bool {
        use crate::calls;
        match self {
            Self::Hugetlb => {
                let start = sys.arena().start;
                calls::mmap_hugetlb(sys, start, 0) >= 0 && {
                    // A reservation is no page: it is touched, so that the case finds one.
                    let is_there = sys.write(start, 1).is_ok();
                    calls::munmap(sys, start, calls::HUGE) == 0 && is_there
                }
            }
            Self::Memfd => close_again(sys, |sys| calls::memfd(sys)),
            Self::Pipe => calls::pipe(sys)
                .is_ok_and(|ends| ends.into_iter().all(|end| calls::close(sys, end) == 0)),
            // No such system call, or a bad flag.
            Self::Mseal => calls::mseal(sys, 0, 0, 1) == -i64::from(libc::EINVAL),
            // CPUID.OSXSAVE; the software machine has the instruction.
            Self::Xrstor => {
                sys.ground() == Ground::Machine || std::arch::is_x86_feature_detected!("xsave")
            }
        }
    }
}

fn close_again(sys: &mut dyn System, open: impl Fn(&mut dyn System) -> i64) -> bool {
    u64::try_from(open(sys)).is_ok_and(|fd| crate::calls::close(sys, fd) == 0)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hugetlb => "a free page of 2 MiB (hugetlb)",
            Self::Memfd => "memfd_create",
            Self::Pipe => "pipes",
            Self::Mseal => "mseal",
            Self::Xrstor => "XRSTOR (CR4.OSXSAVE)",
        })
    }
}

/// What was expected, and what was found in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// What was looked at.
    pub what: String,
    /// What the rule says.
    pub expected: String,
    /// What the system did.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            expected,
            found,
        } = self;
        write!(f, "{what}: expected {expected}, found {found}")
    }
}

impl core::error::Error for Mismatch {}
