//! System calls: which number is which, how arguments are taken out of registers, and how a call ends.
//!
//! The calls themselves stand with what they are about: memory and keys in [`crate::memory`] and [`crate::keys`], signals
//! in [`crate::signal`], threads in [`crate::task`], descriptors in `files`, tracing in `ptrace`, clocks and sleep in
//! `time`; futexes, other processes' memory and random bytes here. `program` has those that a program needs beside keys,
//! memory, signals and threads, to start and to print.
//!
//! # Without a lock
//!
//! `pkey_get` and `pkey_set` take no lock and touch nothing that another CPU writes but the allocation map. The running
//! thread is found in its CPU's own slot ([`crate::task::Processor`]), where its address space stands as well; the map is
//! one atomic word, read once; the register is the CPU's. What comes after every call, the question whether there is
//! anything to do before the way back, is one atomic load.
//!
//! An argument that is an `int` is the low half of its register, as in C; what the upper half holds is not looked at.

pub(crate) mod futex;
pub(crate) mod iovec;
mod program;
mod random;
pub(crate) mod remote;
pub(crate) mod uaccess;
mod wake_op;

use crate::abi::{Errno, nr};
use crate::kernel::{Here, Kernel, Outcome};
use crate::keys::get_set;
use crate::platform::Platform;
use crate::syscall::remote::RemoteArgs;
use crate::task::clone::CloneArgs;
use crate::task::table::RunState;
use crate::task::wait::{WaitFor, Waiting};
use crate::task::{ExitStatus, UserRegs};

/// Why a call gives no value now.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// It has failed.
    Error(Errno),
    /// It has to wait, and has done so much.
    Wait(WaitFor, u64),
    /// Its thread is gone.
    Gone(Outcome),
}

impl From<Errno> for CallEnd {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

impl<P: Platform> Kernel<P> {
    /// Makes the call that the registers describe; `orig_rax` has its number. `done` is what it did before it waited.
    pub(crate) fn dispatch(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let [a, b, c, d, ..] = regs.arguments();
        match regs.orig_rax {
            nr::PKEY_GET => Ok(self.pkey_get(here, int(a), b)?),
            nr::PKEY_SET => Ok(self.pkey_set(here, int(a), b, c)?),
            nr::GETPID => Ok(u64::from(here.pid().unsigned_abs())),
            nr::GETTID => Ok(u64::from(here.tid().unsigned_abs())),
            nr::SCHED_YIELD => Ok(0),
            nr::RT_SIGRETURN => Ok(self.rt_sigreturn(here, regs)),
            nr::READ => self.read(here, int(a), b, c, done),
            nr::WRITE => self.write(here, int(a), b, c, done),
            nr::OPEN => Ok(self.open(here, a, word(b))?),
            nr::LSEEK => Ok(self.lseek(here, int(a), b, word(c))?),
            nr::PREAD64 => Ok(self.pread(here, int(a), b, c, d)?),
            nr::PWRITE64 => Ok(self.pwrite(here, int(a), b, c, d)?),
            nr::FTRUNCATE => Ok(self.ftruncate(here, int(a), b)?),
            nr::MEMFD_CREATE => Ok(self.memfd_create(here, a, word(b))?),
            nr::CLOSE => Ok(self.close(here, int(a))?),
            nr::PIPE2 => Ok(self.pipe2(here, a, word(b))?),
            nr::VMSPLICE => self.vmsplice(here, int(a), b, c, word(d)),
            nr::RT_SIGACTION => Ok(self.rt_sigaction(here, int(a), b, c, d)?),
            nr::RT_SIGPROCMASK => Ok(self.rt_sigprocmask(here, int(a), b, c, d)?),
            nr::RT_SIGPENDING => Ok(self.rt_sigpending(here, a, b)?),
            nr::SIGALTSTACK => Ok(self.sigaltstack(here, regs, a, b)?),
            nr::KILL => Ok(self.kill(here, int(a), int(b))?),
            nr::TGKILL => Ok(self.tgkill(here, Some(int(a)), int(b), int(c))?),
            nr::TKILL => Ok(self.tgkill(here, None, int(a), int(b))?),
            _ => self.task_call(here, regs, done),
        }
    }

    /// The calls about threads, processes and what they do to each other.
    fn task_call(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let args = regs.arguments();
        let [a, b, c, d, e, f] = args;
        match regs.orig_rax {
            nr::CLONE => {
                let args = CloneArgs {
                    flags: a,
                    stack: b,
                    parent_tid: c,
                    child_tid: d,
                    tls: e,
                    is_extended: false,
                };
                Ok(self.clone(here, regs, args)?)
            }
            nr::FORK | nr::VFORK => Ok(self.clone(here, regs, CloneArgs::fork())?),
            nr::EXECVE => self.execve(here, regs, a, b, c),
            nr::EXIT => Err(CallEnd::Gone(self.exit_thread(here, low_byte(a)))),
            nr::EXIT_GROUP => {
                let status = ExitStatus::Exited(low_byte(a));
                Err(CallEnd::Gone(self.end_here(here, Some(status))))
            }
            nr::WAIT4 => self.wait4(here, int(a), b, word(c), d),
            nr::GETPPID => Ok(self.getppid(here)),
            nr::SET_TID_ADDRESS => Ok(self.set_tid_address(here, a)),
            nr::PTRACE => Ok(self.ptrace(here, a, int(b), c, d)?),
            nr::FUTEX => self.futex(here, args, done),
            nr @ (nr::PROCESS_VM_READV | nr::PROCESS_VM_WRITEV) => {
                let args = RemoteArgs {
                    pid: int(a),
                    local: b,
                    nr_local: c,
                    remote: d,
                    nr_remote: e,
                    flags: f,
                    is_write: nr == nr::PROCESS_VM_WRITEV,
                };
                Ok(self.process_vm(here, args)?)
            }
            _ => self.program_call(here, regs, done),
        }
    }

    /// The calls that the address space answers.
    fn memory_call(&self, here: &Here<'_, P>, nr: u64, args: [u64; 6]) -> Result<u64, Errno> {
        let space = &here.running.space;
        let caller = here.caller();
        let [a, b, c, d, e, _] = args;
        match nr {
            nr::MMAP => self.mmap(here, args),
            nr::MUNMAP => space.munmap(&caller, a, b),
            nr::MPROTECT => space.mprotect(&caller, a, b, c),
            nr::PKEY_MPROTECT => space.pkey_mprotect(&caller, a, b, c, int(d)),
            nr::MREMAP => space.mremap(&caller, a, b, c, d, e),
            nr::MADVISE => space.madvise(&caller, a, b, int(c)),
            nr::MSEAL => space.mseal(&caller, a, b, c),
            nr::PKEY_ALLOC => space.pkey_alloc(&caller, a, b),
            nr::PKEY_FREE => space.pkey_free(&caller, int(a)),
            nr::PKEY_PAGE => space.map_key_page(&caller),
            nr => {
                self.platform.no_system_call(nr);
                Err(Errno::NoSystemCall)
            }
        }
    }

    fn pkey_get(&self, here: &Here<'_, P>, pkey: i32, flags: u64) -> Result<u64, Errno> {
        let map = here.running.space.keys().map();
        let bits = get_set::pkey_get(map, here.register(), pkey, flags)?;
        Ok(u64::from(bits.bits()))
    }

    fn pkey_set(
        &self,
        here: &Here<'_, P>,
        pkey: i32,
        rights: u64,
        flags: u64,
    ) -> Result<u64, Errno> {
        let map = here.running.space.keys().map();
        let keys = here.running.thread.keys();
        get_set::pkey_set(map, keys, here.register(), pkey, rights, flags)?;
        Ok(0)
    }

    fn getppid(&self, here: &Here<'_, P>) -> u64 {
        let tasks = self.tasks.lock();
        let own = tasks.processes.get(&here.pid());
        u64::from(own.map_or(0, |own| own.parent).unsigned_abs())
    }

    /// What a call that gave no value means. `None` if the thread still runs; then it may have work to do.
    pub(crate) fn finish_call(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        end: CallEnd,
    ) -> Option<Outcome> {
        match end {
            CallEnd::Error(errno) => {
                regs.rax = raw(Err(errno));
                None
            }
            CallEnd::Gone(outcome) => Some(outcome),
            CallEnd::Wait(what, done) => self.wait_in_call(here, regs, what, done),
        }
    }

    fn wait_in_call(
        &self,
        here: &Here<'_, P>,
        regs: &UserRegs,
        what: WaitFor,
        done: u64,
    ) -> Option<Outcome> {
        let thread = &here.running.thread;
        *thread.waiting.lock() = Some(Waiting { what, done });
        self.save_here(here, regs);
        let is_blocked = self.with_tasks(|tasks| {
            let Some(entry) = tasks.threads.get_mut(&here.tid()) else {
                return false;
            };
            // Whoever wakes it, or gives it work, does so before it takes this lock.
            if thread.is_woken() || thread.has_work() {
                return false;
            }
            // The call is made again when it runs, wherever that is.
            thread.add_work();
            entry.state = RunState::Blocked(what);
            true
        });
        if !is_blocked {
            thread.add_work();
            return None;
        }
        here.processor.set_running(None);
        Some(Outcome::Blocked)
    }
}

/// What RAX gets.
pub(crate) const fn raw(result: Result<u64, Errno>) -> u64 {
    match result {
        Ok(value) => value,
        Err(errno) => (-(errno.number() as i64)).cast_unsigned(),
    }
}

/// An argument that is an `unsigned int`.
pub(crate) const fn word(argument: u64) -> u32 {
    (argument & 0xFFFF_FFFF) as u32
}

/// An argument that is an `int`.
pub(crate) const fn int(argument: u64) -> i32 {
    word(argument).cast_signed()
}

const fn low_byte(argument: u64) -> u8 {
    (argument & 0xFF) as u8
}

#[cfg(test)]
mod tests {
    use super::{int, raw, word};
    use crate::abi::Errno;

    #[test]
    fn errors_are_negative_and_ints_are_the_low_half() {
        assert_eq!(raw(Err(Errno::Invalid)), (-22_i64).cast_unsigned());
        assert_eq!(raw(Ok(5)), 5);
        assert_eq!(int(0xFFFF_FFFF), -1);
        assert_eq!(int(0x1234_5678_0000_0003), 3);
        assert_eq!(word(u64::MAX), u32::MAX);
    }
}
