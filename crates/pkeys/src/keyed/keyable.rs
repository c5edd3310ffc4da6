//! Which collections can live in a domain, and which of them can be read through a window that only reads.
#![allow(unsafe_code, reason = "promises that the compiler cannot check")]

use core::hash::BuildHasherDefault;
use std::hash::RandomState;

use hashbrown::DefaultHashBuilder;
use zerocopy::Immutable;

use crate::keyed::alloc::KeyedAlloc;

mod sealed {
    /// Keeps the list of keyable collections closed.
    #[expect(unnameable_types, reason = "that is what it is for")]
    pub trait Sealed {}
}

/// A collection that can live in a domain: hashbrown's `HashMap` and `HashSet`, allocator-api2's `Vec` and `Box`, with a
/// [`KeyedAlloc`].
///
/// # Safety
///
/// 1. `In<'w>` is the same type for every `'w`, but for the lifetime of its allocator.
/// 2. A value of it always has its allocator: no safe operation on a `&mut` to it gives the allocator, or the value, to
///    the caller without another one to replace it.
/// 3. `Elements` is all that it holds besides the allocator.
pub unsafe trait Keyable: sealed::Sealed {
    /// The collection in a window.
    type In<'w>;

    /// What it holds, for the question whether it may be sent to, or shared with, another thread.
    type Elements;

    /// The collection's allocator.
    #[doc(hidden)]
    fn allocator<'a, 'w>(collection: &'a Self::In<'w>) -> &'a KeyedAlloc<'w>;
}

/// A keyed collection that may be lent out through a window that only reads, because nothing in it changes behind a shared
/// reference: its elements are [`Immutable`], its hasher has [`HashState`].
///
/// # Safety
///
/// 1. Nothing in the collection's own memory changes through a shared reference to it.
pub unsafe trait Readable: Keyable {}

/// A hasher's state that does not change while it is only read from.
///
/// # Safety
///
/// 1. The type has no interior mutability, but behind pointers.
pub unsafe trait HashState {}

// SAFETY: two numbers and nothing else.
unsafe impl HashState for DefaultHashBuilder {}
// SAFETY: two numbers and nothing else.
unsafe impl HashState for RandomState {}
// SAFETY: no state at all.
unsafe impl<H> HashState for BuildHasherDefault<H> {}

macro_rules! keyable {
    ([$($param:ident),*] $($collection:ident)::+, where $($bound:tt)*) => {
        impl<$($param),*> sealed::Sealed for $($collection)::+<$($param,)* KeyedAlloc<'static>> {}

        // SAFETY: the allocator is the last parameter and nothing depends on it (1). Its fields are the allocator,
        // pointers and lengths, and it is never without (2): parting with one through a reference would take a clone
        // or a default, which the allocator has not. The other parameters are all the rest (3).
        unsafe impl<$($param),*> Keyable for $($collection)::+<$($param,)* KeyedAlloc<'static>> {
            type In<'w> = $($collection)::+<$($param,)* KeyedAlloc<'w>>;
            type Elements = ($($param,)*);

            #[inline(always)]
            fn allocator<'a, 'w>(collection: &'a Self::In<'w>) -> &'a KeyedAlloc<'w> {
                $($collection)::+::allocator(collection)
            }
        }

        // SAFETY: the collection has no interior mutability of its own, and its parts have none (1).
        unsafe impl<$($param),*> Readable for $($collection)::+<$($param,)* KeyedAlloc<'static>>
        where $($bound)* {}
    };
}

keyable!([K, V, S] hashbrown::HashMap, where K: Immutable, V: Immutable, S: HashState);
keyable!([T, S] hashbrown::HashSet, where T: Immutable, S: HashState);
keyable!([T] allocator_api2::vec::Vec, where T: Immutable);
keyable!([T] allocator_api2::boxed::Box, where T: Immutable);
