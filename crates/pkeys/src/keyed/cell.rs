//! The place in a domain's heap where a collection's header stands.
//!
//! This is where lifetimes are exchanged, in [`Cell::at`] alone: a collection is stored under one lifetime (that of the
//! window it was made in) and lent out under another (that of the window it is used in). The types differ in nothing
//! else.
#![allow(unsafe_code, reason = "a collection by address")]

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use pkeys_core::Rights;

use crate::heap::{Heap, HeapError};
use crate::keyed::{Keyable, KeyedAlloc};
use crate::window::{OpenError, Window};

/// The address of a collection in a heap.
///
/// Invariant: from [`Cell::new`] to [`Cell::destroy`] a collection stands at the address, which only a thread with a
/// window on the heap's domain looks at.
pub(super) struct Cell<C: Keyable> {
    place: NonNull<u8>,
    _stored: PhantomData<*mut C>,
}

impl<C: Keyable> Cell<C> {
    /// What a header takes. A lifetime changes no layout.
    const LAYOUT: Layout = Layout::new::<C::In<'static>>();

    /// Makes a collection in a heap.
    pub(super) fn new(
        heap: &Heap,
        make: impl for<'w> FnOnce(KeyedAlloc<'w>) -> C::In<'w>,
    ) -> Result<Self, HeapError> {
        let memory = Memory {
            heap,
            place: heap.allocate(Self::LAYOUT)?,
            layout: Self::LAYOUT,
        };
        let _window = Window::open(heap.domain(), Rights::ReadWrite)?;
        let collection = make(KeyedAlloc::new(heap.clone()));
        // SAFETY: the memory has the layout of this type and is nobody else's; the window is open.
        unsafe { memory.place.cast().write(collection) };
        let place = memory.place;
        core::mem::forget(memory);
        Ok(Self {
            place,
            _stored: PhantomData,
        })
    }

    /// The collection's address, under the lifetime of a window. A reference made from it must end with a window that is
    /// open on the collection's domain.
    #[inline(always)]
    pub(super) fn at<'w>(&self) -> NonNull<C::In<'w>> {
        self.place.cast()
    }

    /// Checks that the collection is of the same domain as the heap in which it stands: it may have been swapped.
    ///
    /// # Safety
    ///
    /// 1. A window on the cell's domain is open on this thread.
    #[inline(always)]
    pub(super) unsafe fn check(&self, heap: &Heap) -> Result<(), OpenError> {
        // SAFETY: a collection stands there; the window is open (1).
        let collection = unsafe { self.at().as_ref() };
        let owner = C::allocator(collection).heap();
        if owner.is_in_domain_of(heap) {
            return Ok(());
        }
        Err(wrong_domain(heap, owner))
    }

    /// Drops the collection and gives its place back, or leaks both where no window opens.
    ///
    /// # Safety
    ///
    /// 1. `heap` is the cell's, and the cell is not used again.
    /// 2. No reference to the collection is left.
    pub(super) unsafe fn destroy(&mut self, heap: &Heap) {
        let Ok(_window) = Window::open(heap.domain(), Rights::ReadWrite) else {
            return;
        };
        // SAFETY: a collection stands there; the window is open.
        let collection = unsafe { self.at().as_ref() };
        // Held until both windows are closed: the collection's own hold on its heap goes with it.
        let owner = C::allocator(collection).heap().clone();
        let Ok(_window_of_owner) = Window::open(owner.domain(), Rights::ReadWrite) else {
            return;
        };
        // Given back when the collection is gone, even if an element's destructor panics.
        let _memory = Memory {
            heap,
            place: self.place,
            layout: Self::LAYOUT,
        };
        // SAFETY: nobody has the collection (2), nobody will look again (1), and the windows on the domains of its header
        // and of its elements are open.
        unsafe { self.at().drop_in_place() };
    }
}

#[cold]
fn wrong_domain(heap: &Heap, owner: &Heap) -> OpenError {
    OpenError::WrongDomain {
        window: heap.domain_name().into(),
        region: owner.domain_name().into(),
    }
}

/// Memory of a heap, given back on drop.
struct Memory<'h> {
    heap: &'h Heap,
    place: NonNull<u8>,
    layout: Layout,
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // SAFETY: the memory came from this heap with this layout (1) and holds nothing that is used (2).
        unsafe { self.heap.deallocate(self.place, self.layout) };
    }
}
