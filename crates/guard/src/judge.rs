//! What the guard knows of a stray access that the library `pkeys` does not: whose block it was, and whether it was one at all.
//!
//! Code of a guarded library that runs with its key closed was entered past every gate: by a pointer out of a structure that the
//! library filled itself. That is the library, and it may write. The key stays open on the thread until its next gate ends,
//! and the entry is counted. It is told by the instruction's address, or, where the instruction is in a library that serves
//! everybody such as `memcpy(3)`'s, by who called it: [`caller`] looks along the stack.
//!
//! All of this runs in a signal handler.
#![allow(unsafe_code, reason = "descriptors by address")]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys::embed::Block;
use pkeys::{Pardon, Stray, Verdict};
use pkeys_core::Pkey;

use crate::caller;
use crate::domain;
use crate::gate::ThreadVariables;
use crate::learn;

/// Entries past every gate.
pub(crate) static PAST_GATES: AtomicU64 = AtomicU64::new(0);

/// The advice for a block that nobody has any more.
const FREED: &str = "the block was freed before: no list helps, look for who freed it";

thread_local! {
    /// Whether the pardon that is about to be given lasts until the thread's next gate ends.
    static LASTS: Cell<bool> = const { Cell::new(false) };
}

/// Judges a stray access.
pub(crate) fn stray(stray: &Stray) -> Verdict {
    if is_past_gates(stray) {
        PAST_GATES.fetch_add(1, Relaxed);
        LASTS.with(|lasts| lasts.set(true));
        return Verdict::Allow;
    }
    LASTS.with(|lasts| lasts.set(false));
    learn::note(stray.addr);
    Verdict::AsMode
}

/// How long a pardon lasts: asked after [`stray`] on the same thread.
pub(crate) fn lasts_until_gate(_: Pkey, pardon: Pardon) -> bool {
    let lasts = LASTS.with(|lasts| lasts.replace(false)) || pardon == Pardon::Context;
    if lasts {
        ThreadVariables::current().set_left_open();
    }
    lasts
}

/// Whether the library itself made the access, outside every gate.
fn is_past_gates(stray: &Stray) -> bool {
    let Some(guarded) = domain::all()
        .iter()
        .find(|guarded| guarded.settings.name() == stray.domain())
    else {
        return false;
    };
    guarded.code.contains(stray.pc)
        || caller::of(stray.pc).is_some_and(|caller| guarded.code.contains(caller))
}

/// The block that an address lies in.
pub(crate) fn block(addr: usize) -> Option<Block> {
    let found = domain::block_at(addr)?;
    let block = Block::new(found.start, found.len_bytes);
    // SAFETY: null, or a descriptor, which lives for ever and is never written.
    let name = unsafe { found.descriptor.as_ref() }.map(|descriptor| descriptor.name);
    let origin = name.map_or("", |name| &name.shown);
    let advice = name.map_or("", |name| &name.advice);
    Some(block.with_origin(origin, if found.is_freed { FREED } else { advice }))
}
