//! Slots: one value on pages of its own, for secrets and for the few words on which everything else depends.
//!
//! The pages are left out of core dumps, read as zeros in a child of `fork(2)`, and are cleared before they are unmapped.
//! The value's type must therefore be valid when it is all zeros: that is what the child finds.
//!
//! A value that is moved into a slot was somewhere else before. What [`Domain::place`] can reach of that, its own argument,
//! it clears; copies that the compiler made on the way it cannot. [`Domain::place_with`] makes the value where it
//! stays, and there is no other copy.
#![allow(unsafe_code, reason = "a value by address")]

use core::any::type_name;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use pkeys_core::Rights;
use zerocopy::{FromZeros, Immutable};
use zeroize::Zeroize;

use crate::Domain;
use crate::region::mapping::{MapError, Mapping, Secrecy};
use crate::region::one::{ReadingOne, WritingOne};
use crate::sys::HUGE_PAGE_BYTES;
use crate::window::{OpenError, Window};

/// One value on pages of a domain: not dumped, not inherited by a child of `fork(2)`, cleared when it goes.
///
/// ```
/// # if pkeys::support().is_err() { return Ok(()) }
/// use pkeys::{Domain, Slot};
///
/// let vault = Domain::builder("vault").create()?;
/// let key: Slot<[u8; 32]> = vault.place_with(|key: &mut [u8; 32]| key.fill(7))?;
/// assert_eq!(key.read()?[31], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Slot<T> {
    value: NonNull<T>,
    /// Cleared and unmapped after the value was dropped.
    mapping: Mapping,
    _owns: PhantomData<T>,
}

// SAFETY: a slot owns its value; sending it sends the value.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: through a shared slot the value is only read.
unsafe impl<T: Sync> Sync for Slot<T> {}

impl Domain {
    /// Puts a value on pages of its own, and clears the argument that it came in.
    ///
    /// # Errors
    ///
    /// [`PlaceError`]: no memory, or no window. The value is dropped, its argument cleared; nothing is left behind.
    pub fn place<T: FromZeros>(&self, mut value: T) -> Result<Slot<T>, PlaceError> {
        let slot = self.place_from(Cleared(&mut value));
        // Zeros by now, whose destructor nobody has asked for.
        core::mem::forget(value);
        slot
    }

    /// Makes a value in its place: `make` starts from zeros, which [`FromZeros`] promises to be a value, inside a window.
    ///
    /// # Errors
    ///
    /// [`PlaceError`]: no memory, or no window. Nothing is left behind.
    pub fn place_with<T: FromZeros>(
        &self,
        make: impl FnOnce(&mut T),
    ) -> Result<Slot<T>, PlaceError> {
        let mut place = Place::new(self)?;
        // SAFETY: the pages are mapped, zeroed, open and nobody else's.
        make(unsafe { place.value.as_mut() });
        Ok(place.finish())
    }

    fn place_from<T: FromZeros>(&self, source: Cleared<'_, T>) -> Result<Slot<T>, PlaceError> {
        let place = match Place::new(self) {
            Ok(place) => place,
            Err(error) => {
                // SAFETY: the value is there; zeros take its place before anyone looks.
                unsafe { core::ptr::drop_in_place(source.0) };
                return Err(error);
            }
        };
        let value = NonNull::from_ref(source.0);
        // SAFETY: the pages are mapped, open and apart from the source, in which zeros take the value's place.
        unsafe { place.value.copy_from_nonoverlapping(value, 1) };
        Ok(place.finish())
    }
}

/// A value that is about to be moved out or dropped; zeros, a value again, take its place in the end.
struct Cleared<'a, T: FromZeros>(&'a mut T);

impl<T: FromZeros> Drop for Cleared<'_, T> {
    fn drop(&mut self) {
        let bytes = core::ptr::from_mut(self.0).cast::<MaybeUninit<u8>>();
        // SAFETY: the bytes of the borrowed place, as bytes that may be anything; zeros are a value of its type.
        unsafe { core::slice::from_raw_parts_mut(bytes, size_of::<T>()) }.zeroize();
    }
}

/// Pages for a value that does not stand on them yet, and a window on them.
struct Place<'a, T> {
    value: NonNull<T>,
    window: Window<'a>,
    mapping: Mapping,
}

impl<'a, T: FromZeros> Place<'a, T> {
    fn new(domain: &'a Domain) -> Result<Self, PlaceError> {
        if align_of::<T>() > HUGE_PAGE_BYTES {
            return Err(PlaceError::Map(MapError::Alignment {
                align_bytes: align_of::<T>(),
            }));
        }
        let label = type_name::<T>();
        let mapping = Mapping::anonymous(&domain.inner, size_of::<T>(), label, Secrecy::Secret)?;
        Ok(Self {
            value: mapping.base().cast(),
            window: Window::open(&domain.inner, Rights::ReadWrite)?,
            mapping,
        })
    }

    fn finish(self) -> Slot<T> {
        let Self {
            value,
            window,
            mapping,
        } = self;
        drop(window);
        Slot {
            value,
            mapping,
            _owns: PhantomData,
        }
    }
}

impl<T> Slot<T> {
    /// Opens a window for writing and reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`Domain::open`].
    #[inline(always)]
    pub fn write(&mut self) -> Result<WritingOne<'_, T>, OpenError> {
        let window = Window::open(&self.mapping.domain, Rights::ReadWrite)?;
        // SAFETY: the value is there for as long as the slot is borrowed (1), exclusively (2), and the window on its
        // domain gives both rights (3).
        Ok(unsafe { WritingOne::new(window, self.value) })
    }

    /// The value, for as long as both the slot and a window that gives read and write are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] and [`OpenError::InsufficientRights`] when the window does not serve.
    #[inline(always)]
    pub fn get_mut<'a>(&'a mut self, window: &'a Window<'_>) -> Result<&'a mut T, OpenError> {
        window.check(&self.mapping.domain, Rights::ReadWrite)?;
        // SAFETY: the value is there and borrowed exclusively; the window is open and borrowed as long.
        Ok(unsafe { self.value.as_mut() })
    }

    /// The name of the domain that the slot is in.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        &self.mapping.domain.name
    }

    /// The address of the value. Touching memory there takes an open window.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T: Immutable> Slot<T> {
    /// Opens a window for reading, for as long as the guard lives.
    ///
    /// # Errors
    ///
    /// As for [`Domain::open`].
    #[inline(always)]
    pub fn read(&self) -> Result<ReadingOne<'_, T>, OpenError> {
        let window = Window::open(&self.mapping.domain, Rights::ReadOnly)?;
        // SAFETY: the value is there for as long as the slot is borrowed (1), nobody writes through a shared slot (2),
        // and the window on its domain lets it be read (3).
        Ok(unsafe { ReadingOne::new(window, self.value) })
    }

    /// The value, for as long as both the slot and a window are borrowed.
    ///
    /// # Errors
    ///
    /// [`OpenError::WrongDomain`] when the window is on another domain.
    #[inline(always)]
    pub fn get<'a>(&'a self, window: &'a Window<'_>) -> Result<&'a T, OpenError> {
        window.check(&self.mapping.domain, Rights::ReadOnly)?;
        // SAFETY: the value is there and borrowed; the window is open and borrowed as long.
        Ok(unsafe { self.value.as_ref() })
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if core::mem::needs_drop::<T>()
            && let Ok(_window) = Window::open(&self.mapping.domain, Rights::ReadWrite)
        {
            // SAFETY: the slot owns the value and is borrowed by nobody; the window is open.
            unsafe { self.value.drop_in_place() };
        }
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("domain", &self.domain_name())
            .field("value", &self.value)
            .finish()
    }
}

/// A value was not placed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is no memory for it, or its type has no bytes.
    Map(MapError),
    /// No window opens to put it there.
    Open(OpenError),
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PlaceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Map(error) => error.source(),
            Self::Open(error) => error.source(),
        }
    }
}

impl From<MapError> for PlaceError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<OpenError> for PlaceError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_cleared() {
        let mut secret = [7_u8; 32];
        drop(Cleared(&mut secret));
        assert_eq!(secret, [0; 32]);
    }
}
