//! Descriptors themselves: `dup(2)`, `dup2(2)`, `dup3(2)`, `fcntl(2)`, and the requests of `ioctl(2)` that are about any.
//!
//! Copies of a number are one opening: they have one position. What belongs to a number alone is whether a new program
//! gets it.
//!
//! Source: Linux `fs/file.c` (`ksys_dup3`, `f_dupfd`), `fs/fcntl.c` (`do_fcntl`), `fs/ioctl.c`.

use crate::abi::Errno;
use crate::abi::files::{
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, FIOCLEX, FIONCLEX,
};
use crate::abi::task::{O_ACCMODE, O_CLOEXEC, O_DIRECT, O_LARGEFILE, O_NONBLOCK};
use crate::files::{Descriptor, File, Files};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;

impl<P: Platform> Files<P> {
    fn descriptor(&mut self, fd: i32) -> Result<&mut Descriptor<P>, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|fd| self.0.get_mut(fd));
        slot.and_then(Option::as_mut).ok_or(Errno::BadDescriptor)
    }
}

impl<P: Platform> File<P> {
    /// What `F_GETFL` gives. Whatever was opened by name counts as opened with `O_LARGEFILE`.
    fn status(&self) -> u32 {
        let mode = match (self.is_readable(), self.is_writable()) {
            (true, false) => 0,
            (false, true) => 1,
            (true, true) => 2,
            (false, false) => O_ACCMODE,
        };
        match self {
            Self::Console | Self::Memory(_) | Self::Text(_) | Self::Process(_) => {
                mode | O_LARGEFILE
            }
            Self::Socket(socket) if socket.is_nonblocking => mode | O_NONBLOCK,
            Self::Socket(_) => mode,
            Self::Pipe {
                is_nonblocking,
                is_packets,
                ..
            } => {
                let nonblocking = if *is_nonblocking { O_NONBLOCK } else { 0 };
                let packets = if *is_packets { O_DIRECT } else { 0 };
                mode | nonblocking | packets
            }
        }
    }
}

impl<P: Platform> Kernel<P> {
    /// `int dup(int oldfd);`
    pub(crate) fn dup(&self, here: &Here<'_, P>, fd: i32) -> Result<u64, Errno> {
        self.dup_from(here, fd, 0, false)
    }

    /// `int dup2(int oldfd, int newfd);`
    pub(crate) fn dup2(&self, here: &Here<'_, P>, old: i32, new: i32) -> Result<u64, Errno> {
        if old == new {
            let files = here.running.thread.process().files.lock();
            return files.get(old).map(|_| u64::from(old.unsigned_abs()));
        }
        self.dup3(here, old, new, 0)
    }

    /// `int dup3(int oldfd, int newfd, int flags);`
    pub(crate) fn dup3(
        &self,
        here: &Here<'_, P>,
        old: i32,
        new: i32,
        flags: u32,
    ) -> Result<u64, Errno> {
        if flags & !O_CLOEXEC != 0 || old == new {
            return Err(Errno::Invalid);
        }
        let numbers = here.numbers();
        let at = usize::try_from(new).ok();
        let at = at.filter(|at| numbers.contains(at));
        let at = at.ok_or(Errno::BadDescriptor)?;
        let woken = {
            let mut files = here.running.thread.process().files.lock();
            let file = files.get(old)?.open_again();
            let replaced = files.put(at, file, flags & O_CLOEXEC != 0);
            replaced.map(|file| file.close()).unwrap_or_default()
        };
        self.wake_all(&woken);
        Ok(u64::from(new.unsigned_abs()))
    }

    fn dup_from(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        lowest: u64,
        closes_on_exec: bool,
    ) -> Result<u64, Errno> {
        let numbers = here.numbers();
        let mut files = here.running.thread.process().files.lock();
        let file = files.get(fd)?;
        let lowest = usize::try_from(lowest).ok();
        let lowest = lowest.filter(|lowest| numbers.contains(lowest));
        let lowest = lowest.ok_or(Errno::Invalid)?;
        let number = files.add(lowest..numbers.end, file.clone(), closes_on_exec)?;
        file.open_again();
        Ok(u64::from(number.unsigned_abs()))
    }

    /// `int fcntl(int fd, int op, ...);`: copies, and what is kept of a number. What an opening is cannot be changed here
    /// (`F_SETFL`): `ENOSYS`.
    pub(crate) fn fcntl(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        op: u32,
        arg: u64,
    ) -> Result<u64, Errno> {
        let process = here.running.thread.process();
        let mut files = process.files.lock();
        let descriptor = files.descriptor(fd)?;
        match op {
            F_GETFD => Ok(u64::from(descriptor.closes_on_exec)),
            F_SETFD => {
                descriptor.closes_on_exec = arg & FD_CLOEXEC != 0;
                Ok(0)
            }
            F_GETFL => Ok(u64::from(descriptor.file.status())),
            F_SETFL => Err(Errno::NoSystemCall),
            F_DUPFD | F_DUPFD_CLOEXEC => {
                drop(files);
                self.dup_from(here, fd, arg & 0xFFFF_FFFF, op == F_DUPFD_CLOEXEC)
            }
            _ => Err(Errno::Invalid),
        }
    }

    /// `int ioctl(int fd, unsigned long op, ...);`: nothing here is a terminal, or a device of any other kind.
    pub(crate) fn ioctl(&self, here: &Here<'_, P>, fd: i32, op: u32) -> Result<u64, Errno> {
        let mut files = here.running.thread.process().files.lock();
        let descriptor = files.descriptor(fd)?;
        match op {
            FIOCLEX | FIONCLEX => {
                descriptor.closes_on_exec = op == FIOCLEX;
                Ok(0)
            }
            _ => Err(Errno::NotTerminal),
        }
    }
}
