//! Collections in a domain.
//!
//! A [`Keyed`] collection lies in the domain's heap whole: its elements, its tables, and its own header with the pointers to
//! them. The program holds an address. A window gives the collection itself, with all of its methods; when the
//! window is gone so is the reference.
//!
//! ```
//! # if pkeys::support().is_err() { return Ok(()) }
//! use pkeys::keyed::HashMap;
//! use pkeys::{Domain, Keyed};
//!
//! type Row = [u8; 16];
//!
//! let ledger = Domain::builder("ledger").create()?;
//! let mut index: Keyed<HashMap<u64, Row>> = ledger.keyed(|alloc| HashMap::new_in(alloc))?;
//! index.write()?.insert(7, *b"seven...........");
//! assert!(index.read()?.contains_key(&7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Why safe code cannot take a collection out of its window
//!
//! A `&mut` to a value lets safe code move the value out, if it has another one of the same type to put in its place
//! (`mem::replace`). A collection that was moved out would be used, or dropped, when its window is closed. What keeps it
//! in is that no other one can be had:
//!
//! * A collection's type has the allocator in it, [`KeyedAlloc`], and making a collection takes an allocator. One is
//!   given to the closure of [`Domain::keyed`](crate::Domain::keyed), under a lifetime that only this closure knows. It
//!   can be neither cloned nor made from nothing, so there is one for each collection, and it stays in it.
//! * The collections that can be keyed ([`Keyable`], a closed list) always have their allocator: none of their methods
//!   can give it up through a reference.
//! * Two collections may be swapped, through two guards. Each is then in the other's place, behind a window again.
//!   The allocator holds its heap, so the memory is there as long as the collection; and a place that finds a collection
//!   of another domain in it says so ([`OpenError::WrongDomain`]) instead of opening the wrong one.
//! * Neither guards nor allocators are `Send` or `Sync`: a window is its thread's.
//!
//! # What is not protected
//!
//! Elements that own memory (`String`, `Box`) own it outside the domain: the pointer is protected, what it points to is
//! not. A swap between domains, while both guards live, leaves each guard with data of the other's domain; when the
//! other one is closed first, an access is stopped like any stray access. An allocation that fails ends the program, as in
//! the standard library, unless a `try_` method was called.
//!
//! * `keyable`: which collections, and what they must promise.
//! * `alloc`: the allocator that is bound to a window.
//! * `cell`: the place in the heap where a collection stands, and the one place where its lifetime is changed.
#![allow(unsafe_code, reason = "a collection by address")]

mod alloc;
mod cell;
mod keyable;

use core::fmt;
use core::marker::PhantomData;

use pkeys_core::Rights;

pub use alloc::KeyedAlloc;
pub use keyable::{HashState, Keyable, Readable};

use crate::Domain;
use crate::heap::{Heap, HeapError};
use crate::keyed::cell::Cell;
use crate::region::{ReadingOne, WritingOne};
use crate::window::{OpenError, Window};

/// A hash map in a domain.
pub type HashMap<K, V, S = hashbrown::DefaultHashBuilder, A = KeyedAlloc<'static>> =
    hashbrown::HashMap<K, V, S, A>;

/// A hash set in a domain.
pub type HashSet<T, S = hashbrown::DefaultHashBuilder, A = KeyedAlloc<'static>> =
    hashbrown::HashSet<T, S, A>;

/// A growing array in a domain.
pub type Vec<T, A = KeyedAlloc<'static>> = allocator_api2::vec::Vec<T, A>;

/// One value of any type in a domain; see also [`Slot`](crate::Slot).
pub type Box<T, A = KeyedAlloc<'static>> = allocator_api2::boxed::Box<T, A>;

/// A collection while a window is open, to be read.
pub type KeyedReading<'g, C> = ReadingOne<'g, <C as Keyable>::In<'g>>;

/// A collection while a window for reading and writing is open.
pub type KeyedWriting<'g, C> = WritingOne<'g, <C as Keyable>::In<'g>>;

/// A collection that lives in a domain and is seen only through a window; see the [module](self).
pub struct Keyed<C: Keyable> {
    cell: Cell<C>,
    /// Keeps the place itself, whoever's collection stands in it.
    heap: Heap,
    _owns: PhantomData<C::Elements>,
}

// SAFETY: a keyed collection owns its elements, and its allocator works on any thread that has a window; it is the
// windows that are bound to a thread.
unsafe impl<C: Keyable> Send for Keyed<C> where C::Elements: Send {}
// SAFETY: through a shared one the elements are only lent out shared, and its allocator is behind a lock.
unsafe impl<C: Keyable> Sync for Keyed<C> where C::Elements: Sync {}

impl Domain {
    /// Makes a collection in the domain: `make` gets an allocator, inside a window, and gives an empty or a filled
    /// collection that uses it.
    ///
    /// ```
    /// # if pkeys::support().is_err() { return Ok(()) }
    /// # let ledger = pkeys::Domain::builder("ledger").create()?;
    /// use pkeys::keyed::HashMap;
    ///
    /// let index = ledger.keyed::<HashMap<u64, u64>>(|alloc| HashMap::with_capacity_in(1_000, alloc))?;
    /// assert!(index.read()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HeapError`]: the domain has no memory for the collection's header, or no window opens. Nothing is left behind.
    pub fn keyed<C: Keyable>(
        &self,
        make: impl for<'w> FnOnce(KeyedAlloc<'w>) -> C::In<'w>,
    ) -> Result<Keyed<C>, HeapError> {
        let heap = self.heap()?;
        Ok(Keyed {
            cell: Cell::new(&heap, make)?,
            heap,
            _owns: PhantomData,
        })
    }

    /// An empty hash map in the domain.
    ///
    /// # Errors
    ///
    /// As for [`keyed`](Self::keyed).
    pub fn keyed_map<K, V>(&self) -> Result<Keyed<HashMap<K, V>>, HeapError> {
        self.keyed::<HashMap<K, V>>(|alloc| hashbrown::HashMap::new_in(alloc))
    }

    /// An empty growing array in the domain.
    ///
    /// # Errors
    ///
    /// As for [`keyed`](Self::keyed).
    pub fn keyed_vec<T>(&self) -> Result<Keyed<Vec<T>>, HeapError> {
        self.keyed::<Vec<T>>(|alloc| allocator_api2::vec::Vec::new_in(alloc))
    }
}

impl<C: Keyable> Keyed<C> {
    /// Opens a window for writing and reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`Domain::open`]; [`OpenError::WrongDomain`] when the collection was swapped with one of another domain.
    #[inline(always)]
    pub fn write(&mut self) -> Result<KeyedWriting<'_, C>, OpenError> {
        let window = Window::open(self.heap.domain(), Rights::ReadWrite)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there as long as this is borrowed (1), exclusively (2), and the window on its domain,
        // which was checked, gives both rights (3).
        Ok(unsafe { WritingOne::new(window, self.cell.at()) })
    }

    /// Opens a window for writing and reading on a collection that is only lent out shared: for elements with interior
    /// mutability, and for those of which [`Readable`] does not know that they have none (`String`).
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    #[inline(always)]
    pub fn share(&self) -> Result<KeyedReading<'_, C>, OpenError> {
        let window = Window::open(self.heap.domain(), Rights::ReadWrite)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there as long as this is borrowed (1), shared (2), and the window on its domain, which
        // was checked, gives both rights (3).
        Ok(unsafe { ReadingOne::new(window, self.cell.at()) })
    }

    /// The collection, for as long as both this and a window that gives read and write are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] and [`OpenError::InsufficientRights`] when the window does not serve.
    #[inline(always)]
    pub fn get_mut<'a>(
        &'a mut self,
        window: &'a Window<'_>,
    ) -> Result<&'a mut C::In<'a>, OpenError> {
        window.check(self.heap.domain(), Rights::ReadWrite)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there and borrowed exclusively; the window on its domain, which was checked, is open
        // and borrowed as long.
        Ok(unsafe { self.cell.at().as_mut() })
    }

    /// The collection, lent out shared, for as long as both this and a window that gives read and write are borrowed; see
    /// [`share`](Self::share).
    ///
    /// # Errors
    ///
    /// As for [`get_mut`](Self::get_mut).
    #[inline(always)]
    pub fn get_shared<'a>(&'a self, window: &'a Window<'_>) -> Result<&'a C::In<'a>, OpenError> {
        window.check(self.heap.domain(), Rights::ReadWrite)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there and borrowed; the window on its domain, which was checked, is open and
        // borrowed as long.
        Ok(unsafe { self.cell.at().as_ref() })
    }

    /// The name of the domain that the collection is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        self.heap.domain_name()
    }
}

impl<C: Readable> Keyed<C> {
    /// Opens a window for reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    #[inline(always)]
    pub fn read(&self) -> Result<KeyedReading<'_, C>, OpenError> {
        let window = Window::open(self.heap.domain(), Rights::ReadOnly)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there as long as this is borrowed (1), shared (2), and the window on its domain, which
        // was checked, lets it be read (3).
        Ok(unsafe { ReadingOne::new(window, self.cell.at()) })
    }

    /// The collection, for as long as both this and a window are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] when the window, or the collection after a swap, is on another domain.
    #[inline(always)]
    pub fn get<'a>(&'a self, window: &'a Window<'_>) -> Result<&'a C::In<'a>, OpenError> {
        window.check(self.heap.domain(), Rights::ReadOnly)?;
        // SAFETY: the window is on the cell's domain (1).
        unsafe { self.cell.check(&self.heap) }?;
        // SAFETY: the collection is there and borrowed; the window on its domain, which was checked, is open and
        // borrowed as long.
        Ok(unsafe { self.cell.at().as_ref() })
    }
}

impl<C: Keyable> Drop for Keyed<C> {
    /// Drops the collection in a window of its own. Where none opens (which does not happen with protection keys) the
    /// collection stays in its heap, and the heap with it.
    fn drop(&mut self) {
        // SAFETY: this is the end of the cell, whose heap this is (1), and nobody has borrowed it (2).
        unsafe { self.cell.destroy(&self.heap) };
    }
}

impl<C: Keyable> fmt::Debug for Keyed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("domain", &self.domain_name())
            .field("type", &core::any::type_name::<C>())
            .finish()
    }
}
