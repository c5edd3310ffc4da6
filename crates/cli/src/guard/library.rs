//! The audit library as a file without a name, which the loader finds by its descriptor.
//!
//! It is part of this program, so that one file is all that has to be installed. A file in memory (`memfd_create(2)`) holds
//! it, sealed, so that nobody changes it before the loader has mapped it. The variable [`VARIABLE`] names another file, for
//! tests.
#![allow(unsafe_code, reason = "memfd_create(2), fcntl(2)")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

/// Names a file that is taken instead.
const VARIABLE: &str = "PKEYS_GUARD_LIBRARY";

/// The library, as it was built with this program; empty where it could not be built.
const BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libpkeys_guard.so"));

/// Descriptors below this are left to the program, which may expect the lowest ones to be free.
const FROM: i32 = 200;

/// An open audit library.
#[derive(Debug)]
pub(super) struct Library {
    file: OwnedFd,
}

impl Library {
    /// Opens it.
    pub(super) fn open() -> Result<Self, String> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            let path = PathBuf::from(path);
            let bytes =
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            return Self::hold(&bytes);
        }
        if BUILT_IN.is_empty() {
            return Err("this program was built without the audit library".to_owned());
        }
        Self::hold(BUILT_IN)
    }

    fn hold(bytes: &[u8]) -> Result<Self, String> {
        let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
        let flags = libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC;
        // SAFETY: a string that ends with a zero.
        let low = unsafe { libc::memfd_create(c"libpkeys_guard.so".as_ptr(), flags) };
        if low < 0 {
            return Err(failed("memfd_create"));
        }
        // SAFETY: a new descriptor of nobody else's.
        let mut file = unsafe { File::from_raw_fd(low) };
        file.write_all(bytes)
            .map_err(|error| format!("the audit library's file: {error}"))?;
        let seals =
            libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
        // SAFETY: takes numbers.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(failed("the audit library's seals"));
        }
        // Without close-on-exec: the program that is executed has to find it.
        // SAFETY: takes numbers.
        let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, FROM) };
        if high < 0 {
            return Err(failed("the audit library's descriptor"));
        }
        Ok(Self {
            // SAFETY: a new descriptor of nobody else's.
            file: unsafe { OwnedFd::from_raw_fd(high) },
        })
    }

    /// Where the loader finds it; for children of the program by way of the program, whose process this one becomes.
    pub(super) fn path(&self, is_for_children: bool) -> String {
        let descriptor = self.file.as_raw_fd();
        if is_for_children {
            format!("/proc/{}/fd/{descriptor}", std::process::id())
        } else {
            format!("/proc/self/fd/{descriptor}")
        }
    }
}
