//! Who and where a thread is: users and groups, CPUs, names.
//!
//! There is one user and one group, which the kernel was made with; nobody becomes somebody else.
//!
//! Source: Linux `kernel/sys.c`, `kernel/sched/syscalls.c` (`sched_getaffinity`), `include/uapi/linux/prctl.h`.

use crate::abi::Errno;
use crate::abi::task::{PR_GET_NAME, PR_GET_PDEATHSIG, PR_SET_NAME, PR_SET_PDEATHSIG};
use crate::hardware::Cpu;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::signal::Signo;
use crate::task::thread::NAME_LEN;

/// The size of a set of CPUs: one word, as there are 64 at most.
const CPU_SET_LEN: u64 = 8;

/// The length of each field of `struct utsname`.
const FIELD_LEN: usize = 65;

/// What `uname(2)` tells. Programs go by the release: it is the one whose rules are followed here, and the rest says whose
/// kernel it is.
const NAMES: [&str; 6] = [
    "Linux",
    "pkeys",
    "6.12.0-pkeys",
    concat!("pkeys-kernel ", env!("CARGO_PKG_VERSION")),
    "x86_64",
    "(none)",
];

impl<P: Platform> Kernel<P> {
    /// `int uname(struct utsname *buf);`
    pub(crate) fn uname(&self, here: &Here<'_, P>, at: u64) -> Result<u64, Errno> {
        let mut fields = [[0; FIELD_LEN]; NAMES.len()];
        for (field, name) in fields.iter_mut().zip(NAMES) {
            // Each is shorter than its field, and a zero follows.
            for (place, byte) in field.iter_mut().zip(name.bytes()) {
                *place = byte;
            }
        }
        here.write(at, fields.as_flattened())?;
        Ok(0)
    }

    /// `int sched_getaffinity(pid_t pid, size_t cpusetsize, cpu_set_t *mask);`
    pub(crate) fn sched_getaffinity(
        &self,
        here: &Here<'_, P>,
        tid: i32,
        len: u64,
        at: u64,
    ) -> Result<u64, Errno> {
        let nr_cpus = self.platform.nr_cpus().clamp(1, 64);
        if len.saturating_mul(8) < nr_cpus.into() || !len.is_multiple_of(CPU_SET_LEN) {
            return Err(Errno::Invalid);
        }
        if tid != 0 && !self.tasks.lock().threads.contains_key(&tid) {
            return Err(Errno::NoProcess);
        }
        let cpus = u64::MAX >> (64 - nr_cpus);
        here.write(at, &cpus.to_le_bytes())?;
        Ok(CPU_SET_LEN)
    }

    /// `int getcpu(unsigned int *cpu, unsigned int *node, void *unused);`
    pub(crate) fn getcpu(&self, here: &Here<'_, P>, cpu: u64, node: u64) -> Result<u64, Errno> {
        let words = [(cpu, here.processor.cpu().id()), (node, 0)];
        let mut result = Ok(0);
        for (at, word) in words {
            // As in Linux, one that cannot be written does not keep the other from being.
            if at != 0 && here.write(at, &word.to_le_bytes()).is_err() {
                result = Err(Errno::Fault);
            }
        }
        result
    }

    /// `int prctl(int op, unsigned long arg2, ...);`: the name of a thread, and the signal that a process gets when its parent
    /// ends. Linux sends that when the parent's thread ends that made it; here it is the parent's process that counts.
    pub(crate) fn prctl(&self, here: &Here<'_, P>, op: i32, arg: u64) -> Result<u64, Errno> {
        let thread = &here.running.thread;
        match op {
            PR_SET_NAME => {
                let mut name = [0; NAME_LEN];
                let read = here.read_string(arg, NAME_LEN - 1, Errno::TooBig);
                // What is too long is cut.
                let bytes = match read {
                    Err(Errno::TooBig) => here.read::<{ NAME_LEN - 1 }>(arg)?.into(),
                    other => other?,
                };
                for (place, byte) in name.iter_mut().zip(bytes) {
                    *place = byte;
                }
                *thread.name.lock() = name;
            }
            PR_GET_NAME => {
                let name = *thread.name.lock();
                here.write(arg, &name)?;
            }
            PR_SET_PDEATHSIG => {
                let signo = i32::try_from(arg).map_err(|_| Errno::Invalid)?;
                if signo != 0 && Signo::new(signo).is_none() {
                    return Err(Errno::Invalid);
                }
                self.with_tasks(|tasks| {
                    if let Some(entry) = tasks.processes.get_mut(&here.pid()) {
                        entry.death_signal = signo;
                    }
                });
            }
            PR_GET_PDEATHSIG => {
                let tasks = self.tasks.lock();
                let own = tasks.processes.get(&here.pid());
                let signo = own.map_or(0, |entry| entry.death_signal);
                drop(tasks);
                here.write(arg, &signo.to_le_bytes())?;
            }
            _ => return Err(Errno::Invalid),
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIELD_LEN, NAMES};

    #[test]
    fn names_fit_their_fields() {
        assert!(NAMES.iter().all(|name| name.len() < FIELD_LEN));
    }
}
