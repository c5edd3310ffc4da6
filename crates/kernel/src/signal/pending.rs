//! Signals that were sent and not yet delivered.
//!
//! A thread has a queue, and its process has one for signals that any thread may take. A signal below 32 is pending once;
//! what was told about a second one is lost. From 32 on each sending counts.
//!
//! Source: Linux `kernel/signal.c` (`__send_signal_locked`, `next_signal`, `dequeue_synchronous_signal`).

use alloc::vec::Vec;

use crate::signal::{SigInfo, SigSet, Signo};

/// The pending signals of one thread or one process, in the order of their arrival.
#[derive(Debug, Default)]
pub struct Pending {
    queue: Vec<SigInfo>,
    set: SigSet,
}

impl Pending {
    /// How many a queue holds, `RLIMIT_SIGPENDING` in Linux.
    pub const LIMIT: usize = 1024;

    /// Which signals are pending.
    #[must_use]
    pub const fn set(&self) -> SigSet {
        self.set
    }

    /// Adds one. `false` says that the queue is full; a signal below 32 that is pending already is dropped.
    pub fn push(&mut self, info: SigInfo) -> bool {
        if !info.signo.is_queued() && self.set.contains(info.signo) {
            return true;
        }
        // A signal below 32 always has a place: there is at most one of each.
        if info.signo.is_queued() && self.queue.len() >= Self::LIMIT {
            return false;
        }
        self.queue.push(info);
        self.set = self.set.or(SigSet::of(info.signo));
        true
    }

    /// Takes the next one that is not blocked: those that instructions raise first, then the lowest number.
    pub fn take(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let open = self.set.without(blocked);
        if open.is_empty() {
            return None;
        }
        let synchronous = open.and(SigSet::SYNCHRONOUS);
        let lowest = if synchronous.is_empty() {
            open
        } else {
            synchronous
        };
        let signo = i32::try_from(lowest.0.trailing_zeros() + 1).ok()?;
        self.take_one(Signo::new(signo)?)
    }

    /// Takes a signal that an instruction of this thread raised, which goes before everything else.
    pub fn take_raised(&mut self, blocked: SigSet) -> Option<SigInfo> {
        let open = self.set.without(blocked).and(SigSet::SYNCHRONOUS);
        if open.is_empty() {
            return None;
        }
        let at = self
            .queue
            .iter()
            .position(|info| info.code > 0 && open.contains(info.signo))?;
        Some(self.remove(at))
    }

    /// Drops every signal of a set.
    pub fn drop_set(&mut self, set: SigSet) {
        self.queue.retain(|info| !set.contains(info.signo));
        self.set = self.set.without(set);
    }

    fn take_one(&mut self, signo: Signo) -> Option<SigInfo> {
        let at = self.queue.iter().position(|info| info.signo == signo)?;
        Some(self.remove(at))
    }

    fn remove(&mut self, at: usize) -> SigInfo {
        let info = self.queue.remove(at);
        if !self.queue.iter().any(|other| other.signo == info.signo) {
            self.set = self.set.without(SigSet::of(info.signo));
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::Pending;
    use crate::keys::fault::Segv;
    use crate::signal::{SigInfo, SigSet, Signo};

    fn sent(signo: i32, pid: i32) -> SigInfo {
        SigInfo::user(Signo::new(signo).unwrap(), pid, 0)
    }

    #[test]
    fn standard_signals_are_pending_once_and_others_queue() {
        let mut pending = Pending::default();
        for pid in 0..3 {
            assert!(pending.push(sent(10, pid)));
            assert!(pending.push(sent(40, pid)));
        }
        assert_eq!(pending.take(SigSet::EMPTY), Some(sent(10, 0)));
        for pid in 0..3 {
            assert_eq!(pending.take(SigSet::EMPTY), Some(sent(40, pid)));
        }
        assert_eq!(pending.take(SigSet::EMPTY), None);
        assert_eq!(pending.set(), SigSet::EMPTY);
    }

    #[test]
    fn what_instructions_raise_goes_first_then_the_lowest() {
        let mut pending = Pending::default();
        let raised = SigInfo::segv(Segv::MAPERR, 1);
        for info in [sent(12, 1), sent(2, 1), raised, sent(50, 1)] {
            assert!(pending.push(info));
        }
        assert_eq!(pending.take_raised(SigSet(1 << 10)), None);
        assert_eq!(pending.take_raised(SigSet::EMPTY), Some(raised));
        // One that was sent is not raised, but still goes before lower numbers.
        assert!(pending.push(sent(11, 1)));
        assert_eq!(pending.take_raised(SigSet::EMPTY), None);
        let order = [11, 2, 12, 50];
        for signo in order {
            assert_eq!(pending.take(SigSet::EMPTY), Some(sent(signo, 1)));
        }
    }

    #[test]
    fn blocked_ones_wait_and_dropped_ones_are_gone() {
        let mut pending = Pending::default();
        assert!(pending.push(sent(10, 1)) && pending.push(sent(12, 1)));
        assert_eq!(pending.take(SigSet(1 << 9)), Some(sent(12, 1)));
        assert_eq!(pending.take(SigSet(1 << 9)), None);
        pending.drop_set(SigSet(1 << 9));
        assert_eq!(pending.take(SigSet::EMPTY), None);
    }

    #[test]
    fn a_queue_has_an_end() {
        let mut pending = Pending::default();
        for _ in 0..Pending::LIMIT {
            assert!(pending.push(sent(64, 1)));
        }
        assert!(!pending.push(sent(64, 1)));
        assert!(pending.push(sent(9, 1)));
    }
}
