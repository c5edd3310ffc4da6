//! Waiting for a word in memory: `futex(2)`, as far as keys can be seen in it.
//!
//! Reading the word is an access under the caller's keys. Finding out what a word is, for one that is shared between
//! processes, is a look-up of its page: as if it were to be written, or, for a word that the call itself does not change,
//! at least read, which private memory is refused for; and keys are asked as well. With `FUTEX_PRIVATE_FLAG` the address
//! is enough, and a thread may wake the
//! waiters of a word that it cannot access.
//!
//! There are `FUTEX_WAIT`, `FUTEX_WAKE`, both with a set of bits, `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`, and `FUTEX_WAKE_OP`,
//! whose change of a word is one step for other futex calls and two, a read and a write, for the program's own
//! instructions on other CPUs. Other operations, those that hand on a priority, give `ENOSYS`, and so does a time limit
//! that is not zero where there is no clock. A word is known by address space and address: waiters and wakers of different
//! processes do not find each other.
//!
//! Source: Linux `kernel/futex/` (`syscalls.c`, `core.c`: `get_futex_key`, `waitwake.c`, `requeue.c`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::task::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG,
    FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
};
use crate::kernel::{Here, Kernel};
use crate::memory::layout::{PAGE_SIZE, is_user_range};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::syscall::wake_op::WakeOp;
use crate::task::wait::WaitFor;
use crate::time::{NEVER, read_timespec};

/// What a word is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    space: usize,
    addr: u64,
}

/// A thread that waits for a word.
#[derive(Debug)]
struct Waiter {
    key: Key,
    tid: i32,
    /// Whom it lets wake it: those that have one of these bits.
    bits: u32,
}

/// Threads that wait for words, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Futexes(Vec<Waiter>);

impl Futexes {
    /// Takes out so many waiters of a word, but at least one.
    fn take(&mut self, key: Key, count: i32, bits: u32) -> Vec<i32> {
        let count = usize::try_from(count).unwrap_or(0).max(1);
        let mut taken = Vec::new();
        self.0.retain(|waiter| {
            let is_chosen = waiter.key == key && waiter.bits & bits != 0 && taken.len() < count;
            if is_chosen {
                taken.push(waiter.tid);
            }
            !is_chosen
        });
        taken
    }

    /// Lets so many waiters of a word wait for another, behind those that wait for it already.
    fn requeue(&mut self, from: Key, to: Key, count: usize) -> u64 {
        let chosen: Vec<i32> = self
            .0
            .iter()
            .filter(|waiter| waiter.key == from)
            .map(|waiter| waiter.tid)
            .take(count)
            .collect();
        let is_chosen = |waiter: &mut Waiter| chosen.contains(&waiter.tid);
        let moved: Vec<Waiter> = self.0.extract_if(.., is_chosen).collect();
        let moved = moved.into_iter().map(|waiter| Waiter { key: to, ..waiter });
        self.0.extend(moved);
        chosen.len() as u64
    }

    fn has(&self, tid: i32) -> bool {
        self.0.iter().any(|waiter| waiter.tid == tid)
    }

    /// Takes a thread out, and says whether it was there.
    fn remove(&mut self, tid: i32) -> bool {
        let before = self.0.len();
        self.0.retain(|waiter| waiter.tid != tid);
        self.0.len() < before
    }
}

impl<P: Platform> Kernel<P> {
    /// `long futex(uint32_t *uaddr, int futex_op, uint32_t val, const struct timespec *timeout, ...);`
    ///
    /// `done` is when the waiting ends, if the thread has waited already, and is still there to be woken unless it was.
    pub(crate) fn futex(
        &self,
        here: &Here<'_, P>,
        args: [u64; 6],
        done: u64,
    ) -> Result<u64, CallEnd> {
        let [addr, op, val, timeout, second, last] = args;
        let op = super::word(op);
        let command = op & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
        let is_private = op & FUTEX_PRIVATE_FLAG != 0;
        let is_wait = matches!(command, FUTEX_WAIT | FUTEX_WAIT_BITSET);
        let limit = match timeout {
            _ if done != 0 => None,
            timeout if is_wait && timeout != 0 => Some(read_timespec(here, timeout)?),
            _ => None,
        };
        let is_realtime = op & FUTEX_CLOCK_REALTIME != 0;
        if is_realtime && command != FUTEX_WAIT_BITSET {
            return Err(Errno::NoSystemCall.into());
        }
        let counts = [super::int(val), super::int(timeout)];
        match command {
            FUTEX_WAIT | FUTEX_WAIT_BITSET => {
                let bits = bits_of(command, last)?;
                let end = match (done, limit) {
                    (0, Some(limit)) if command == FUTEX_WAIT => self.end_of(limit)?,
                    (0, Some(time)) => self.deadline_by(is_realtime, time)?.max(1),
                    (0, None) => NEVER,
                    (done, _) => done,
                };
                let wish = Wish {
                    addr,
                    expected: super::word(val),
                    is_private,
                    bits,
                    end,
                };
                self.futex_wait(here, wish, done != 0)
            }
            FUTEX_WAKE | FUTEX_WAKE_BITSET => {
                let bits = bits_of(command, last)?;
                Ok(self.futex_wake(here, addr, super::int(val), is_private, bits)?)
            }
            FUTEX_REQUEUE => {
                Ok(self.futex_requeue(here, [addr, second], counts, None, is_private)?)
            }
            FUTEX_CMP_REQUEUE => {
                let expected = Some(super::word(last));
                Ok(self.futex_requeue(here, [addr, second], counts, expected, is_private)?)
            }
            FUTEX_WAKE_OP => {
                let op = WakeOp::decode(super::word(last));
                Ok(self.futex_wake_op(here, [addr, second], counts, op, is_private)?)
            }
            _ => Err(Errno::NoSystemCall.into()),
        }
    }

    fn futex_wait(&self, here: &Here<'_, P>, wish: Wish, has_waited: bool) -> Result<u64, CallEnd> {
        let (tid, end) = (here.tid(), wish.end);
        here.running.thread.set_woken(false);
        if has_waited {
            self.set_deadline(tid, end);
            let mut futexes = self.futexes.lock();
            if !futexes.has(tid) {
                self.timers.remove(tid);
                return Ok(0);
            }
            if self.is_over(end) {
                futexes.remove(tid);
                self.timers.remove(tid);
                return Err(Errno::TimedOut.into());
            }
            return Err(CallEnd::Wait(WaitFor::Futex, end));
        }
        let key = key(here, wish.addr, wish.is_private, false)?;
        // Under the lock, so that nobody changes the word and wakes nobody in between.
        let mut futexes = self.futexes.lock();
        if here.read_u32(wish.addr)? != wish.expected {
            return Err(Errno::Again.into());
        }
        if self.is_over(end) {
            return Err(Errno::TimedOut.into());
        }
        futexes.0.push(Waiter {
            key,
            tid,
            bits: wish.bits,
        });
        drop(futexes);
        self.set_deadline(tid, end);
        Err(CallEnd::Wait(WaitFor::Futex, end))
    }

    /// Wakes so many waiters of a word, but at least one, and gives how many.
    pub(crate) fn futex_wake(
        &self,
        here: &Here<'_, P>,
        addr: u64,
        count: i32,
        is_private: bool,
        bits: u32,
    ) -> Result<u64, Errno> {
        let key = key(here, addr, is_private, false)?;
        let woken = self.futexes.lock().take(key, count, bits);
        Ok(self.wake_waiters(&woken))
    }

    /// Wakes a waiter of a word for a thread that ends. Errors are not reported.
    pub(crate) fn wake_after_end(&self, here: &Here<'_, P>, addr: u64) {
        let _ = self.futex_wake(here, addr, 1, false, FUTEX_BITSET_MATCH_ANY);
    }

    /// Wakes some waiters of the first word and lets some others wait for the second, if the first is as expected. Gives
    /// how many were woken or moved.
    fn futex_requeue(
        &self,
        here: &Here<'_, P>,
        [first, second]: [u64; 2],
        [nr_wake, nr_move]: [i32; 2],
        expected: Option<u32>,
        is_private: bool,
    ) -> Result<u64, Errno> {
        let [nr_wake, nr_move] =
            [nr_wake, nr_move].map(|count| usize::try_from(count).map_err(|_| Errno::Invalid));
        let (nr_wake, nr_move) = (nr_wake?, nr_move?);
        let from = key(here, first, is_private, false)?;
        let to = key(here, second, is_private, false)?;
        let mut futexes = self.futexes.lock();
        if let Some(expected) = expected
            && here.read_u32(first)? != expected
        {
            return Err(Errno::Again);
        }
        let woken = match i32::try_from(nr_wake) {
            Ok(1..) => futexes.take(from, super::int(nr_wake as u64), FUTEX_BITSET_MATCH_ANY),
            _ => Vec::new(),
        };
        let moved = futexes.requeue(from, to, nr_move);
        drop(futexes);
        Ok(self.wake_waiters(&woken) + moved)
    }

    /// Changes the second word, wakes waiters of the first, and, if the second was as asked for, waiters of the second.
    fn futex_wake_op(
        &self,
        here: &Here<'_, P>,
        [first, second]: [u64; 2],
        [first_count, second_count]: [i32; 2],
        op: WakeOp,
        is_private: bool,
    ) -> Result<u64, Errno> {
        let first = key(here, first, is_private, false)?;
        let second_key = key(here, second, is_private, true)?;
        let mut futexes = self.futexes.lock();
        if op.is_one_write() {
            let page = second & !(PAGE_SIZE - 1);
            here.running.space.pin(&here.caller(), page, true)?;
        }
        let old = here.change(second, |old| op.apply(old))?;
        let is_as_asked = op.compare(old)?;
        let mut woken = futexes.take(first, first_count, FUTEX_BITSET_MATCH_ANY);
        if is_as_asked {
            woken.extend(futexes.take(second_key, second_count, FUTEX_BITSET_MATCH_ANY));
        }
        drop(futexes);
        Ok(self.wake_waiters(&woken))
    }

    fn wake_waiters(&self, woken: &[i32]) -> u64 {
        if !woken.is_empty() {
            self.with_tasks(|tasks| {
                for tid in woken {
                    tasks.wake(&self.platform, *tid);
                }
            });
        }
        woken.len() as u64
    }

    /// A thread waits no longer. `false` says that it did not any more: somebody has woken it.
    pub(crate) fn leave_futex(&self, tid: i32) -> bool {
        self.timers.remove(tid);
        self.futexes.lock().remove(tid)
    }
}

/// What `FUTEX_WAIT` is asked for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    addr: u64,
    expected: u32,
    is_private: bool,
    bits: u32,
    /// When to give up: 1 for at once, [`NEVER`] for never.
    end: u64,
}

/// The bits of a call that has some: none is `EINVAL`.
const fn bits_of(command: u32, last: u64) -> Result<u32, Errno> {
    match (command, super::word(last)) {
        (FUTEX_WAIT | FUTEX_WAKE, _) => Ok(FUTEX_BITSET_MATCH_ANY),
        (_, 0) => Err(Errno::Invalid),
        (_, bits) => Ok(bits),
    }
}

/// What a word is known by, once it is certain that the caller may know it.
fn key<P: Platform>(
    here: &Here<'_, P>,
    addr: u64,
    is_private: bool,
    is_for_writing: bool,
) -> Result<Key, Errno> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::Invalid);
    }
    if !is_user_range(addr, 4) {
        return Err(Errno::Fault);
    }
    let space = &here.running.space;
    if !is_private {
        let page = addr & !(PAGE_SIZE - 1);
        let caller = here.caller();
        match space.pin(&caller, page, true) {
            Err(Errno::Fault) if !is_for_writing => {
                space.pin(&caller, page, false)?;
                // Private memory that cannot be written to never changes: to wait for it makes no sense.
                if !space.mapping(addr).is_some_and(|mapping| mapping.is_shared) {
                    return Err(Errno::Fault);
                }
            }
            pinned => pinned?,
        }
    }
    Ok(Key {
        space: Arc::as_ptr(space).addr(),
        addr,
    })
}
