//! From the signal handler to the outside: the raw record, and the hand-over to the reporter.
//!
//! [`Channel::emit`] runs on the thread that strayed, in its SIGSEGV handler. What it may do is what `fault`'s essay says:
//! no allocation, no lock, no panic, no `core::fmt`, little stack, everything bounded. It
//!
//! 1. takes one of the slots that were set aside; when all are taken, the record is counted as lost;
//! 2. notes who, when and where;
//! 3. writes the raw record by `write(2)`: after this, whatever happens, the fault is on record;
//! 4. hands the slot to the reporter and sleeps, so that its stack stays as it is, until the report is out or the bound
//!    has passed.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::fault::report::clock::{self, SECOND_NS};
use crate::fault::report::line::Line;
use crate::fault::report::outlets::Outlets;
use crate::fault::report::slot::{Claim, Slot, Taken};
use crate::fault::report::{errno, futex, modules};
use crate::fault::stray::Stray;

/// How many threads can be in a report at a time.
const NR_SLOTS: usize = 16;

/// How long a handler waits for the reporter unless it is told otherwise.
const DEFAULT_WAIT_NS: u64 = 3 * SECOND_NS;

/// How long a raw record waits for room where it is written to.
const WRITE_WAIT_NS: u64 = SECOND_NS;

/// Everything that handlers and the reporter share.
#[derive(Debug)]
pub(super) struct Channel {
    slots: [Slot; NR_SLOTS],
    /// Raised with every record, for the reporter to sleep on.
    pub(super) bell: AtomicU32,
    sequence: AtomicU64,
    wait_ns: AtomicU64,
    /// The process that the reporter runs in; 0 for none. A child of `fork(2)` has another number, and no reporter.
    reporter_pid: AtomicI32,
    pub(super) outlets: Outlets,
}

impl Channel {
    /// One without a reporter.
    pub(super) const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; NR_SLOTS],
            bell: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            wait_ns: AtomicU64::new(DEFAULT_WAIT_NS),
            reporter_pid: AtomicI32::new(0),
            outlets: Outlets::new(),
        }
    }

    /// Puts a stray access on record and has it reported. For signal handlers; `errno` stays as it is.
    pub(super) fn emit(&self, stray: &Stray) {
        let errno = errno::get();
        match self.slots.iter().find_map(Slot::claim) {
            Some(mut claim) => {
                self.write_raw(&mut claim, stray);
                self.report(claim);
            }
            None => self.outlets.note_lost(),
        }
        errno::set(errno);
    }

    #[inline(never)]
    fn write_raw(&self, claim: &mut Claim<'_>, stray: &Stray) {
        let (record, buffer) = claim.parts();
        record.fill(stray, modules::find(stray.pc));
        record.sequence = self.sequence.fetch_add(1, SeqCst) + 1;
        record.lost = self.outlets.lost();
        let until_ns = record.monotonic_ns.saturating_add(WRITE_WAIT_NS);
        if self.outlets.has_file() {
            let mut line = Line::new(buffer);
            record.write_json(&mut line);
            // A test shows that no record is that long; half a line would spoil the file for its readers.
            if line.is_cut() {
                self.outlets.note_lost();
            } else {
                self.outlets.write_file(line.as_bytes(), until_ns);
            }
        }
        let mut line = Line::new(buffer);
        record.write_text(&mut line);
        self.outlets.write_terminal(line.as_bytes(), until_ns);
    }

    #[inline(never)]
    fn report(&self, claim: Claim<'_>) {
        if !self.has_reporter() {
            return claim.release();
        }
        let wait = claim.hand_over();
        self.bell.fetch_add(1, SeqCst);
        futex::wake(&self.bell);
        let now_ns = clock::monotonic_ns();
        wait.until(now_ns.saturating_add(self.wait_ns.load(SeqCst)));
    }

    /// Takes the oldest record that waits. For the reporter.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let waiting = |slot: &&Slot| slot.waiting().unwrap_or(u64::MAX);
        self.slots.iter().min_by_key(waiting)?.take()
    }

    /// Sets how long a handler waits for its report, in nanoseconds.
    pub(super) fn set_wait(&self, wait_ns: u64) {
        self.wait_ns.store(wait_ns, SeqCst);
    }

    /// Whether this process has a reporter.
    pub(super) fn has_reporter(&self) -> bool {
        self.reporter_pid.load(SeqCst) == getpid()
    }

    /// Notes that this process has a reporter, or that it has none.
    pub(super) fn set_reporter(&self, is_there: bool) {
        let pid = if is_there { getpid() } else { 0 };
        self.reporter_pid.store(pid, SeqCst);
    }

    /// In a child of `fork(2)`: there is no reporter, and nobody is in a handler.
    pub(super) fn forget(&self) {
        self.set_reporter(false);
        for slot in &self.slots {
            slot.reset();
        }
    }
}

#[allow(unsafe_code, reason = "getpid(2)")]
fn getpid() -> i32 {
    // SAFETY: takes nothing. The C library asks the kernel each time, also behind `fork(2)`.
    unsafe { libc::getpid() }
}
