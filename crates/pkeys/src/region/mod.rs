//! Regions: typed pages of a domain.
//!
//! A [`Region`] is a slice of elements on pages of its own. It holds an address, never a reference: LLVM may load through
//! a reference as soon as it exists, even an unused argument, and would do so while the key is closed. References are
//! born from an open window and borrow it.
//!
//! * [`mapping`]: the pages.
//! * [`guard`]: a window and a slice in one, shaped like a lock guard.
//! * [`one`]: the same for one value.
//! * [`slot`]: one value on pages of its own.
//! * [`file`]: the elements of a mapped file.
#![allow(unsafe_code, reason = "references into mapped pages")]

mod file;
mod guard;
pub(crate) mod mapping;
mod one;
mod slot;

use core::any::type_name;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::sync::Arc;

use pkeys_core::Rights;
use zerocopy::{FromZeros, Immutable};

pub use file::{FileAccess, FileRegion};
pub use guard::{Reading, Writing};
pub use mapping::MapError;
pub use one::{ReadingOne, WritingOne};
pub use slot::{PlaceError, Slot};

use crate::Domain;
use crate::domain::inner::DomainInner;
use crate::region::mapping::{Mapping, Secrecy};
use crate::sys::HUGE_PAGE_BYTES;
use crate::window::{OpenError, Window};

/// A slice of elements on pages of a domain.
///
/// Elements start as zeros, which [`FromZeros`] promises to be a value. They are not dropped with the region: its pages
/// are unmapped as they are.
pub struct Region<T> {
    mapping: Mapping,
    first: NonNull<T>,
    len: usize,
    _owns: PhantomData<T>,
}

// SAFETY: a region owns its elements; sending it sends them.
unsafe impl<T: Send> Send for Region<T> {}
// SAFETY: through a shared region elements are only read.
unsafe impl<T: Sync> Sync for Region<T> {}

impl Domain {
    /// Makes a region of `len` elements, all zeros, on pages of its own that start at a multiple of 2 MiB.
    ///
    /// # Errors
    ///
    /// [`MapError`]: the size is 0 or too large, or the kernel has no memory for it. Nothing is left behind.
    pub fn map<T: FromZeros>(&self, len: usize) -> Result<Region<T>, MapError> {
        self.map_named(type_name::<T>(), len)
    }

    /// As [`map`](Self::map), with a name of the region's own for reports instead of its element type's.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    pub fn map_named<T: FromZeros>(
        &self,
        label: &'static str,
        len: usize,
    ) -> Result<Region<T>, MapError> {
        Region::anonymous(&self.inner, label, len, Secrecy::Plain)
    }

    /// As [`map`](Self::map), for secrets: the pages are left out of core dumps, a child of `fork(2)` finds zeros in
    /// them, and the region is zeroed before it is unmapped.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    pub fn map_secret<T: FromZeros>(&self, len: usize) -> Result<Region<T>, MapError> {
        Region::anonymous(&self.inner, type_name::<T>(), len, Secrecy::Secret)
    }
}

impl<T: FromZeros> Region<T> {
    pub(crate) fn anonymous(
        domain: &Arc<DomainInner>,
        label: &'static str,
        len: usize,
        secrecy: Secrecy,
    ) -> Result<Self, MapError> {
        if align_of::<T>() > HUGE_PAGE_BYTES {
            return Err(MapError::Alignment {
                align_bytes: align_of::<T>(),
            });
        }
        let len_bytes = len.checked_mul(size_of::<T>()).ok_or(MapError::TooLarge {
            count: len,
            element_bytes: size_of::<T>(),
        })?;
        let mapping = Mapping::anonymous(domain, len_bytes, label, secrecy)?;
        Ok(Self {
            first: mapping.base().cast(),
            mapping,
            len,
            _owns: PhantomData,
        })
    }
}

impl<T> Region<T> {
    /// How many elements the region has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no elements: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The name of the domain that the region is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        &self.mapping.domain.name
    }

    /// The address of the first element. Touching memory there takes an open window.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.first.as_ptr()
    }

    /// Opens a window for writing and reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`Domain::open`].
    #[inline(always)]
    pub fn write(&mut self) -> Result<Writing<'_, T>, OpenError> {
        let window = Window::open(&self.mapping.domain, Rights::ReadWrite)?;
        // SAFETY: the elements are mapped for as long as the region is borrowed (1), exclusively (2), and the window
        // on their domain gives both rights (3).
        Ok(unsafe { Writing::new(window, self.first, self.len) })
    }

    /// The elements, for as long as both the region and a window that gives read and write are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] and [`OpenError::InsufficientRights`] when the window does not serve.
    #[inline(always)]
    pub fn get_mut<'a>(&'a mut self, window: &'a Window<'_>) -> Result<&'a mut [T], OpenError> {
        window.check(&self.mapping.domain, Rights::ReadWrite)?;
        // SAFETY: `len` elements are mapped from `first` on, zeroed or written since, and borrowed exclusively; the
        // window is open and borrowed as long.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) })
    }
}

impl<T: Immutable> Region<T> {
    /// Opens a window for reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`Domain::open`].
    #[inline(always)]
    pub fn read(&self) -> Result<Reading<'_, T>, OpenError> {
        let window = Window::open(&self.mapping.domain, Rights::ReadOnly)?;
        // SAFETY: the elements are mapped for as long as the region is borrowed (1), nobody writes through a shared
        // region (2), and the window on their domain lets them be read (3).
        Ok(unsafe { Reading::new(window, self.first, self.len) })
    }

    /// The elements, for as long as both the region and a window are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] when the window is on another domain.
    #[inline(always)]
    pub fn get<'a>(&'a self, window: &'a Window<'_>) -> Result<&'a [T], OpenError> {
        window.check(&self.mapping.domain, Rights::ReadOnly)?;
        // SAFETY: `len` elements are mapped from `first` on, zeroed or written since, and borrowed; the window is open
        // and borrowed as long.
        Ok(unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) })
    }
}

impl<T> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("domain", &self.domain_name())
            .field("first", &self.first)
            .field("len", &self.len)
            .finish()
    }
}
