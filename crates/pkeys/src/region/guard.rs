//! A window and the slice that it opens, in one value shaped like a lock guard.
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
            first: NonNull<T>,
            len: usize,
            _borrow: PhantomData<$borrow>,
            _window: Window<'a>,
        }

        impl<'a, T> $name<'a, T> {
            /// Joins a window and the elements that it opens.
            ///
            /// # Safety
            ///
            /// 1. `len` elements are at `first` for `'a`.
            /// 2. For `'a` they are borrowed as this guard lends them: shared for reading, exclusively for writing.
            /// 3. The window is on the domain of the elements and gives the rights for it.
            #[inline(always)]
            pub(crate) unsafe fn new(window: Window<'a>, first: NonNull<T>, len: usize) -> Self {
                Self {
                    first,
                    len,
                    _borrow: PhantomData,
                    _window: window,
                }
            }
        }

        impl<T> Deref for $name<'_, T> {
            type Target = [T];

            #[inline(always)]
            fn deref(&self) -> &[T] {
                // SAFETY: the elements are there and borrowed (duties 1 and 2 of `new`); the window is open as long as
                // the guard, which the reference borrows.
                unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
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
    /// The elements of a region while a window for reading is open; see [`Region::read`](crate::Region::read).
    Reading, &'a [T]
}

guard! {
    /// The elements of a region while a window for reading and writing is open; see
    /// [`Region::write`](crate::Region::write).
    Writing, &'a mut [T]
}

impl<T> DerefMut for Writing<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the elements are there and borrowed exclusively (duties 1 and 2 of `new`); the window is open as long
        // as the guard, which the reference borrows.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}
