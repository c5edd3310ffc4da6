//! How a program that uses this back end starts.
//!
//! It may be somebody's peer: started by [`System::fork_and_exec`](crate::System::fork_and_exec) with a socket, whose
//! commands it then follows. And it must not have rseq: the kernel writes to a thread's rseq area whenever it delivers a
//! signal or moves the thread to another CPU, with the thread's own PKRU in effect, and kills the process when key 0 is
//! closed at that moment (Linux `kernel/rseq.c`). The C library registers the area unless a tunable in the environment
//! says otherwise, so the program starts itself anew with it. The selftests of the kernel make threads by hand for the
//! same reason.
#![allow(
    unsafe_code,
    reason = "a trial of system calls, and a descriptor that was inherited"
)]

use core::fmt;
use std::ffi::OsStr;
use std::io;
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use pkeys_arch::{Missing, Pku};
use pkeys_core::XsaveLayout;

use super::slot::Slot;
use super::state::State;
use super::{LinuxSystem, asm, handler, process};
use crate::system::Ground;

/// The first argument of a program that is a peer; the second is its socket.
pub(super) const PEER_ARGUMENT: &str = "--peer-of-a-test-program";

/// The variable that the C library reads, and what shall stand in it.
const TUNABLES: &str = "GLIBC_TUNABLES";
const NO_RSEQ: &str = "glibc.pthread.rseq=0";

/// Why test programs with keys cannot run here.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unusable {
    /// CPUID lacks something.
    Cpuid(Missing),
    /// `pkey_alloc(2)` gave no key.
    PkeyAlloc {
        /// The error number.
        errno: i64,
    },
    /// The calling thread has a [`LinuxSystem`] already.
    Entered,
    /// A system call of the preparations failed.
    Io(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpuid(missing) => missing.fmt(f),
            Self::PkeyAlloc { errno } => {
                let layer = match i32::try_from(*errno) {
                    Ok(libc::ENOSYS) => "the kernel has no system call for it",
                    Ok(libc::EPERM) => "a sandbox refuses the system call",
                    _ => "the kernel refuses",
                };
                write!(f, "pkey_alloc gives no key (error {errno}): {layer}")
            }
            Self::Entered => f.write_str("this thread is a test program already"),
            Self::Io(_) => f.write_str("the preparations of a test program failed"),
        }
    }
}

impl core::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Cpuid(missing) => Some(missing),
            Self::Io(err) => Some(err),
            Self::PkeyAlloc { .. } | Self::Entered => None,
        }
    }
}

/// What `main` calls first of all, before it reads its arguments or starts a thread. In a peer it does not return; in a
/// program that has rseq it starts the program anew.
pub fn begin() {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() == Some(OsStr::new(PEER_ARGUMENT)) {
        let socket = args.next().and_then(|number| number.to_str()?.parse().ok());
        // SAFETY: the starter left the descriptor open for this purpose, and nothing else uses it.
        let socket = socket.map(|number| unsafe { UnixStream::from_raw_fd(number) });
        match (socket, LinuxSystem::enter()) {
            (Some(socket), Ok(mut system)) => process::serve(socket, &mut system),
            // Seen by the starter as an exit that it did not ask for.
            _ => std::process::exit(2),
        }
    }
    let tunables = std::env::var(TUNABLES).unwrap_or_default();
    if tunables.split(':').any(|tunable| tunable == NO_RSEQ) {
        return;
    }
    let mut all: Vec<&str> = tunables
        .split(':')
        .filter(|tunable| !tunable.is_empty())
        .collect();
    all.push(NO_RSEQ);
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    // Where that is not possible, programs that close key 0 are killed, and their cases fail.
    let _ = command.args(args).env(TUNABLES, all.join(":")).exec();
}

/// Tries whether keys can be used: CPUID first, then a key is allocated and freed.
///
/// # Errors
///
/// [`Unusable`] names the layer.
pub fn check() -> Result<(), Unusable> {
    Pku::probe().map_err(Unusable::Cpuid)?;
    // The right that a key without an owner has: the caller's register stays as it is.
    let disable_access = 1;
    // SAFETY: no memory changes (1).
    let key = unsafe {
        asm::syscall(
            libc::SYS_pkey_alloc.unsigned_abs(),
            [0, disable_access, 0, 0, 0, 0],
        )
    };
    if key < 0 {
        return Err(Unusable::PkeyAlloc { errno: -key });
    }
    // SAFETY: no memory changes (1).
    unsafe {
        asm::syscall(
            libc::SYS_pkey_free.unsigned_abs(),
            [key.unsigned_abs(), 0, 0, 0, 0, 0],
        )
    };
    Ok(())
}

impl LinuxSystem {
    /// Makes the calling thread a test program's: installs the handler and gives the thread its state.
    ///
    /// # Errors
    ///
    /// [`Unusable`] when CPUID shows no keys, or the thread is one already. Whether the kernel gives keys is not tried,
    /// as that could be seen by the program; see [`check`].
    pub fn enter() -> Result<Self, Unusable> {
        let (pku, layout) = Pku::probe().map_err(Unusable::Cpuid)?;
        handler::install().map_err(Unusable::Io)?;
        Self::on_this_thread(pku, layout, ground())
    }

    /// The same, for another thread of a process where that was done.
    pub(super) fn on_this_thread(
        pku: Pku,
        layout: XsaveLayout,
        ground: Ground,
    ) -> Result<Self, Unusable> {
        if State::is_entered() {
            return Err(Unusable::Entered);
        }
        let slot = Slot::take().map_err(Unusable::Io)?;
        let stack = slot.altstack();
        let state = State::enter(pku, layout, ground, slot);
        process::set_altstack(Some(stack));
        Ok(Self::new(state))
    }
}

/// What is underneath, by `uname(2)`: the name and the release.
#[must_use]
pub fn release() -> String {
    // SAFETY: a structure of bytes; all zeros is one.
    let mut names: libc::utsname = unsafe { core::mem::zeroed() };
    // SAFETY: fills the structure.
    unsafe { libc::uname(&raw mut names) };
    let text = |field: &[libc::c_char]| {
        let letters = field.iter().map(|letter| letter.to_le_bytes()[0]);
        String::from_utf8_lossy(
            &letters
                .take_while(|letter| *letter != 0)
                .collect::<Vec<_>>(),
        )
        .into_owned()
    };
    format!("{} {}", text(&names.sysname), text(&names.release))
}

fn ground() -> Ground {
    let (major, minor) = version(release().trim_start_matches("Linux "));
    Ground::Linux { major, minor }
}

/// The first two numbers of a release; 0 for what is none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn the_first_two_numbers_count() {
        assert_eq!(version("6.12.107+deb12-cloud-amd64\n"), (6, 12));
        assert_eq!(version("6.1.0-48-amd64"), (6, 1));
        assert_eq!(version("5.10"), (5, 10));
        assert_eq!(version("7-rc1"), (7, 0));
        assert_eq!(version(""), (0, 0));
    }
}
