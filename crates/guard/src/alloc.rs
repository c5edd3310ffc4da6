//! The allocator of this library's own code: a table of free blocks behind one lock, and memory from the kernel.
//!
//! The allocator of this library's C library will not do, as its namespace hears nothing of what the program does with threads and
//! processes. The program forks by another C library: were a second thread in the middle of an allocation, the child would wait
//! for ever. And a thread's end is told to another C library: what `malloc(3)` sets aside for each thread would stay. Here
//! nothing belongs to a thread, and a fork takes the lock. It spins, as it is held shortly and seldom wanted by two. A handler
//! that interrupted its holder would spin for ever: code of the program's threads allocates with signals blocked ([`quiet`](crate::quiet)).
#![allow(unsafe_code, reason = "an allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::map;

/// The allocator.
struct Own {
    is_locked: AtomicBool,
    table: UnsafeCell<Table>,
}

type Table = rlsf::Tlsf<'static, u32, u32, 32, 32>;

// SAFETY: the table is used by the holder of the lock alone.
unsafe impl Sync for Own {}

#[global_allocator]
static OWN: Own = Own {
    is_locked: AtomicBool::new(false),
    table: UnsafeCell::new(Table::new()),
};

/// What is mapped at least.
const MAPPED_BYTES: usize = 1 << 20;

/// Keeps other threads out of the allocator. For the thread that forks, which must not allocate until [`unlock`].
pub(crate) fn lock() {
    while OWN
        .is_locked
        .compare_exchange_weak(false, true, Acquire, Relaxed)
        .is_err()
    {
        std::thread::yield_now();
    }
}

/// Lets them in again, in the parent and in the child.
pub(crate) fn unlock() {
    OWN.is_locked.store(false, Release);
}

impl Own {
    fn with<R>(&self, body: impl FnOnce(&mut Table) -> R) -> R {
        lock();
        // SAFETY: the lock's holder is the only one, and calls nothing that would allocate.
        let result = body(unsafe { &mut *self.table.get() });
        unlock();
        result
    }
}

/// Maps memory for a block of that length, with room for what the table keeps beside it.
fn grow(table: &mut Table, layout: Layout) -> Option<()> {
    let wanted = layout.size().checked_add(layout.align())?;
    // The table finds blocks by classes, a thirty-second of their length apart, and takes the next one above.
    let len_bytes = wanted
        .checked_add(wanted / 16 + 16 * rlsf::GRANULARITY)?
        .max(MAPPED_BYTES);
    let len_bytes = len_bytes.checked_next_multiple_of(map::PAGE_BYTES)?;
    let start = map::anonymous(len_bytes)?;
    let start = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(start))?;
    let block = NonNull::slice_from_raw_parts(start, len_bytes);
    // SAFETY: just mapped, and never unmapped.
    unsafe { table.insert_free_block_ptr(block) }.map(|_| ())
}

// SAFETY: blocks of the table, which do not overlap and stay until they are given back.
unsafe impl GlobalAlloc for Own {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.with(|table| {
            table.allocate(layout).or_else(|| {
                grow(table, layout)?;
                table.allocate(layout)
            })
        });
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller's block, of that alignment.
            self.with(|table| unsafe { table.deallocate(block, layout.align()) });
        }
    }
}

#[cfg(test)]
mod tests {
    /// The tests of this crate use it, as all of its code does.
    #[test]
    fn blocks_are_aligned_apart_and_used_again() {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for round in 0..200 {
            let len = 1 << (round % 23);
            all.push(vec![u8::try_from(round).unwrap(); len]);
            if round % 3 == 0 {
                all.swap_remove(round / 5);
            }
        }
        for block in &all {
            assert!(block.iter().all(|byte| *byte == block[0]));
        }
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        let page = Box::new(Page([7; 4096]));
        assert_eq!(core::ptr::from_ref(&*page).addr() % 4096, 0);
        assert_eq!(page.0[4095], 7);
    }
}
