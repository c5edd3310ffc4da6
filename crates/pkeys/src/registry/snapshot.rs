//! A sorted list that writers replace whole and that a signal handler reads without a lock.
//!
//! Writers are serialised by a mutex of their own, build a new list, publish it with one pointer store and retire the
//! old one. A reader announces itself in a counter, takes the pointer, copies out what it needs and leaves; it never
//! waits. A retired list is freed by a later writer that finds the counter at 0: every reader that starts after
//! that sees the newer pointer, because both sides use sequentially consistent operations. Nobody ever waits for a
//! reader, so a thread that is stopped, forked away or killed inside its few instructions costs memory, never progress.
#![allow(unsafe_code, reason = "publication by pointer, proven above")]

use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The published list, its readers, and the lists that readers may still hold.
#[repr(C)]
pub(crate) struct Snapshot<T: 'static> {
    /// Null, or a list that came from `Box::into_raw`.
    current: AtomicPtr<Vec<T>>,
    readers: AtomicUsize,
    /// Lists that are no longer published. The lock also serialises writers.
    retired: Mutex<Vec<Retired<T>>>,
}

/// The writers' lock.
pub(crate) type SnapshotLock<'s, T> = MutexGuard<'s, Vec<Retired<T>>>;

/// A list that is out of use but may still be read.
pub(crate) struct Retired<T: 'static>(
    #[expect(dead_code, reason = "kept for its drop")]
    #[expect(clippy::box_collection, reason = "readers hold the list's own address")]
    Box<Vec<T>>,
);

impl<T: Copy + Send + Sync> Snapshot<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            readers: AtomicUsize::new(0),
            retired: Mutex::new(Vec::new()),
        }
    }

    /// Gives `look` the list as it is published now. Lock-free, no allocation: for signal handlers too.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        self.readers.fetch_add(1, SeqCst);
        let current = self.current.load(SeqCst);
        // SAFETY: null or a published list, which is not freed while the counter, raised before the load, is not 0.
        let list = unsafe { current.as_ref() };
        let result = look(list.map_or(&[], Vec::as_slice));
        self.readers.fetch_sub(1, SeqCst);
        result
    }

    /// Replaces the list by what `change` makes of a copy, or leaves it when `change` fails.
    pub(crate) fn update<R, E>(
        &self,
        change: impl FnOnce(&mut Vec<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        // A panic in `change` has published nothing: the lock's data is whole.
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load(SeqCst);
        // SAFETY: null or a published list; only a writer retires it, and this one holds the lock.
        let mut list = unsafe { current.as_ref() }.cloned().unwrap_or_default();
        let result = change(&mut list)?;
        let old = self.current.swap(Box::into_raw(Box::new(list)), SeqCst);
        if !old.is_null() {
            // SAFETY: it came from Box::into_raw in an earlier update and is published no more.
            retired.push(Retired(unsafe { Box::from_raw(old) }));
        }
        if self.readers.load(SeqCst) == 0 {
            retired.clear();
        }
        Ok(result)
    }

    /// The writers' lock, held across `fork(2)` so that the child does not inherit it locked by a thread it has not.
    pub(crate) fn lock(&self) -> SnapshotLock<'_, T> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Snapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    fn push(snapshot: &Snapshot<i32>, n: i32) {
        let result = snapshot.update(|list| {
            list.push(n);
            Ok::<_, Infallible>(())
        });
        result.unwrap();
    }

    #[test]
    fn a_failed_change_publishes_nothing() {
        let snapshot = Snapshot::new();
        push(&snapshot, 1);
        let failed = snapshot.update(|list| {
            list.push(2);
            Err::<(), _>("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!(snapshot.read(<[i32]>::to_vec), [1]);
    }

    /// Every list that a reader sees is one that a writer made: all elements equal its length.
    #[test]
    fn readers_see_whole_lists_only() {
        let snapshot = Snapshot::<usize>::new();
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        snapshot.read(|list| assert!(list.iter().all(|&n| n == list.len())));
                    }
                });
            }
            for round in 0..2_000 {
                let len = round % 64;
                snapshot
                    .update(|list| {
                        list.clear();
                        list.resize(len, len);
                        Ok::<_, Infallible>(())
                    })
                    .unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        snapshot.update(|_| Ok::<_, Infallible>(())).unwrap();
        assert_eq!(snapshot.retired.lock().unwrap().len(), 0, "nothing leaks");
    }

    #[test]
    fn a_list_in_use_is_not_freed() {
        let snapshot = Snapshot::new();
        push(&snapshot, 1);
        snapshot.read(|before| {
            push(&snapshot, 2);
            push(&snapshot, 3);
            assert_eq!(before, [1]);
            assert_eq!(snapshot.retired.lock().unwrap().len(), 2);
        });
        push(&snapshot, 4);
        assert_eq!(snapshot.retired.lock().unwrap().len(), 0);
    }
}
