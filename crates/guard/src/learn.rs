//! `--learn`: which gates' allocations the program writes to.
//!
//! The fault handler notes the gate of the block in a fixed table of pointers; at the end the names are printed as a list that
//! is ready to be given back as `--share`.
#![allow(unsafe_code, reason = "descriptors by address")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::collections::BTreeSet;

use crate::domain;
use crate::gate::descriptor::{Descriptor, IS_INTERNAL, IS_SHARED};

/// Gates that a list cannot name, or has named already.
const NOT_LISTED: u64 = IS_INTERNAL | IS_SHARED;

/// How many gates are noted.
const CAPACITY: usize = 256;

static IS_ON: AtomicBool = AtomicBool::new(false);

static NOTED: [AtomicPtr<Descriptor>; CAPACITY] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY];

/// Stray writes to memory that no exported function of a library gave.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

/// Starts to learn.
pub(crate) fn start() {
    IS_ON.store(true, Relaxed);
}

/// Notes a stray access to an address. For the fault handler.
pub(crate) fn note(addr: usize) {
    if !IS_ON.load(Relaxed) {
        return;
    }
    let found = domain::block_at(addr).filter(|found| !found.is_freed);
    // SAFETY: null, or a descriptor, which lives for ever and is never written.
    let descriptor = found.and_then(|found| unsafe { found.descriptor.as_ref() });
    let Some(descriptor) = descriptor.filter(|descriptor| descriptor.flags & NOT_LISTED == 0)
    else {
        UNNAMED.fetch_add(1, Relaxed);
        return;
    };
    let descriptor = ptr::from_ref(descriptor).cast_mut();
    for slot in &NOTED {
        match slot.compare_exchange(ptr::null_mut(), descriptor, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(other) if other == descriptor => return,
            Err(_) => {}
        }
    }
}

/// How many stray writes a list will not help against: a library's variables, memory that it mapped, blocks that were freed, blocks
/// that a constructor or a callback of its own allocated.
pub(crate) fn unnamed() -> u64 {
    UNNAMED.load(Relaxed)
}

/// What was learnt: the names of the functions by domain.
pub(crate) fn learnt() -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let of = |index: usize| {
        NOTED
            .iter()
            // SAFETY: null, or a descriptor, which lives for ever and is never written.
            .filter_map(|slot| unsafe { slot.load(Relaxed).as_ref() })
            .filter(|descriptor| is_of(descriptor, index))
            .map(|descriptor| descriptor.name.text.as_str())
            .collect::<BTreeSet<_>>()
    };
    let domains = domain::all().iter();
    domains
        .map(|guarded| (guarded.settings.name(), of(guarded.index)))
        .filter(|(_, functions)| !functions.is_empty())
        .collect()
}

/// Whether a gate leads into that domain.
fn is_of(descriptor: &Descriptor, index: usize) -> bool {
    // SAFETY: null, or a domain, which lives for ever.
    let guarded = unsafe { descriptor.domain.as_ref() };
    guarded.is_some_and(|guarded| guarded.index == index)
}
