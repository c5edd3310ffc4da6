//! A pipe: sixteen pages between two descriptors.
//!
//! Where the pages begin and end can be seen from outside, when the program's memory ends in the middle of a copy: what is
//! in a page that could not be copied as a whole stays in the pipe, and was not read. So the pages are kept as Linux keeps
//! them. A write begins in the last page if its odd bytes find room there, and takes a new page for each 4,096 bytes else. A write
//! that fails leaves an empty page behind, which the next read drops.
//!
//! What `vmsplice(2)` puts in is a copy; Linux puts in the program's own page, in which later changes are seen.
//!
//! Source: Linux `fs/pipe.c` (`pipe_read`, `pipe_write`), `fs/splice.c` (`iter_to_pipe`).

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use lock_api::Mutex;

use crate::platform::Platform;
use crate::task::wait::WaitList;

/// How many pages a pipe has: `PIPE_DEF_BUFFERS`.
pub(crate) const NR_PAGES: usize = 16;

/// The bytes of a page.
pub(crate) const PAGE_LEN: usize = 4096;

/// A pipe.
pub(crate) struct Pipe<P: Platform> {
    /// What it is known by.
    pub(super) id: u64,
    pub(super) state: Mutex<P::Lock, State>,
}

/// What is in a pipe, and who is at its ends.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pages: VecDeque<Page>,
    pub(super) nr_readers: usize,
    pub(super) nr_writers: usize,
    /// Threads that wait for data or for space.
    pub(super) waiting: WaitList,
}

/// A page of a pipe.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Vec<u8>,
    /// How many of them were read.
    pub(super) start: usize,
    /// Whether a later write may go on in it.
    pub(super) can_grow: bool,
    /// Whether a read ends with it.
    pub(super) is_packet: bool,
}

impl Page {
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl<P: Platform> Pipe<P> {
    /// An empty pipe with one descriptor at each end.
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                pages: VecDeque::new(),
                nr_readers: 1,
                nr_writers: 1,
                waiting: WaitList::default(),
            }),
        }
    }

    /// One more descriptor at an end.
    pub(super) fn open(&self, is_writer: bool) {
        let mut state = self.state.lock();
        *state.end(is_writer) += 1;
    }

    /// One descriptor less. Gives the threads that have to look.
    pub(super) fn close(&self, is_writer: bool) -> Vec<i32> {
        let mut state = self.state.lock();
        let end = state.end(is_writer);
        *end = end.saturating_sub(1);
        if *end == 0 {
            state.waiting.take()
        } else {
            Vec::new()
        }
    }
}

impl State {
    fn end(&mut self, is_writer: bool) -> &mut usize {
        if is_writer {
            &mut self.nr_writers
        } else {
            &mut self.nr_readers
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.pages.len() >= NR_PAGES
    }

    /// Adds a page with nothing in it.
    pub(super) fn add_page(&mut self, is_packet: bool) {
        self.pages.push_back(Page {
            bytes: Vec::new(),
            start: 0,
            can_grow: !is_packet,
            is_packet,
        });
    }

    /// Adds bytes that no later write goes on behind.
    pub(super) fn add_closed_page(&mut self, bytes: Vec<u8>) {
        self.pages.push_back(Page {
            bytes,
            start: 0,
            can_grow: false,
            is_packet: false,
        });
    }
}

/// A page's worth of zeros to copy into.
pub(super) fn buffer(len: usize) -> Vec<u8> {
    vec![0; len.min(PAGE_LEN)]
}
