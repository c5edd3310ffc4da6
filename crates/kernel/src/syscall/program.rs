//! The calls that a program of a C library or of Rust's standard library needs to start, to print, to wait and to know
//! where it is, beside those about keys, memory, signals and threads.
//!
//! `rseq(2)` is known and not there: a kernel has to write to a thread's memory whenever it moves the thread, and end the
//! program where a key keeps it from that. C libraries take `ENOSYS` for an answer.

use crate::abi::files::AT_FDCWD;
use crate::abi::{Errno, nr};
use crate::files::Message;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::{CallEnd, int, word};
use crate::task::UserRegs;
use crate::task::clone::CloneArgs;

impl<P: Platform> Kernel<P> {
    /// The calls that may wait, and those about threads.
    pub(super) fn program_call(
        &self,
        here: &mut Here<'_, P>,
        regs: &mut UserRegs,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let [a, b, c, d, e, f] = regs.arguments();
        let message = Message {
            fd: int(a),
            buf: b,
            count: c,
            flags: word(d),
            addr: e,
            addr_len: f,
        };
        match regs.orig_rax {
            nr::READV => self.readv(here, int(a), b, c, done),
            nr::WRITEV => self.writev(here, int(a), b, c, done),
            nr::SENDTO => self.sendto(here, message, done),
            nr::RECVFROM => self.recvfrom(here, message, done),
            nr::POLL => self.poll(here, a, word(b), int(c), done),
            nr::NANOSLEEP => self.nanosleep(here, a, done),
            nr::CLOCK_NANOSLEEP => self.clock_nanosleep(here, int(a), word(b), c, done),
            nr::PAUSE => self.pause(here),
            nr::RT_SIGSUSPEND => self.rt_sigsuspend(here, a, b, done),
            nr::RT_SIGTIMEDWAIT => self.rt_sigtimedwait(here, [a, b, c, d], done),
            nr::CLONE3 => Ok(self.clone(here, regs, CloneArgs::read(here, a, b)?)?),
            nr::ARCH_PRCTL => Ok(self.arch_prctl(here, regs, int(a), b)?),
            nr::PRCTL => Ok(self.prctl(here, int(a), b)?),
            nr::SET_ROBUST_LIST => Ok(self.set_robust_list(here, a, b)?),
            nr::GET_ROBUST_LIST => Ok(self.get_robust_list(here, int(a), b, c)?),
            nr::SCHED_GETAFFINITY => Ok(self.sched_getaffinity(here, int(a), word(b).into(), c)?),
            nr::GETCPU => Ok(self.getcpu(here, a, b)?),
            nr::PRLIMIT64 => Ok(self.prlimit(here, int(a), word(b), c, d)?),
            nr::RSEQ => Err(Errno::NoSystemCall.into()),
            _ => Ok(self.plain_call(here, regs)?),
        }
    }

    /// Those that give an answer at once: about descriptors, time, and the machine.
    fn plain_call(&self, here: &Here<'_, P>, regs: &UserRegs) -> Result<u64, Errno> {
        let args = regs.arguments();
        let [a, b, c, d, e, _] = args;
        match regs.orig_rax {
            nr::OPENAT => self.openat(here, int(a), b, word(c)),
            nr::READLINK => self.readlinkat(here, AT_FDCWD, a, b, int(c)),
            nr::READLINKAT => self.readlinkat(here, int(a), b, c, int(d)),
            nr::GETCWD => self.getcwd(),
            nr::FSTAT => self.fstat(here, int(a), b),
            nr::NEWFSTATAT => self.fstatat(here, int(a), b, c, word(d)),
            nr::STATX => self.statx(here, int(a), b, [word(c), word(d)], e),
            nr::IOCTL => self.ioctl(here, int(a), word(b)),
            nr::FCNTL => self.fcntl(here, int(a), word(b), c),
            nr::DUP => self.dup(here, int(a)),
            nr::DUP2 => self.dup2(here, int(a), int(b)),
            nr::DUP3 => self.dup3(here, int(a), int(b), word(c)),
            nr::PIPE => self.pipe2(here, a, 0),
            nr::SOCKETPAIR => self.socketpair(here, int(a), word(b), int(c), d),
            nr::SETSOCKOPT => self.setsockopt(here, int(a), [int(b), int(c)], d, int(e)),
            nr::CLOCK_GETTIME => self.clock_gettime(here, int(a), b),
            nr::CLOCK_GETRES => self.clock_getres(here, int(a), b),
            nr::GETTIMEOFDAY => self.gettimeofday(here, a, b),
            nr::TIME => self.time(here, a),
            nr::GETRANDOM => self.getrandom(here, a, b, word(c)),
            nr::UNAME => self.uname(here, a),
            nr::GETUID | nr::GETEUID | nr::GETGID | nr::GETEGID => Ok(self.config.uid.into()),
            nr::BRK => Ok(here.running.space.brk(&here.caller(), a)),
            nr => self.memory_call(here, nr, args),
        }
    }
}
