//! Processes as the kernel itself sees them: it starts one and waits for its end.

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_image::calls;
use pkeys_kernel::Kernel;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::platform::Program;
use pkeys_kernel::task::{ExitStatus, Processor};

use super::platform::Machine;
use super::ready;
use crate::memory::layout::to_usize;
use crate::say;
use crate::sched::wait::WaitQueue;
use crate::sync::Spin;

/// A program to start, and who waits for it.
pub(super) struct Start {
    program: Program,
    answer: Arc<Answer>,
}

/// What came of a start.
struct Answer {
    started: Spin<Option<Result<i32, Errno>>>,
    done: WaitQueue,
}

/// Processes without a parent that have ended, and how, until somebody asks.
static ENDS: Spin<Vec<(i32, ExitStatus)>> = Spin::new(Vec::new());
static ENDED: WaitQueue = WaitQueue::new();

/// The system calls that were missed already, a bit each; those with higher numbers share the last word.
static MISSED: [AtomicU64; 9] = [const { AtomicU64::new(0) }; 9];

/// Starts a program; gives its process's number. It is runners who call the library, so one of them does it.
///
/// # Errors
///
/// As [`Kernel::spawn`].
pub(crate) fn start(program: Program) -> Result<i32, Errno> {
    let answer = Arc::new(Answer {
        started: Spin::new(None),
        done: WaitQueue::new(),
    });
    ready::add_start(Start {
        program,
        answer: Arc::clone(&answer),
    });
    let mut result = None;
    answer.done.wait_until(|| {
        result = answer.started.lock().take();
        result.is_some()
    });
    result.unwrap_or(Err(Errno::NoMemory))
}

/// Starts a program, in a runner.
pub(super) fn start_here(start: Start, kernel: &Kernel<Machine>, processor: &Processor<Machine>) {
    let started = kernel.spawn(processor, &start.program);
    *start.answer.started.lock() = Some(started);
    start.answer.done.wake_all();
}

/// How a process that [`start`] has started ended, if it has. It is told once.
pub(crate) fn ended(pid: i32) -> Option<ExitStatus> {
    let mut ends = ENDS.lock();
    let position = ends.iter().position(|(ended, _)| *ended == pid)?;
    Some(ends.swap_remove(position).1)
}

/// Waits for that.
pub(crate) fn wait(pid: i32) -> ExitStatus {
    let mut found = None;
    ENDED.wait_until(|| {
        found = ended(pid);
        found.is_some()
    });
    found.unwrap_or_else(|| unreachable!("waited until it was there"))
}

/// A process without a parent has ended.
pub(super) fn note_end(pid: i32, status: ExitStatus) {
    ENDS.lock().push((pid, status));
    ENDED.wake_all();
}

/// Says that there is no such system call, the first time that a program makes it.
pub(super) fn name_call(nr: u64) {
    let bit = nr.min(MISSED.len() as u64 * 64 - 1);
    let word = MISSED.get(to_usize(bit / 64));
    let mask = 1 << (bit % 64);
    let is_first = word.is_some_and(|word| word.fetch_or(mask, Relaxed) & mask == 0);
    if is_first {
        match calls::name(nr) {
            Some(name) => say!("pkeys: no system call {nr} ({name}): ENOSYS"),
            None => say!("pkeys: no system call {nr}: ENOSYS"),
        }
    }
}
