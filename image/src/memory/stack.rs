//! Stacks of threads, between pages that are not mapped: one that overflows ends in a double fault, not in somebody's data.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::frames;
use super::kernel_tables::{self, DATA, OutOfMemory};
use super::layout::{PAGE, STACKS};
use crate::sync::Spin;

extern crate alloc;
use alloc::vec::Vec;

/// The pages of a stack.
const PAGES: u64 = 8;
/// The addresses that one takes, with the page below it.
const SLOT: u64 = (PAGES + 1) * PAGE;

/// The next address that no stack has had, and the stacks that are free, mapped as they are.
static NEXT: AtomicU64 = AtomicU64::new(STACKS);
static FREE: Spin<Vec<u64>> = Spin::new(Vec::new());

/// A stack, given back when dropped.
#[derive(Debug)]
pub(crate) struct Stack {
    top: u64,
}

impl Stack {
    /// A stack that nobody uses.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        if let Some(top) = FREE.lock().pop() {
            return Ok(Self { top });
        }
        let slot = NEXT.fetch_add(SLOT, Relaxed);
        for page in 1..=PAGES {
            let frame = frames::allocate_one().ok_or(OutOfMemory)?;
            kernel_tables::map(slot + page * PAGE, frame, DATA)?;
        }
        Ok(Self { top: slot + SLOT })
    }

    /// The address behind it: what the stack pointer starts with.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        FREE.lock().push(self.top);
    }
}
