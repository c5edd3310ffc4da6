//! Waiting for a word in memory: `futex(2)`, as far as keys can be seen in it.
//!
//! Reading the word is an access under the caller's keys. Finding out what a word is, for one that is shared between
//! processes, is a look-up of its page: as if it were to be written, or, for a word that the call itself does not change,
//! at least read, which private memory is refused for; and keys are asked as well. With `FUTEX_PRIVATE_FLAG` the address
//! is enough, and a thread may wake the
//! waiters of a word that it cannot access.
//!
//! There are `FUTEX_WAIT`, `FUTEX_WAKE` and `FUTEX_WAKE_OP`, whose change of a word is one step for other futex calls and
//! two, a read and a write, for the program's own instructions on other CPUs. Other operations give `ENOSYS`, and so does a
//! time limit that is not zero, as the library has no clock. A word is known by address space and address: waiters and wakers of different processes do
//! not find each other.
//!
//! Source: Linux `kernel/futex/` (`syscalls.c`, `core.c`: `get_futex_key`, `waitwake.c`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::task::{
    FUTEX_CLOCK_REALTIME, FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAKE_OP,
};
use crate::kernel::{Here, Kernel};
use crate::memory::layout::{PAGE_SIZE, is_user_range};
use crate::platform::Platform;
use crate::syscall::CallEnd;
use crate::task::wait::WaitFor;

/// What a word is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    space: usize,
    addr: u64,
}

/// Threads that wait for words, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Futexes(Vec<(Key, i32)>);

impl Futexes {
    /// Takes out so many waiters of a word, but at least one.
    fn take(&mut self, key: Key, count: i32) -> Vec<i32> {
        let count = usize::try_from(count).unwrap_or(0).max(1);
        let mut taken = Vec::new();
        self.0.retain(|(other, tid)| {
            let is_chosen = *other == key && taken.len() < count;
            if is_chosen {
                taken.push(*tid);
            }
            !is_chosen
        });
        taken
    }
}

/// What `FUTEX_WAKE_OP` does with its second word, and what it asks of it.
#[derive(Debug, Clone, Copy)]
struct WakeOp {
    op: u32,
    argument: i32,
    comparison: u32,
    with: i32,
}

impl WakeOp {
    /// Takes the last argument of the call apart.
    const fn decode(bits: u32) -> Self {
        // 12 bits with a sign.
        let argument = (bits << 8).cast_signed() >> 20;
        let is_shift = bits >> 31 != 0;
        Self {
            op: bits >> 28 & 7,
            argument: if is_shift {
                1 << (argument & 31)
            } else {
                argument
            },
            comparison: bits >> 24 & 0xF,
            with: (bits << 20).cast_signed() >> 20,
        }
    }

    /// Whether the operation is one instruction that writes (XCHG, XADD). The others read the word first, which brings in
    /// a page that cannot be written to.
    const fn is_one_write(self) -> bool {
        self.op <= 1
    }

    /// The word's new value.
    const fn apply(self, old: u32) -> Result<u32, Errno> {
        let argument = self.argument.cast_unsigned();
        Ok(match self.op {
            0 => argument,
            1 => old.wrapping_add(argument),
            2 => old | argument,
            3 => old & !argument,
            4 => old ^ argument,
            _ => return Err(Errno::NoSystemCall),
        })
    }

    /// Whether the word's old value is as asked for.
    const fn compare(self, old: u32) -> Result<bool, Errno> {
        let old = old.cast_signed();
        Ok(match self.comparison {
            0 => old == self.with,
            1 => old != self.with,
            2 => old < self.with,
            3 => old <= self.with,
            4 => old > self.with,
            5 => old >= self.with,
            _ => return Err(Errno::NoSystemCall),
        })
    }
}

impl<P: Platform> Kernel<P> {
    /// `long futex(uint32_t *uaddr, int futex_op, uint32_t val, const struct timespec *timeout, ...);`
    ///
    /// `done` is 1 if the thread has waited already, and is still there to be woken unless it was.
    pub(crate) fn futex(
        &self,
        here: &Here<'_, P>,
        args: [u64; 6],
        done: u64,
    ) -> Result<u64, CallEnd> {
        let [addr, op, val, timeout, second, op_word] = args;
        let op = super::word(op);
        let command = op & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
        let is_private = op & FUTEX_PRIVATE_FLAG != 0;
        if command == FUTEX_WAIT && timeout != 0 {
            check_timeout(here, timeout)?;
        }
        if op & FUTEX_CLOCK_REALTIME != 0 {
            return Err(Errno::NoSystemCall.into());
        }
        match command {
            FUTEX_WAIT => self.futex_wait(here, addr, super::word(val), is_private, timeout, done),
            FUTEX_WAKE => Ok(self.futex_wake(here, addr, super::int(val), is_private)?),
            FUTEX_WAKE_OP => {
                let counts = [super::int(val), super::int(timeout)];
                let op = WakeOp::decode(super::word(op_word));
                Ok(self.futex_wake_op(here, [addr, second], counts, op, is_private)?)
            }
            _ => Err(Errno::NoSystemCall.into()),
        }
    }

    fn futex_wait(
        &self,
        here: &Here<'_, P>,
        addr: u64,
        expected: u32,
        is_private: bool,
        timeout: u64,
        done: u64,
    ) -> Result<u64, CallEnd> {
        here.running.thread.set_woken(false);
        if done != 0 {
            let futexes = self.futexes.lock();
            let is_there = futexes.0.iter().any(|(_, tid)| *tid == here.tid());
            if !is_there {
                return Ok(0);
            }
            return Err(CallEnd::Wait(WaitFor::Futex, done));
        }
        let key = key(here, addr, is_private, false)?;
        // Under the lock, so that nobody changes the word and wakes nobody in between.
        let mut futexes = self.futexes.lock();
        if here.read_u32(addr)? != expected {
            return Err(Errno::Again.into());
        }
        if timeout != 0 {
            return Err(Errno::TimedOut.into());
        }
        futexes.0.push((key, here.tid()));
        Err(CallEnd::Wait(WaitFor::Futex, 1))
    }

    /// Wakes so many waiters of a word, but at least one, and gives how many.
    pub(crate) fn futex_wake(
        &self,
        here: &Here<'_, P>,
        addr: u64,
        count: i32,
        is_private: bool,
    ) -> Result<u64, Errno> {
        let key = key(here, addr, is_private, false)?;
        let woken = self.futexes.lock().take(key, count);
        Ok(self.wake_waiters(&woken))
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
        let old = here.read_u32(second)?;
        let new = op.apply(old)?;
        here.write(second, &new.to_le_bytes())?;
        let is_as_asked = op.compare(old)?;
        let mut woken = futexes.take(first, first_count);
        if is_as_asked {
            woken.extend(futexes.take(second_key, second_count));
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
        let mut futexes = self.futexes.lock();
        let before = futexes.0.len();
        futexes.0.retain(|(_, other)| *other != tid);
        futexes.0.len() < before
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

/// Lets nothing through but a time limit of zero.
fn check_timeout<P: Platform>(here: &Here<'_, P>, timeout: u64) -> Result<(), Errno> {
    let bytes: [u8; 16] = here.read(timeout)?;
    let (words, _) = bytes.as_chunks::<8>();
    let word = |at: usize| words.get(at).map_or(0, |word| i64::from_le_bytes(*word));
    let (seconds, nanoseconds) = (word(0), word(1));
    if seconds < 0 || !(0..1_000_000_000).contains(&nanoseconds) {
        return Err(Errno::Invalid);
    }
    if seconds != 0 || nanoseconds != 0 {
        return Err(Errno::NoSystemCall);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::WakeOp;
    use crate::abi::Errno;

    #[test]
    fn the_word_of_an_operation_is_taken_apart_as_linux_does() {
        // Operation, its argument, comparison, what with; the old value, the new one, whether it was as asked for.
        let table = [
            (0, 5, 0, 7, 7, 5, true),
            (1, -3, 1, 7, 7, 4, false),
            (2, 0x10, 2, -1, 0, 0x10, false),
            (3, 7, 3, 0, 0xFFFF_FFFF, 0xFFFF_FFF8, true),
            (4, 1, 4, -1, 0, 1, true),
            (8, 31, 5, 0, 0, 0x8000_0000, true),
            (9, -1, 0, 0, 0, 0x8000_0000, true),
        ];
        for (op, argument, comparison, with, old, new, is_as_asked) in table {
            let bits = |number: i32| number.cast_unsigned() & 0xFFF;
            let word = op << 28 | comparison << 24 | bits(argument) << 12 | bits(with);
            let op = WakeOp::decode(word);
            assert_eq!(op.apply(old), Ok(new), "{word:#x}");
            assert_eq!(op.compare(old), Ok(is_as_asked), "{word:#x}");
        }
        assert_eq!(WakeOp::decode(5 << 28).apply(0), Err(Errno::NoSystemCall));
        assert_eq!(WakeOp::decode(6 << 24).compare(0), Err(Errno::NoSystemCall));
    }
}
