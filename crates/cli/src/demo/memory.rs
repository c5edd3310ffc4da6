//! SQLite's memory, all of it, in a domain.
//!
//! SQLite asks four functions for memory and falls back on nothing else (`SQLITE_CONFIG_MALLOC`). Here they stand on a
//! domain's heap. The page cache, prepared statements, the schema, and with an exclusive lock even the index of the
//! write-ahead log, lie behind the key; outside are SQLite's few static variables and the stack.
#![allow(unsafe_code, reason = "SQLite's allocator interface")]

use core::alloc::Layout;
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use pkeys::Heap;
use rusqlite::ffi;

/// What SQLite may ask for: eight-byte alignment (<https://www.sqlite.org/c3ref/mem_methods.html>).
const ALIGN_BYTES: usize = 8;

/// The heap that SQLite's memory comes from.
static HEAP: OnceLock<Heap> = OnceLock::new();

/// Whether blocks are listed.
static IS_LISTING: AtomicBool = AtomicBool::new(false);

/// The blocks in use, by address, where they are listed: how the demo knows what lies where.
static BLOCKS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// Whether [`install`] keeps a list of the blocks that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// It does: for [`blocks`].
    Kept,
    /// It does not: the work is being measured.
    None,
}

/// Has SQLite take its memory from this heap, in the whole process and for ever. To be called before SQLite is used.
pub(crate) fn install(heap: Heap, listing: Listing) -> Result<(), rusqlite::Error> {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(allocate),
        xFree: Some(deallocate),
        xRealloc: Some(reallocate),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(init),
        xShutdown: Some(shutdown),
        pAppData: ptr::null_mut(),
    };
    IS_LISTING.store(listing == Listing::Kept, Relaxed);
    let is_first = HEAP.set(heap).is_ok();
    debug_assert!(is_first, "memory methods are installed once");
    // SAFETY: SQLite was not initialised yet, no thread uses it, and the functions follow its rules for them.
    let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// The blocks that SQLite has in use: address and size in bytes.
pub(crate) fn blocks() -> Vec<(usize, usize)> {
    let blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    blocks
        .iter()
        .map(|(&start, &len_bytes)| (start, len_bytes))
        .collect()
}

fn note(change: impl FnOnce(&mut BTreeMap<usize, usize>)) {
    if IS_LISTING.load(Relaxed) {
        change(&mut BLOCKS.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn layout(len_bytes: c_int) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(len_bytes).ok()?, ALIGN_BYTES).ok()
}

/// The layout that is good enough to give a block back: its alignment counts.
const ANY_SIZE: Layout = match Layout::from_size_align(ALIGN_BYTES, ALIGN_BYTES) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

extern "C" fn allocate(len_bytes: c_int) -> *mut c_void {
    let memory = HEAP
        .get()
        .zip(layout(len_bytes))
        .and_then(|(heap, layout)| heap.allocate(layout).ok());
    let Some(memory) = memory else {
        return ptr::null_mut();
    };
    note(|blocks| {
        blocks.insert(memory.addr().get(), usize::try_from(len_bytes).unwrap_or(0));
    });
    memory.as_ptr().cast()
}

extern "C" fn deallocate(memory: *mut c_void) {
    let Some((heap, memory)) = HEAP.get().zip(NonNull::new(memory.cast::<u8>())) else {
        return;
    };
    note(|blocks| {
        blocks.remove(&memory.addr().get());
    });
    // SAFETY: SQLite gives back what `allocate` or `reallocate` gave it, once, with the one alignment that there is.
    unsafe { heap.deallocate(memory, ANY_SIZE) };
}

extern "C" fn reallocate(memory: *mut c_void, len_bytes: c_int) -> *mut c_void {
    let old = HEAP.get().zip(NonNull::new(memory.cast::<u8>()));
    let Some(((heap, old), new_len_bytes)) = old.zip(usize::try_from(len_bytes).ok()) else {
        return ptr::null_mut();
    };
    // SAFETY: the block is one that SQLite has from this heap and will not use by its old address (`xRealloc`).
    let Ok(new) = (unsafe { heap.reallocate(old, ANY_SIZE, new_len_bytes) }) else {
        return ptr::null_mut();
    };
    note(|blocks| {
        blocks.remove(&old.addr().get());
        blocks.insert(new.addr().get(), new_len_bytes);
    });
    new.as_ptr().cast()
}

extern "C" fn size(memory: *mut c_void) -> c_int {
    let Some((heap, memory)) = HEAP.get().zip(NonNull::new(memory.cast::<u8>())) else {
        return 0;
    };
    // SAFETY: SQLite asks for blocks that it has in use.
    let usable = unsafe { heap.usable_size(memory) };
    usable
        .ok()
        .and_then(|usable| c_int::try_from(usable).ok())
        .unwrap_or(0)
}

extern "C" fn round_up(len_bytes: c_int) -> c_int {
    // The heap's blocks are multiples of 16 bytes less a header of 16.
    len_bytes.saturating_add(15) & !15
}

extern "C" fn init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

extern "C" fn shutdown(_: *mut c_void) {}
