//! Waiting for any of several descriptors: `poll(2)`.
//!
//! The console and files in memory can always be read and written. A pipe or a socket can be read when there is something
//! in it, or nobody is left to write, and written when there is room.
//!
//! A thread that waits is noted with each of the pipes, looks at all of them when it is woken, and may find that nothing
//! is as it wants: then it waits on.
//!
//! Source: Linux `fs/select.c` (`do_sys_poll`, `do_pollfd`), `fs/pipe.c` (`pipe_poll`), `net/unix/af_unix.c` (`unix_poll`).

use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::files::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRNORM,
};
use crate::files::{File, Pipe};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::task::wait::WaitFor;
use crate::time::NEVER;

/// The size of `struct pollfd`.
const POLLFD_LEN: u64 = 8;
/// Where `revents` is in it.
const REVENTS: u64 = 6;

/// What a descriptor is asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    fd: i32,
    events: u16,
}

impl<P: Platform> Pipe<P> {
    /// What can be done at an end, after noting who wants to know of changes.
    fn events(&self, is_writer: bool, tid: i32) -> u16 {
        let mut state = self.state.lock();
        state.waiting.add(tid);
        if is_writer {
            let room = if state.is_full() {
                0
            } else {
                POLLOUT | POLLWRNORM
            };
            let broken = if state.nr_readers == 0 { POLLERR } else { 0 };
            room | broken
        } else {
            let is_readable = state.pages.iter().any(|page| !page.unread().is_empty());
            let data = if is_readable { POLLIN | POLLRDNORM } else { 0 };
            let end = if state.nr_writers == 0 { POLLHUP } else { 0 };
            data | end
        }
    }
}

impl<P: Platform> File<P> {
    fn events(&self, tid: i32) -> u16 {
        match self {
            Self::Console | Self::Memory(_) | Self::Text(_) | Self::Process(_) => {
                POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
            }
            Self::Pipe {
                pipe, is_writer, ..
            } => pipe.events(*is_writer, tid),
            Self::Socket(socket) => {
                let incoming = socket.incoming.events(false, tid);
                let outgoing = socket.outgoing.events(true, tid);
                // To a socket, the end of what comes is something to be read.
                let end = if incoming & POLLHUP != 0 {
                    POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP
                } else {
                    0
                };
                incoming | end | outgoing & !POLLERR
            }
        }
    }
}

impl<P: Platform> Kernel<P> {
    /// `int poll(struct pollfd *fds, nfds_t nfds, int timeout);`
    ///
    /// `done` is when the waiting ends, if the thread has waited.
    pub(crate) fn poll(
        &self,
        here: &Here<'_, P>,
        list: u64,
        count: u32,
        timeout: i32,
        done: u64,
    ) -> Result<u64, CallEnd> {
        let end = match (done, timeout) {
            (0, ..0) => NEVER,
            (0, milliseconds) => self.end_of(u64::from(milliseconds.unsigned_abs()) * 1_000_000)?,
            (done, _) => done,
        };
        let limit = here.numbers().end;
        if usize::try_from(count).is_ok_and(|count| count > limit) {
            return Err(Errno::Invalid.into());
        }
        let wanted = read_list(here, list, count)?;
        here.running.thread.set_woken(false);
        self.set_deadline(here.tid(), end);
        let found: Vec<u16> = wanted.iter().map(|wanted| look(here, *wanted)).collect();
        let nr_found = found.iter().filter(|events| **events != 0).count();
        if nr_found == 0 && !self.is_over(end) {
            return Err(CallEnd::Wait(WaitFor::Files, end));
        }
        self.timers.remove(here.tid());
        for (at, events) in (0..).zip(found) {
            here.write(list + at * POLLFD_LEN + REVENTS, &events.to_le_bytes())?;
        }
        Ok(nr_found as u64)
    }
}

fn read_list<P: Platform>(here: &Here<'_, P>, list: u64, count: u32) -> Result<Vec<Wanted>, Errno> {
    let entries = (0..u64::from(count)).map(|at| {
        let bytes: [u8; 8] = here.read(list.wrapping_add(at * POLLFD_LEN))?;
        let [a, b, c, d, events @ .., _, _] = bytes;
        Ok(Wanted {
            fd: i32::from_le_bytes([a, b, c, d]),
            events: u16::from_le_bytes(events),
        })
    });
    entries.collect()
}

/// What is so of a descriptor, as far as it was asked for.
fn look<P: Platform>(here: &Here<'_, P>, wanted: Wanted) -> u16 {
    if wanted.fd < 0 {
        return 0;
    }
    let file = here.file(wanted.fd);
    match file {
        Ok(file) => file.events(here.tid()) & (wanted.events | POLLERR | POLLHUP),
        Err(_) => POLLNVAL,
    }
}
