//! Limits of resources: `prlimit(2)`.
//!
//! A process can be told its limits, and they go to its children. Those that mean something here can be changed: how many
//! descriptors there may be; how large a program wants its stacks, by which the C library goes; and how large a core file
//! may be, of which there is none. A call that would change another one gives `ENOSYS`, as nobody would keep to it.
//!
//! Source: Linux `kernel/sys.c` (`do_prlimit`, `prlimit64`), `include/asm-generic/resource.h`.

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::abi::task::{
    RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_CORE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC,
    RLIMIT_RTPRIO, RLIMIT_STACK,
};
use crate::abi::words::{bytes_of, words_of};
use crate::kernel::{Config, Here, Kernel};
use crate::platform::Platform;
use crate::task::process::Process;

/// The size of `struct rlimit`.
const RLIMIT_LEN: usize = 16;

/// The stack that Linux gives a program unless told otherwise.
const STACK: u64 = 8 << 20;

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// What counts.
    soft: u64,
    /// What the other may be set to.
    hard: u64,
}

impl Limit {
    const NONE: Self = Self::of(RLIM_INFINITY);

    const fn of(both: u64) -> Self {
        Self {
            soft: both,
            hard: both,
        }
    }

    fn from_bytes(bytes: &[u8; RLIMIT_LEN]) -> Self {
        let [soft, hard] = words_of(bytes);
        Self { soft, hard }
    }

    fn bytes(self) -> [u8; RLIMIT_LEN] {
        bytes_of(&[self.soft, self.hard])
    }
}

/// The limits of a process that can be changed, and the others.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    files: Limit,
    stack: Limit,
    core: Limit,
    nr_threads: u64,
    files_max: u64,
}

impl Limits {
    /// Those of a first process.
    pub(crate) const fn new(config: &Config) -> Self {
        let files_max = config.max_files as u64;
        Self {
            files: Limit::of(files_max),
            stack: Limit {
                soft: STACK,
                hard: RLIM_INFINITY,
            },
            core: Limit {
                soft: 0,
                hard: RLIM_INFINITY,
            },
            nr_threads: config.max_threads as u64,
            files_max,
        }
    }

    /// How many descriptors there may be.
    pub(crate) fn nr_files(&self) -> usize {
        usize::try_from(self.files.soft).unwrap_or(usize::MAX)
    }

    fn get(&self, resource: u32) -> Limit {
        match resource {
            RLIMIT_NOFILE => self.files,
            RLIMIT_STACK => self.stack,
            RLIMIT_CORE => self.core,
            RLIMIT_NPROC => Limit::of(self.nr_threads),
            // Nobody has a better priority than others.
            RLIMIT_NICE | RLIMIT_RTPRIO => Limit::of(0),
            _ => Limit::NONE,
        }
    }

    fn set(&mut self, resource: u32, new: Limit, is_root: bool) -> Result<(), Errno> {
        if new.soft > new.hard {
            return Err(Errno::Invalid);
        }
        if resource == RLIMIT_NOFILE && new.hard > self.files_max {
            return Err(Errno::Perm);
        }
        let old = self.get(resource);
        if new.hard > old.hard && !is_root {
            return Err(Errno::Perm);
        }
        match resource {
            RLIMIT_NOFILE => self.files = new,
            RLIMIT_STACK => self.stack = new,
            RLIMIT_CORE => self.core = new,
            _ if new == old => {}
            _ => return Err(Errno::NoSystemCall),
        }
        Ok(())
    }
}

impl<P: Platform> Kernel<P> {
    /// `int prlimit(pid_t pid, int resource, const struct rlimit *new_limit, struct rlimit *old_limit);`
    pub(crate) fn prlimit(
        &self,
        here: &Here<'_, P>,
        pid: i32,
        resource: u32,
        new_at: u64,
        old_at: u64,
    ) -> Result<u64, Errno> {
        let new = match new_at {
            0 => None,
            new_at => Some(Limit::from_bytes(&here.read(new_at)?)),
        };
        let process = self.process_or_own(here, pid)?;
        if resource >= RLIM_NLIMITS {
            return Err(Errno::Invalid);
        }
        let old = {
            let mut inherited = process.inherited.lock();
            let old = inherited.limits.get(resource);
            if let Some(new) = new {
                let is_root = self.config.uid == 0;
                inherited.limits.set(resource, new, is_root)?;
            }
            old
        };
        if old_at != 0 {
            here.write(old_at, &old.bytes())?;
        }
        Ok(0)
    }

    /// The process of a thread, or the caller's for 0.
    fn process_or_own(&self, here: &Here<'_, P>, tid: i32) -> Result<Arc<Process<P>>, Errno> {
        if tid == 0 {
            return Ok(Arc::clone(here.running.thread.process()));
        }
        let tasks = self.tasks.lock();
        let entry = tasks.threads.get(&tid).ok_or(Errno::NoProcess)?;
        Ok(Arc::clone(entry.thread.process()))
    }
}
