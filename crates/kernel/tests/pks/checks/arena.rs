//! Contexts that can be named by their address.
//!
//! A kernel keeps a pointer to the context that runs. A test keeps a number, which is found again by comparing addresses,
//! and so needs no unsafe code.

use core::cell::{Cell, OnceCell};

use pkeys_kernel::pks::Context;

/// How many contexts one run may make.
const ROOM: usize = 192;

/// Contexts, none of which goes away but all together.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Behind a pointer: as an array it would be a value of 192 times 26 words, which an optimizer takes apart for minutes.
    contexts: Box<[OnceCell<Context>]>,
    len: Cell<usize>,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            contexts: (0..ROOM).map(|_| OnceCell::new()).collect(),
            len: Cell::new(0),
        }
    }
}

impl Arena {
    /// Forgets all contexts.
    pub(crate) fn clear(&mut self) {
        for cell in &mut self.contexts[..self.len.get()] {
            cell.take();
        }
        self.len.set(0);
    }

    /// Keeps a context.
    pub(crate) fn keep(&self, context: Context) -> &Context {
        let number = self.len.get();
        self.len.set(number + 1);
        self.contexts[number].get_or_init(|| context)
    }

    /// The context of a number.
    pub(crate) fn get(&self, number: usize) -> &Context {
        self.contexts[number].get().expect("a context was kept")
    }

    /// The number of a context.
    pub(crate) fn number(&self, context: &Context) -> usize {
        let is_it = |number: &usize| core::ptr::eq(self.get(*number), context);
        // The newest first: these are the ones that are looked for.
        let found = (0..self.len.get()).rev().find(is_it);
        found.expect("the context is one of the arena's")
    }
}
