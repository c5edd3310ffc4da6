//! The allocator that a collection in a domain carries.
#![allow(unsafe_code, reason = "an allocator")]

use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::heap::{Heap, HeapError};

/// A domain's heap as an allocator, good for as long as a window is open.
///
/// The lifetime is that of the window, and neither longer nor shorter will do for it (it is invariant). The allocator
/// stays on its thread, as the window does, and cannot be cloned: see the [module](super) for why. Temporary
/// collections can borrow it: a `&KeyedAlloc` is an allocator too. Their elements are then written through the window
/// that is open, so it must be one that writes; beside one that only reads the write is stopped.
pub struct KeyedAlloc<'w> {
    /// Keeps the memory, wherever the collection ends up.
    heap: Heap,
    _window: PhantomData<fn(&'w ()) -> &'w ()>,
    /// Touching what was allocated takes the thread's window.
    _not_send: PhantomData<*mut ()>,
}

impl KeyedAlloc<'_> {
    pub(super) fn new(heap: Heap) -> Self {
        Self {
            heap,
            _window: PhantomData,
            _not_send: PhantomData,
        }
    }

    /// The heap that the memory comes from.
    #[inline(always)]
    pub(super) fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The name of the domain that the memory is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        self.heap.domain_name()
    }
}

fn block(
    memory: Result<NonNull<u8>, HeapError>,
    layout: Layout,
) -> Result<NonNull<[u8]>, AllocError> {
    match memory {
        Ok(memory) => Ok(NonNull::slice_from_raw_parts(memory, layout.size())),
        // The trait's error is empty. The cause is `mmap(2)`'s: memory, or the address space.
        Err(_) => Err(AllocError),
    }
}

// SAFETY: memory stays valid as long as a handle of its heap lives, of which this allocator is one; there are no clones,
// and moving it moves a reference count. The heap keeps the promises on size and alignment.
unsafe impl Allocator for KeyedAlloc<'_> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        block(self.heap.allocate(layout), layout)
    }

    #[inline]
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's block of this allocator, which is the heap's (1), given up by its owner (2).
        unsafe { self.heap.deallocate(ptr, layout) };
    }

    #[inline]
    unsafe fn grow(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promises are those of `resize`, one for one.
        unsafe { self.resize(ptr, old_layout, new_layout) }
    }

    #[inline]
    unsafe fn shrink(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promises are those of `resize`, one for one.
        unsafe { self.resize(ptr, old_layout, new_layout) }
    }
}

impl KeyedAlloc<'_> {
    /// Moves a block to another layout.
    ///
    /// # Safety
    ///
    /// 1. `ptr` is a block of this allocator with the old layout, given up by its owner when this succeeds.
    unsafe fn resize(
        &self,
        ptr: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old_layout.align() == new_layout.align() {
            // SAFETY: the block is the heap's with that layout (1), and its old address is given up (2).
            let memory = unsafe { self.heap.reallocate(ptr, old_layout, new_layout.size()) };
            return block(memory, new_layout);
        }
        let moved = self.allocate(new_layout)?;
        let len_bytes = old_layout.size().min(new_layout.size());
        // SAFETY: both blocks have these bytes and are apart. The caller's window is open: it is the collection's.
        unsafe { ptr.copy_to_nonoverlapping(moved.cast(), len_bytes) };
        // SAFETY: the block is the heap's with that layout (1), and given up (2).
        unsafe { self.heap.deallocate(ptr, old_layout) };
        Ok(moved)
    }
}

impl fmt::Debug for KeyedAlloc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedAlloc")
            .field("domain", &self.domain_name())
            .finish()
    }
}
