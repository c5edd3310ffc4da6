//! `mmap(2)` in a guarded library, with `--mmap`: private anonymous memory that can be read and written goes behind the domain's
//! key. What it belongs to is told by the gate that the thread is in.
//!
//! Files and shared memory stay as they are: the library shares them with somebody by design.
#![allow(
    unsafe_code,
    reason = "memory of the library's, functions of its C library by address"
)]

use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::Guarded;
use crate::gate::shadow;
use crate::map::PAGE_BYTES;
use crate::real::Slot;
use crate::wrap::{Kind, Wrapper};

static MMAP: Slot = Slot::new();
static MUNMAP: Slot = Slot::new();
static IS_ON: AtomicBool = AtomicBool::new(false);

/// What was put behind a key: length and domain by first address.
static ADOPTED: Mutex<BTreeMap<usize, (usize, &'static Guarded)>> = Mutex::new(BTreeMap::new());

/// Starts to put mapped memory behind keys.
pub(crate) fn start() {
    IS_ON.store(true, Relaxed);
}

/// The wrapper of that name, for a guarded library.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    if !IS_ON.load(Relaxed) {
        return None;
    }
    let (name, function, slot) = match name {
        "mmap" | "mmap64" => ("mmap", mmap as *const (), &MMAP),
        "munmap" => ("munmap", munmap as *const (), &MUNMAP),
        _ => return None,
    };
    Some(Wrapper {
        name,
        kind: Kind::Plain,
        function: function as usize,
        slot: Some(slot),
    })
}

extern "C" fn mmap(
    addr: *mut c_void,
    len_bytes: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: c_long,
) -> *mut c_void {
    type Mmap =
        unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, c_long) -> *mut c_void;
    // SAFETY: the address of the program's `mmap`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Mmap>(MMAP.get()) };
    // SAFETY: the library's arguments.
    let base = unsafe { real(addr, len_bytes, protection, flags, file, offset) };
    let is_plain = flags & (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED)
        == libc::MAP_PRIVATE | libc::MAP_ANONYMOUS
        && protection == libc::PROT_READ | libc::PROT_WRITE;
    if base != libc::MAP_FAILED && is_plain {
        adopt(
            base.expose_provenance(),
            len_bytes.next_multiple_of(PAGE_BYTES),
        );
    }
    base
}

fn adopt(start: usize, len_bytes: usize) {
    let descriptor = shadow::current_descriptor();
    // SAFETY: a gate's descriptor names its domain, which lives for ever; null in a gate back.
    let guarded: Option<&'static Guarded> =
        descriptor.and_then(|descriptor| unsafe { descriptor.domain.as_ref() });
    let Some((guarded, domain)) =
        guarded.and_then(|guarded| Some((guarded, guarded.domain.get()?)))
    else {
        return;
    };
    // SAFETY: just mapped, private, readable and writable (1); the library uses it inside its gates (2); `munmap` below
    // gives it back first (3).
    if unsafe { domain.adopt(start, len_bytes, "mmap") }.is_ok() {
        lock().insert(start, (len_bytes, guarded));
    }
}

extern "C" fn munmap(addr: *mut c_void, len_bytes: usize) -> c_int {
    let (start, end) = (
        addr.addr(),
        addr.addr()
            .saturating_add(len_bytes)
            .next_multiple_of(PAGE_BYTES),
    );
    give_back(start, end);
    type Munmap = unsafe extern "C" fn(*mut c_void, usize) -> c_int;
    // SAFETY: the address of the program's `munmap`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Munmap>(MUNMAP.get()) };
    // SAFETY: the library's arguments.
    unsafe { real(addr, len_bytes) }
}

/// Gives back what lies in a range that is about to go, and adopts the rest of it anew.
fn give_back(start: usize, end: usize) {
    let mut adopted = lock();
    let hit: Vec<(usize, usize, &'static Guarded)> = adopted
        .range(..end)
        .filter(|(first, (len_bytes, _))| **first + len_bytes > start)
        .map(|(first, (len_bytes, guarded))| (*first, *len_bytes, *guarded))
        .collect();
    for (first, len_bytes, guarded) in hit {
        let Some(domain) = guarded.domain.get() else {
            continue;
        };
        adopted.remove(&first);
        let _ = domain.give_back(first, len_bytes);
        for (from, to) in [(first, start), (end, first + len_bytes)] {
            if from >= to {
                continue;
            }
            // SAFETY: a part of what was adopted before, which stays mapped (1, 2, 3).
            if unsafe { domain.adopt(from, to - from, "mmap") }.is_ok() {
                adopted.insert(from, (to - from, guarded));
            }
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeMap<usize, (usize, &'static Guarded)>> {
    ADOPTED.lock().unwrap_or_else(PoisonError::into_inner)
}
