//! Whether this machine has protection keys that a program can use, and which layer withholds them.
//!
//! The question is asked here on its own, without the library that is under test: its answer decides whether the tests
//! need a guest. Four things have been seen to stand in the way, and `pkey_alloc` alone does not tell them apart: its
//! error may be ENOSPC or EINVAL where the CPU has no keys, depending on the kernel.

use core::fmt;
use guest_init::cpuinfo::has_flag;
use std::{fs, io};

/// Which layer has no usable keys, and how that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// CPUID does not offer them: an old CPU, or a virtual one that hides them.
    Cpu,
    /// The CPU offers them and the kernel has not switched them on.
    Kernel,
    /// They are switched on, and the system call is refused with this error number.
    Sandbox {
        /// What `pkey_alloc` answered.
        errno: i32,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu: CPUID does not offer them (no `pku` in /proc/cpuinfo)"),
            Self::Kernel => f.write_str(
                "kernel: it has not switched them on (`pku` but no `ospke` in /proc/cpuinfo)",
            ),
            Self::Sandbox { errno } => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(f, "sandbox: pkey_alloc is refused: {error}")
            }
        }
    }
}

/// Asks the machine.
pub(crate) fn probe() -> Result<(), Missing> {
    // A /proc that cannot be read offers nothing.
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    decide(&cpuinfo, trial_alloc)
}

/// The decision, apart from the machine.
fn decide(cpuinfo: &str, trial: impl FnOnce() -> Result<(), i32>) -> Result<(), Missing> {
    if !has_flag(cpuinfo, "pku") {
        Err(Missing::Cpu)
    } else if !has_flag(cpuinfo, "ospke") {
        Err(Missing::Kernel)
    } else {
        trial().map_err(|errno| Missing::Sandbox { errno })
    }
}

/// `pkey_alloc(0, 0)` and `pkey_free`; the error is the error number.
fn trial_alloc() -> Result<(), i32> {
    // SAFETY: the call takes two numbers and no pointer; the key that it may give is bound to no page.
    let pkey = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
    if pkey < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: the key was allocated above, no page carries it, and nobody else knows its number.
    unsafe { libc::syscall(libc::SYS_pkey_free, pkey) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Missing, decide, probe};

    #[test]
    fn each_layer_is_named() {
        let refused = || Err(libc::EPERM);
        let cases = [
            ("flags : fpu", Err(Missing::Cpu)),
            ("flags : fpu pku", Err(Missing::Kernel)),
            (
                "flags : pku ospke",
                Err(Missing::Sandbox { errno: libc::EPERM }),
            ),
        ];
        for (cpuinfo, expected) in cases {
            assert_eq!(decide(cpuinfo, refused), expected, "{cpuinfo}");
        }
        assert_eq!(decide("flags : pku ospke", || Ok(())), Ok(()));
    }

    #[test]
    fn the_line_starts_with_the_layer() {
        for (missing, word) in [
            (Missing::Cpu, "cpu: "),
            (Missing::Kernel, "kernel: "),
            (
                Missing::Sandbox {
                    errno: libc::ENOSYS,
                },
                "sandbox: ",
            ),
        ] {
            assert!(missing.to_string().starts_with(word), "{missing}");
        }
    }

    #[test]
    fn the_probe_gives_back_the_key_it_tried() {
        let first = probe();
        // Fifteen keys at the most: a leak of one a probe would show by the sixteenth.
        for _ in 0..16 {
            assert_eq!(probe(), first);
        }
    }
}
