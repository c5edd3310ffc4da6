//! Locks of threads that end: `set_robust_list(2)`.
//!
//! A thread keeps a list of the locks that it holds, in its own memory, and the kernel is told where. When the thread ends,
//! the kernel goes through the list and marks each lock that says that it is this thread's, so that whoever waits for it
//! learns that its owner has died. The list may be anything: it is followed so far, and no farther.
//!
//! The accesses are the thread's own, under its keys: what it could not reach stays as it is. So a thread that has such a
//! list ends on a CPU, also if it was ended by somebody else while it waited. A mark is one step for all CPUs if the
//! hardware has such a step ([`Cpu::exchange_user`]).
//!
//! Source: Linux `kernel/futex/core.c` (`exit_robust_list`, `handle_futex_death`);
//! `Documentation/locking/robust-futex-ABI.rst`.
//!
//! [`Cpu::exchange_user`]: crate::hardware::Cpu::exchange_user

use crate::abi::Errno;
use crate::abi::task::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;

/// The size of `struct robust_list_head`.
const HEAD_LEN: u64 = 24;

/// So many locks are looked at: `ROBUST_LIST_LIMIT`.
const LIMIT: usize = 2048;

/// Bit 0 of a pointer in the list: the lock hands on its owner's priority. Here none does, and it is only marked.
const PI: u64 = 1;

/// A lock in the list.
#[derive(Debug, Clone, Copy)]
struct Lock {
    /// Where its word is.
    addr: u64,
    is_pi: bool,
    /// Whether the thread was about to take it or to release it.
    is_pending: bool,
}

impl<P: Platform> Kernel<P> {
    /// `long set_robust_list(struct robust_list_head *head, size_t len);`
    pub(crate) fn set_robust_list(
        &self,
        here: &Here<'_, P>,
        head: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        if len != HEAD_LEN {
            return Err(Errno::Invalid);
        }
        here.running.thread.ids.lock().robust = head;
        Ok(0)
    }

    /// `long get_robust_list(int pid, struct robust_list_head **head_ptr, size_t *len_ptr);`
    pub(crate) fn get_robust_list(
        &self,
        here: &Here<'_, P>,
        tid: i32,
        head_at: u64,
        len_at: u64,
    ) -> Result<u64, Errno> {
        let head = if tid == 0 {
            here.running.thread.ids.lock().robust
        } else {
            let tasks = self.tasks.lock();
            let entry = tasks.threads.get(&tid).ok_or(Errno::NoProcess)?;
            entry.thread.ids.lock().robust
        };
        here.write(len_at, &HEAD_LEN.to_le_bytes())?;
        here.write(head_at, &head.to_le_bytes())?;
        Ok(0)
    }

    /// The running thread ends, or becomes another program.
    pub(crate) fn leave_locks(&self, here: &Here<'_, P>) {
        let head = core::mem::take(&mut here.running.thread.ids.lock().robust);
        if head != 0 {
            // Where the list cannot be followed it ends, and nobody is told.
            let _ = self.walk_list(here, head);
        }
    }

    fn walk_list(&self, here: &Here<'_, P>, head: u64) -> Result<(), Errno> {
        let pointer = |addr| here.read_u64(addr).map(|word| (word & !PI, word & PI != 0));
        let (mut entry, mut is_pi) = pointer(head)?;
        let offset = here.read_u64(head.wrapping_add(8))?;
        let (pending, is_pending_pi) = pointer(head.wrapping_add(16))?;
        for _ in 0..LIMIT {
            if entry == head {
                break;
            }
            // Others may have the lock as soon as it is marked: where the list goes on is read before.
            let next = pointer(entry);
            if entry != pending {
                let lock = Lock {
                    addr: entry.wrapping_add(offset),
                    is_pi,
                    is_pending: false,
                };
                self.mark_lock(here, lock)?;
            }
            (entry, is_pi) = next?;
        }
        if pending != 0 {
            let lock = Lock {
                addr: pending.wrapping_add(offset),
                is_pi: is_pending_pi,
                is_pending: true,
            };
            self.mark_lock(here, lock)?;
        }
        Ok(())
    }

    /// One lock. A pending one may be nobody's: then the next one is woken, which this thread cannot do any more.
    fn mark_lock(&self, here: &Here<'_, P>, lock: Lock) -> Result<(), Errno> {
        if !lock.addr.is_multiple_of(4) {
            return Err(Errno::Invalid);
        }
        let mut word = here.read_u32(lock.addr)?;
        loop {
            let owner = word & FUTEX_TID_MASK;
            if lock.is_pending && !lock.is_pi && owner == 0 {
                self.wake_after_end(here, lock.addr);
                return Ok(());
            }
            if owner != here.tid().cast_unsigned() & FUTEX_TID_MASK {
                return Ok(());
            }
            let new = word & FUTEX_WAITERS | FUTEX_OWNER_DIED;
            let found = here.exchange(lock.addr, word, new)?;
            if found == word {
                break;
            }
            word = found;
        }
        if !lock.is_pi && word & FUTEX_WAITERS != 0 {
            self.wake_after_end(here, lock.addr);
        }
        Ok(())
    }
}
