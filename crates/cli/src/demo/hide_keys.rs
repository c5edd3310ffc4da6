//! Hiding the keys from a process of one's own, so that the library falls back on `mprotect(2)` there.
//!
//! A filter on system calls answers `pkey_alloc(2)` with EPERM, as container profiles did for years. The library takes
//! that for what it is, a sandbox, and does the same work without keys: same program, same interface, same windows.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::failure::{Doing, Failure};

/// Hides the keys from this process and its children, for ever. To be called before the library is used, on the only
/// thread.
pub(crate) fn hide_keys() -> Result<(), Failure> {
    const DOING: &str = "cannot hide the keys with a seccomp(2) filter";
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    // A rule without conditions: the call is refused whatever its arguments are.
    let rules = BTreeMap::from([(libc::SYS_pkey_alloc, Vec::new())]);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64).doing(DOING)?;
    let program = BpfProgram::try_from(filter).doing(DOING)?;
    seccompiler::apply_filter(&program).doing(DOING)
}
