//! Bytes between a pipe's pages and the program's memory.
//!
//! Which bytes are lost, which stay and which were copied when the program's memory ends in the middle follows from the
//! pages: see [`crate::files::pipe`].
//!
//! Source: Linux `fs/pipe.c` (`pipe_read`, `pipe_write`), `fs/splice.c` (`iter_to_pipe`).

use crate::abi::Errno;
use crate::files::pipe::{PAGE_LEN, State, buffer};
use crate::kernel::Here;
use crate::memory::layout::PAGE_SIZE;
use crate::platform::Platform;
use crate::syscall::iovec::{self, Segment};
use crate::syscall::uaccess::count_or_fault;

/// How a write to a pipe goes on.
pub(super) enum Written {
    /// It is done.
    All,
    /// There is no room.
    Full,
    /// Nobody will ever read it.
    Broken,
    /// The program's memory ends.
    Fault,
}

/// Reads up to `wanted` bytes, as far as there are any. Gives how many.
pub(super) fn take<P: Platform>(
    here: &Here<'_, P>,
    state: &mut State,
    segments: &[Segment],
    wanted: u64,
) -> Result<u64, Errno> {
    let mut done = 0;
    while done < wanted {
        let Some(page) = state.pages.front_mut() else {
            break;
        };
        let unread = page.unread();
        let len = iovec::length(wanted - done).min(unread.len());
        let is_all = len == unread.len();
        let chunk = unread.get(..len).unwrap_or_default();
        if iovec::scatter(here, segments, done, chunk).is_err() {
            // The page counts as a whole: what was copied of it stays in the pipe as well.
            return count_or_fault(done);
        }
        done += len as u64;
        let is_packet = page.is_packet;
        if is_packet || is_all {
            state.pages.pop_front();
        } else {
            page.start += len;
        }
        if is_packet {
            break;
        }
    }
    Ok(done)
}

/// A write to a pipe, which may have to wait in the middle.
pub(super) struct Progress<'a> {
    segments: &'a [Segment],
    pub(super) count: u64,
    pub(super) done: u64,
}

impl<'a> Progress<'a> {
    /// A write of some buffers, of which so much is done.
    pub(super) fn new(segments: &'a [Segment], done: u64) -> Self {
        Self {
            segments,
            count: segments.iter().map(|segment| segment.len).sum(),
            done,
        }
    }

    /// Writes until everything is written, the pipe is full, or nothing can be read from the program.
    pub(super) fn fill<P: Platform>(
        &mut self,
        here: &Here<'_, P>,
        state: &mut State,
        is_packets: bool,
    ) -> Written {
        if state.nr_readers == 0 {
            return Written::Broken;
        }
        if self.done == 0
            && let Some(end) = self.fill_last_page(here, state)
        {
            return end;
        }
        while self.done < self.count {
            if state.is_full() {
                return Written::Full;
            }
            // The page is in the pipe before anything was copied, and stays there if that fails.
            state.add_page(is_packets);
            let mut bytes = buffer(iovec::length(self.count - self.done));
            if iovec::gather(here, self.segments, self.done, &mut bytes).is_err() {
                return Written::Fault;
            }
            self.done += bytes.len() as u64;
            if let Some(page) = state.pages.back_mut() {
                page.bytes = bytes;
            }
        }
        Written::All
    }

    /// The odd bytes of a write go into the last page, if there is one with room for all of them.
    fn fill_last_page<P: Platform>(
        &mut self,
        here: &Here<'_, P>,
        state: &mut State,
    ) -> Option<Written> {
        let odd = iovec::length(self.count % PAGE_SIZE);
        let page = state.pages.back_mut().filter(|page| page.can_grow)?;
        if odd == 0 || page.bytes.len() + odd > PAGE_LEN {
            return None;
        }
        let mut bytes = buffer(odd);
        if iovec::gather(here, self.segments, 0, &mut bytes).is_err() {
            return Some(Written::Fault);
        }
        page.bytes.extend_from_slice(&bytes);
        self.done += odd as u64;
        (self.done == self.count).then_some(Written::All)
    }
}

/// Puts pages into a pipe without accessing them: the keys are asked all the same.
pub(super) fn splice<P: Platform>(
    here: &Here<'_, P>,
    state: &mut State,
    segments: &[Segment],
) -> (Written, u64) {
    let mut done = 0;
    if state.nr_readers == 0 {
        return (Written::Broken, done);
    }
    for segment in segments {
        let mut at = segment.base;
        let end = segment.base + segment.len;
        while at < end {
            if state.is_full() {
                return (Written::Full, done);
            }
            let len = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            let mut bytes = buffer(iovec::length(len));
            let space = &here.running.space;
            let is_there = space.pin(&here.caller(), at, false).is_ok()
                && here.read_into(at, &mut bytes).is_ok();
            if !is_there {
                return (Written::Fault, done);
            }
            state.add_closed_page(bytes);
            done += len;
            at += len;
        }
    }
    (Written::All, done)
}
