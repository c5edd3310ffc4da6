//! The allocator inside a domain: raw memory of any size, for collections and for code that is written like C.
//!
//! A domain has one heap at a time, made when it is first asked for and owned by its handles. Everything that the
//! allocator knows lies in keyed pages too ([`pool`]): a stray write can reach neither the free lists nor the sizes, so
//! that what is handed out can be trusted as much as the data itself. Outside are a mutex and the list of mappings.
//!
//! Each operation opens a window of its own for the allocator's bookkeeping. Where the caller has one open already, that
//! costs a comparison; where not, two WRPKRU. The caller's own accesses need the caller's own window: the memory that
//! [`Heap::allocate`] gives is closed like all memory of the domain.
//!
//! The domain knows its heap by a weak reference only. The heap's mappings hold the domain, and a cycle would keep both
//! for ever.
//!
//! Not done here: memory that was freed is not cleared (see [`Slot`](crate::Slot) for secrets), and pages go back to the
//! kernel with the heap, not before. A heap cannot be the program's global allocator: it calls that one when it grows. In
//! a child of `fork(2)` its lock is as another thread may have left it, like any lock.
#![allow(unsafe_code, reason = "memory by address")]

mod error;
mod pool;

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pkeys_core::Rights;

pub use error::HeapError;

use crate::Domain;
use crate::domain::inner::DomainInner;
use crate::heap::pool::Pool;
use crate::region::MapError;
use crate::window::{OpenError, Window};

/// A handle of the allocator inside a domain. Clones are handles of the same heap, on any thread.
///
/// The memory lives as long as a handle of its heap does, a collection in the domain being one too; the last one to go
/// unmaps it all, freed or not.
///
/// ```
/// # if pkeys::support().is_err() { return Ok(()) }
/// use core::alloc::Layout;
/// use pkeys::{Domain, Rights};
///
/// let ledger = Domain::builder("ledger").create()?;
/// let heap = ledger.heap()?;
/// let memory = heap.allocate(Layout::new::<u64>())?.cast::<u64>();
/// {
///     let _window = ledger.open(Rights::ReadWrite)?;
///     # #[allow(unsafe_code)]
///     // SAFETY: eight aligned bytes of this code's own, in an open window.
///     unsafe { memory.write(7) };
/// }
/// # #[allow(unsafe_code)]
/// // SAFETY: allocated above with this layout, used no more.
/// unsafe { heap.deallocate(memory.cast(), Layout::new::<u64>()) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Heap {
    shared: Arc<Shared>,
}

/// What the handles of a heap share.
struct Shared {
    domain: Arc<DomainInner>,
    pool: Mutex<Pool>,
}

/// Where a domain keeps its heap for the next one to ask.
#[derive(Default)]
pub(crate) struct Anchor(Mutex<Weak<Shared>>);

impl Domain {
    /// A handle of the domain's heap, which is made if nobody has one.
    ///
    /// # Errors
    ///
    /// [`MapError`]: the kernel has no memory for its first pages. Nothing is left behind.
    pub fn heap(&self) -> Result<Heap, MapError> {
        // What the lock guards is whole at any time: a panic elsewhere does not spoil it.
        let mut anchor = self
            .inner
            .heap
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = anchor.upgrade() {
            return Ok(Heap { shared });
        }
        let shared = Arc::new(Shared {
            domain: Arc::clone(&self.inner),
            pool: Mutex::new(Pool::new(&self.inner)?),
        });
        *anchor = Arc::downgrade(&shared);
        Ok(Heap { shared })
    }
}

impl Heap {
    /// Takes memory out of the heap, which grows where it must. What is in the memory is unspecified. A size of 0 gets
    /// an address of its own.
    ///
    /// Touching the memory takes an open window on the domain.
    ///
    /// # Errors
    ///
    /// [`HeapError`]: the size is beyond what the heap can have, the kernel has no memory left, or no window opens.
    #[inline]
    pub fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        let _window = self.open()?;
        // SAFETY: a window on the pool's domain is open until after the lock is released (1).
        unsafe { self.lock().allocate(&self.shared.domain, layout) }
    }

    /// Gives memory back. Where no window opens (which does not happen with protection keys) it stays allocated.
    ///
    /// # Safety
    ///
    /// 1. `memory` was allocated by this heap with this layout, or moved by [`reallocate`](Self::reallocate) and has this
    ///    layout now, and was not given back before.
    /// 2. Nobody uses it any more.
    #[inline]
    pub unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if let Ok(_window) = self.open() {
            // SAFETY: a window on the pool's domain is open until after the lock is released (1); the memory is the
            // pool's with that alignment, and unused: the caller's word (2).
            unsafe { self.lock().deallocate(memory, layout) };
        }
    }

    /// Changes the size of memory and keeps its contents up to the smaller of both sizes. It may move.
    ///
    /// # Errors
    ///
    /// As for [`allocate`](Self::allocate); the memory is then where and what it was.
    ///
    /// # Safety
    ///
    /// 1. `memory` and `layout` are as for [`deallocate`](Self::deallocate).
    /// 2. When this succeeds, nobody uses the old address any more.
    #[inline]
    pub unsafe fn reallocate(
        &self,
        memory: NonNull<u8>,
        layout: Layout,
        new_size_bytes: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        let new_layout = Layout::from_size_align(new_size_bytes, layout.align()).map_err(|_| {
            HeapError::TooLarge {
                size_bytes: new_size_bytes,
                align_bytes: layout.align(),
            }
        })?;
        let _window = self.open()?;
        let mut pool = self.lock();
        // SAFETY: a window on the pool's domain is open until after the lock is released (1); the memory is the pool's
        // with that alignment, and the old address is used no more: the caller's word (2).
        unsafe { pool.reallocate(&self.shared.domain, memory, new_layout) }
    }

    /// How many bytes may be used at an address: at least the size that was asked for.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: no window opens, which does not happen with protection keys.
    ///
    /// # Safety
    ///
    /// 1. `memory` was allocated by this heap and not given back.
    #[inline]
    pub unsafe fn usable_size(&self, memory: NonNull<u8>) -> Result<usize, OpenError> {
        let _window = self.open()?;
        // SAFETY: a window on the pool's domain is open until after the lock is released (1); the memory is the pool's:
        // the caller's word (2).
        Ok(unsafe { self.lock().usable_size(memory) })
    }

    /// How much memory the heap has mapped, in bytes: free, in use and its own table.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.lock().mapped_bytes()
    }

    /// The name of the domain that the heap is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        &self.shared.domain.name
    }

    /// The domain that the heap is in.
    pub(crate) fn domain(&self) -> &DomainInner {
        &self.shared.domain
    }

    /// Whether both are handles of heaps in the same domain.
    #[inline(always)]
    pub(crate) fn is_in_domain_of(&self, other: &Self) -> bool {
        // One heap a domain, but for the moment in which one goes and another comes.
        Arc::ptr_eq(&self.shared, &other.shared)
            || Arc::ptr_eq(&self.shared.domain, &other.shared.domain)
    }

    #[inline(always)]
    fn open(&self) -> Result<Window<'_>, OpenError> {
        Window::open(&self.shared.domain, Rights::ReadWrite)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // The pool's operations do not panic half way.
        self.shared
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("domain", &self.domain_name())
            .field("mapped_bytes", &self.mapped_bytes())
            .finish()
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anchor")
    }
}
