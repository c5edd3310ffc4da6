//! Whether this process can use protection keys, and if not, which layer is in the way.
//!
//! Four questions, in this order: does the CPU have keys (CPUID.PKU), did the kernel turn them on (OSPKE), has the saved
//! state a place for PKRU (XSAVE component 9), and does `pkey_alloc(2)` answer. Each has been seen to fail alone: old
//! container profiles answer EPERM, kernels without keys ENOSYS, EINVAL or ENOSPC by version.

use core::fmt;
use std::io;
use std::sync::OnceLock;

use pkeys_arch::{Missing, Pku};
use pkeys_core::{AccessBits, XsaveLayout};

use crate::sys;

/// What a process with usable keys knows about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Leave to execute RDPKRU and WRPKRU.
    pub(crate) pku: Pku,
    /// Where PKRU lies in a signal frame.
    pub(crate) layout: XsaveLayout,
}

/// The layer that keeps this process from using protection keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layer {
    /// The CPU, or the virtual machine it is seen through.
    Cpu,
    /// The kernel: built without keys, started with `nopku`, or too old.
    Kernel,
    /// A filter on system calls between the program and the kernel (seccomp, a container's profile).
    Sandbox,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Kernel => "kernel",
            Self::Sandbox => "sandbox",
        })
    }
}

/// How the missing layer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// CPUID says so.
    Cpuid(Missing),
    /// A trial `pkey_alloc(2)` failed with this `errno`.
    PkeyAlloc {
        /// The error number.
        errno: i32,
    },
}

/// Protection keys cannot be used in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// The layer that is in the way.
    pub layer: Layer,
    /// How that was found.
    pub evidence: Evidence,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = self.layer;
        match self.evidence {
            Evidence::Cpuid(missing) => write!(f, "no protection keys ({layer}): {missing}"),
            Evidence::PkeyAlloc { errno } => {
                let error = io::Error::from_raw_os_error(errno);
                write!(
                    f,
                    "no protection keys ({layer}): pkey_alloc(2) failed: {error}"
                )
            }
        }
    }
}

impl core::error::Error for Unsupported {}

/// Whether this process can use protection keys. The answer is found once and kept.
///
/// A process that has handed out all of its 15 keys still supports them.
///
/// # Errors
///
/// [`Unsupported`] names the layer that is in the way and how that was found.
pub fn support() -> Result<(), Unsupported> {
    keys().map(drop)
}

/// As [`support`], with what is needed to use the keys.
pub(crate) fn keys() -> Result<Keys, Unsupported> {
    static ANSWER: OnceLock<Result<Keys, Unsupported>> = OnceLock::new();
    *ANSWER.get_or_init(probe)
}

fn probe() -> Result<Keys, Unsupported> {
    let (pku, layout) = Pku::probe().map_err(|missing| Unsupported {
        layer: match missing {
            Missing::OperatingSystem => Layer::Kernel,
            _ => Layer::Cpu,
        },
        evidence: Evidence::Cpuid(missing),
    })?;
    match trial() {
        Ok(()) => Ok(Keys { pku, layout }),
        Err(errno) => judge(errno).map(|()| Keys { pku, layout }),
    }
}

/// Allocates a key and gives it back at once.
fn trial() -> Result<(), i32> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
    // The initial value of a fresh thread, so that the trial leaves no trace in the register.
    let pkey = sys::pkey_alloc(AccessBits::DISABLE_ACCESS).map_err(errno)?;
    #[allow(unsafe_code, reason = "gives back the key of the line above")]
    // SAFETY: the key was allocated a moment ago; no page carries it and its rights are closed (1).
    unsafe { sys::pkey_free(pkey) }.map_err(errno)
}

/// What a failed trial means where CPUID shows keys that are turned on.
fn judge(errno: i32) -> Result<(), Unsupported> {
    let layer = match errno {
        // Keys are there, others hold them all (`pkey_alloc(2)`): not a lack of support.
        libc::ENOSPC => return Ok(()),
        libc::EPERM | libc::EACCES | libc::ENOSYS => Layer::Sandbox,
        _ => Layer::Kernel,
    };
    Err(Unsupported {
        layer,
        evidence: Evidence::PkeyAlloc { errno },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_trial_is_laid_at_the_right_door() {
        let layer = |errno| judge(errno).map_err(|unsupported| unsupported.layer);
        assert_eq!(layer(libc::ENOSPC), Ok(()));
        // With OSPKE set the kernel has the call; who answers ENOSYS then is a filter.
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            assert_eq!(layer(errno), Err(Layer::Sandbox), "errno {errno}");
        }
        assert_eq!(layer(libc::EINVAL), Err(Layer::Kernel));
    }

    #[test]
    fn an_error_names_layer_and_evidence() {
        let text = judge(libc::EPERM).unwrap_err().to_string();
        assert!(text.contains("(sandbox)"), "{text}");
        assert!(text.contains("pkey_alloc(2)"), "{text}");
        assert!(text.contains("Operation not permitted"), "{text}");
    }
}
