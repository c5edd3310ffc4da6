//! `read(2)`, `write(2)`, `close(2)`, `pipe2(2)`, `vmsplice(2)`.
//!
//! These are the kernel's own accesses to user memory: the caller's PKRU is in effect, and what it denies is `EFAULT` or a
//! shorter count, never a signal. A read may write to its buffer what the key lets it and give `EFAULT` nevertheless: a page
//! of a pipe counts as a whole or not at all.
//!
//! `vmsplice` looks pages up without accessing them, and asks the keys as well.
//!
//! Source: Linux `fs/read_write.c` (`vfs_read`, `vfs_write`), `fs/pipe.c` (`do_pipe2`), `fs/splice.c` (`vmsplice`,
//! `vmsplice_to_pipe`).

use alloc::sync::Arc;

use crate::abi::Errno;
use crate::abi::task::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use crate::files::pipe::buffer;
use crate::files::transfer::{self, Progress, Written};
use crate::files::{File, Pipe};
use crate::kernel::{Here, Kernel};
use crate::memory::layout::is_user_range;
use crate::platform::Platform;
use crate::signal::{SigInfo, Signo, Target};
use crate::syscall::CallEnd;
use crate::syscall::iovec::{self, MAX_RW_COUNT, Segment};
use crate::syscall::uaccess::count_or_fault;
use crate::task::wait::WaitFor;

/// `SPLICE_F_NONBLOCK`.
const SPLICE_F_NONBLOCK: u32 = 2;
/// Every flag of `vmsplice(2)`.
const SPLICE_F_ALL: u32 = 0xF;

impl<P: Platform> Kernel<P> {
    /// `ssize_t read(int fd, void *buf, size_t count);`
    pub(crate) fn read(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        buf: u64,
        count: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let file = here.file_to_read(fd)?;
        let len = checked_count(buf, count)?;
        match file {
            File::Memory(file) => Ok(file.read(here, buf, count)?),
            file => self.read_file(here, &file, &[Segment { base: buf, len }], done),
        }
    }

    /// `ssize_t write(int fd, const void *buf, size_t count);`
    pub(crate) fn write(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        buf: u64,
        count: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let file = here.file_to_write(fd)?;
        let len = checked_count(buf, count)?;
        match file {
            File::Memory(file) => Ok(file.write(here, buf, count)?),
            file => self.write_file(here, &file, &[Segment { base: buf, len }], done),
        }
    }

    /// `int close(int fd);`
    pub(crate) fn close(&self, here: &Here<'_, P>, fd: i32) -> Result<u64, Errno> {
        let woken = here.running.thread.process().files.lock().close(fd)?;
        self.wake_all(&woken);
        Ok(0)
    }

    /// `int pipe2(int pipefd[2], int flags);`
    pub(crate) fn pipe2(&self, here: &Here<'_, P>, at: u64, flags: u32) -> Result<u64, Errno> {
        if flags & !(O_NONBLOCK | O_CLOEXEC | O_DIRECT) != 0 {
            return Err(Errno::Invalid);
        }
        let pipe = Arc::new(Pipe::new(self.pool.new_id()));
        let end = |is_writer| File::Pipe {
            pipe: Arc::clone(&pipe),
            is_writer,
            is_nonblocking: flags & O_NONBLOCK != 0,
            is_packets: flags & O_DIRECT != 0,
        };
        let ends = [end(false), end(true)];
        self.add_two(here, ends, flags & O_CLOEXEC != 0, at)
    }

    /// Gives two files numbers, and stores these.
    pub(super) fn add_two(
        &self,
        here: &Here<'_, P>,
        [one, other]: [File<P>; 2],
        closes: bool,
        at: u64,
    ) -> Result<u64, Errno> {
        let process = here.running.thread.process();
        let numbers = here.numbers();
        let (first, second) = {
            let mut files = process.files.lock();
            let first = files.add(numbers.clone(), one, closes)?;
            match files.add(numbers, other, closes) {
                Ok(second) => (first, second),
                Err(errno) => {
                    let _ = files.close(first);
                    return Err(errno);
                }
            }
        };
        let mut bytes = [0; 8];
        let (low, high) = bytes.split_at_mut(4);
        low.copy_from_slice(&first.to_le_bytes());
        high.copy_from_slice(&second.to_le_bytes());
        let written = here.write(at, &bytes);
        if written.is_err() {
            let mut files = process.files.lock();
            // Both are there, unless another thread has closed them meanwhile.
            let _ = files.close(first);
            let _ = files.close(second);
        }
        written.map(|()| 0)
    }

    /// `ssize_t vmsplice(int fd, const struct iovec *iov, size_t nr_segs, unsigned int flags);`
    pub(crate) fn vmsplice(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        iov: u64,
        nr_segs: u64,
        flags: u32,
    ) -> Result<u64, CallEnd> {
        if flags & !SPLICE_F_ALL != 0 {
            return Err(Errno::Invalid.into());
        }
        let file = here.file(fd)?;
        let segments = iovec::import(here, iov, nr_segs)?;
        if segments.iter().all(|segment| segment.len == 0) {
            return Ok(0);
        }
        let File::Pipe {
            pipe, is_writer, ..
        } = file
        else {
            return Err(Errno::BadDescriptor.into());
        };
        let is_nonblocking = flags & SPLICE_F_NONBLOCK != 0;
        if !is_writer {
            return self.read_pipe(here, &pipe, &segments, is_nonblocking);
        }
        here.running.thread.set_woken(false);
        let mut state = pipe.state.lock();
        let (end, done) = transfer::splice(here, &mut state, &segments);
        let woken = state.waiting.take();
        if matches!(end, Written::Full) && done == 0 {
            state.waiting.add(here.tid());
        }
        drop(state);
        self.wake_all(&woken);
        match end {
            // What did not fit is left to the next call.
            Written::Full if done > 0 => Ok(done),
            _ => self.end_write(here, end, done, is_nonblocking, true),
        }
    }

    pub(super) fn read_pipe(
        &self,
        here: &Here<'_, P>,
        pipe: &Pipe<P>,
        segments: &[Segment],
        is_nonblocking: bool,
    ) -> Result<u64, CallEnd> {
        let wanted: u64 = segments.iter().map(|segment| segment.len).sum();
        if wanted == 0 {
            return Ok(0);
        }
        here.running.thread.set_woken(false);
        let mut state = pipe.state.lock();
        let nr_pages = state.pages.len();
        let taken = transfer::take(here, &mut state, segments, wanted);
        if state.pages.len() < nr_pages {
            let woken = state.waiting.take();
            drop(state);
            self.wake_all(&woken);
            state = pipe.state.lock();
        }
        let done = taken?;
        if done > 0 {
            return Ok(done);
        }
        if state.nr_writers == 0 {
            return Ok(0);
        }
        if is_nonblocking {
            return Err(Errno::Again.into());
        }
        state.waiting.add(here.tid());
        Err(CallEnd::Wait(WaitFor::Pipe, 0))
    }

    pub(super) fn write_to_pipe(
        &self,
        here: &Here<'_, P>,
        pipe: &Pipe<P>,
        segments: &[Segment],
        done: u64,
        [is_packets, is_nonblocking]: [bool; 2],
    ) -> Result<u64, CallEnd> {
        let mut progress = Progress::new(segments, done);
        let end = self.write_pipe(here, pipe, &mut progress, is_packets);
        self.end_write(here, end, progress.done, is_nonblocking, true)
    }

    pub(super) fn write_pipe(
        &self,
        here: &Here<'_, P>,
        pipe: &Pipe<P>,
        progress: &mut Progress<'_>,
        is_packets: bool,
    ) -> Written {
        if progress.count == progress.done {
            return Written::All;
        }
        here.running.thread.set_woken(false);
        let mut state = pipe.state.lock();
        let end = progress.fill(here, &mut state, is_packets);
        let woken = state.waiting.take();
        if let Written::Full = end {
            state.waiting.add(here.tid());
        }
        drop(state);
        self.wake_all(&woken);
        end
    }

    /// What a write gives, and SIGPIPE if that is wanted.
    pub(super) fn end_write(
        &self,
        here: &Here<'_, P>,
        end: Written,
        done: u64,
        is_nonblocking: bool,
        has_signal: bool,
    ) -> Result<u64, CallEnd> {
        if has_signal && matches!(end, Written::Broken) {
            let info = SigInfo::user(Signo::PIPE, here.pid(), self.config.uid);
            self.with_tasks(|tasks| {
                // The thread is there, and a standard signal always has a place.
                let _ = self.send(tasks, Target::Thread(here.tid()), info);
            });
        }
        match end {
            Written::Full if !is_nonblocking => Err(CallEnd::Wait(WaitFor::Pipe, done)),
            Written::All => Ok(done),
            _ if done > 0 => Ok(done),
            Written::Full => Err(Errno::Again.into()),
            Written::Broken => Err(Errno::BrokenPipe.into()),
            Written::Fault => Err(Errno::Fault.into()),
        }
    }

    pub(super) fn write_console(
        &self,
        here: &Here<'_, P>,
        buf: u64,
        count: u64,
    ) -> Result<u64, Errno> {
        let mut done = 0;
        while done < count {
            let mut bytes = buffer(iovec::length(count - done));
            let copied = here.read_some(buf + done, &mut bytes);
            self.platform.print(bytes.get(..copied).unwrap_or_default());
            done += copied as u64;
            if copied < bytes.len() {
                return count_or_fault(done);
            }
        }
        Ok(done)
    }

    pub(super) fn wake_all(&self, tids: &[i32]) {
        if tids.is_empty() {
            return;
        }
        self.with_tasks(|tasks| {
            for tid in tids {
                tasks.wake(&self.platform, *tid);
            }
        });
    }
}

/// The checks of a buffer that reads and writes share.
pub(super) fn checked_count(buf: u64, count: u64) -> Result<u64, Errno> {
    if !is_user_range(buf, count) {
        return Err(Errno::Fault);
    }
    Ok(count.min(MAX_RW_COUNT))
}
