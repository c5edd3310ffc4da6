//! A window and the one value that it opens, shaped like a lock guard: for [`Slot`](crate::Slot) and
//! [`Keyed`](crate::Keyed).
//!
//! The guard holds the value's address, never a reference: a reference exists from a `deref` on, when the window is open,
//! and borrows the guard.
#![allow(
    unsafe_code,
    reason = "a reference from a pointer while the window is open"
)]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::window::Window;

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $borrow:ty) => {
        $(#[$doc])*
        #[must_use = "a guard that is dropped at once closes its window at once"]
        pub struct $name<'a, T> {
            value: NonNull<T>,
            _borrow: PhantomData<$borrow>,
            _window: Window<'a>,
        }

        impl<'a, T> $name<'a, T> {
            /// Joins a window and the value that it opens.
            ///
            /// # Safety
            ///
            /// 1. A value is at `value` for `'a`.
            /// 2. For `'a` it is borrowed as this guard lends it: shared for reading, exclusively for writing.
            /// 3. The window is on the domain of the value and gives the rights for it.
            #[inline(always)]
            pub(crate) unsafe fn new(window: Window<'a>, value: NonNull<T>) -> Self {
                Self {
                    value,
                    _borrow: PhantomData,
                    _window: window,
                }
            }
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            #[inline(always)]
            fn deref(&self) -> &T {
                // SAFETY: the value is there and borrowed (duties 1 and 2 of `new`); the window is open as long as the
                // guard, which the reference borrows.
                unsafe { self.value.as_ref() }
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

guard! {
    /// One value while a window is open, to be read; see [`Slot::read`](crate::Slot::read) and
    /// [`Keyed::read`](crate::Keyed::read).
    ReadingOne, &'a T
}

guard! {
    /// One value while a window for reading and writing is open; see [`Slot::write`](crate::Slot::write) and
    /// [`Keyed::write`](crate::Keyed::write).
    WritingOne, &'a mut T
}

impl<T> DerefMut for WritingOne<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the value is there and borrowed exclusively (duties 1 and 2 of `new`); the window is open as long as
        // the guard, which the reference borrows.
        unsafe { self.value.as_mut() }
    }
}
