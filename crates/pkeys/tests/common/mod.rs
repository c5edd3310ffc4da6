//! What the tests of data in domains share: domains that also work without keys, cases in a process of their own, and
//! the count of what is left behind.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pkeys::{Domain, Key, Rights, WithoutKeys};

/// A domain closed to all access; where there are no keys, by `mprotect(2)`.
pub(crate) fn domain(name: &str) -> Domain {
    domain_closed_to(name, Rights::NoAccess)
}

/// A domain with these closed rights.
pub(crate) fn domain_closed_to(name: &str, closed: Rights) -> Domain {
    Domain::builder(name)
        .closed(closed)
        .without_keys(WithoutKeys::Mprotect)
        .create()
        .unwrap()
}

/// Set in a process that [`alone`] started.
const ALONE: &str = "PKEYS_TEST_ALONE";

/// Runs the body of the test with that name in a process of its own, whose address space and keys no other test
/// changes. `prepare` may set limits.
pub(crate) fn alone(test: &str, prepare: impl FnOnce(&mut Command), body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .stdin(Stdio::null());
    prepare(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Limits the address space, for `prepare` of [`alone`].
pub(crate) fn limited(mebibytes: u64) -> impl FnOnce(&mut Command) {
    let limit = libc::rlimit {
        rlim_cur: mebibytes << 20,
        rlim_max: mebibytes << 20,
    };
    let set = move || {
        // SAFETY: reads a value of this closure's own.
        match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    move |command| {
        // SAFETY: setrlimit(2) may be called between fork and exec, and allocates nothing.
        unsafe { command.pre_exec(set) };
    }
}

/// Whether this thread may not read the byte at an address: `write(2)` from there answers EFAULT, where a load would be
/// a SIGSEGV.
pub(crate) fn is_closed(addr: usize) -> bool {
    let (_reader, writer) = io::pipe().unwrap();
    let byte = core::ptr::with_exposed_provenance(addr);
    // SAFETY: the kernel checks the address.
    match unsafe { libc::write(writer.as_raw_fd(), byte, 1) } {
        1 => false,
        _ => {
            assert_eq!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EFAULT)
            );
            true
        }
    }
}

/// What a process holds that could leak.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    mappings: usize,
    address_space: String,
    descriptors: usize,
    free_keys: usize,
}

impl Holdings {
    pub(crate) fn count() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find(|line| line.starts_with("VmSize"));
        Self {
            mappings: std::fs::read_to_string("/proc/self/maps")
                .unwrap()
                .lines()
                .count(),
            address_space: size.unwrap().to_owned(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            free_keys: free_keys(),
        }
    }
}

/// Runs `body` a few times, so that allocators and pools have what they keep, then often, and compares. To be called
/// in a process of its own.
pub(crate) fn leaves_nothing_behind(mut body: impl FnMut()) {
    for _ in 0..3 {
        body();
        Holdings::count();
    }
    let before = Holdings::count();
    for _ in 0..20 {
        body();
    }
    assert_eq!(Holdings::count(), before);
}

/// How many keys the process could still allocate.
pub(crate) fn free_keys() -> usize {
    let keys: Vec<Key> = core::iter::from_fn(|| Key::alloc(Rights::NoAccess).ok()).collect();
    for key in &keys {
        // SAFETY: no page was ever tagged with it, and this thread has it closed.
        unsafe { key.free() }.unwrap();
    }
    keys.len()
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Walk(u64);

impl Walk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}
