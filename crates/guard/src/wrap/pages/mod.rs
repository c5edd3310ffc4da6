//! Memory that a guarded library maps itself, with `--mmap`: whatever of it can be read and written and not executed goes behind
//! the domain's key, files and shared memory included. Which domain it is, is told by the gate that the thread is in.
//!
//! The kernel keeps a page's key through `mprotect(2)` and `mremap(2)`. So what is tracked ([`mapped`]) is what can be written and
//! what cannot: a reservation without access goes behind the key when the library makes it writable, and pages that are
//! made executable lose it.
//!
//! Three kinds stay without a key. Stacks (`MAP_STACK`, `MAP_GROWSDOWN`): code that runs on one pushes to it, inside a gate or not.
//! What cannot be written: the library changes it through a file, or not at all. And memory with a robust mutex in it
//! (`pthread_mutexattr_setrobust(3)`), from the moment at which the library locks one: the C library links all robust mutexes that
//! a thread holds and writes into the links of one when it locks another, and the kernel writes into them when the thread
//! dies, both outside every gate. A database's lock file is such memory.
#![allow(
    unsafe_code,
    reason = "memory of the library's, functions of its C library by address"
)]

mod mapped;

use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Mutex;

use crate::domain::Guarded;
use crate::gate::shadow;
use crate::map::{self, PAGE_BYTES};
use crate::quiet::{self, Locked};
use crate::real::Slot;
use crate::refuse::say;
use crate::wrap::Wrapper;
use mapped::{Piece, State};

pub(crate) use mapped::Mapped;

static MMAP: Slot = Slot::new();
static MUNMAP: Slot = Slot::new();
static MPROTECT: Slot = Slot::new();
static MREMAP: Slot = Slot::new();
static LOCK: Slot = Slot::new();
static TRY_LOCK: Slot = Slot::new();
static TIMED_LOCK: Slot = Slot::new();
static IS_ON: AtomicBool = AtomicBool::new(false);
static MAPPED: Mutex<Mapped> = Mutex::new(Mapped::new());

/// Starts to put mapped memory behind keys.
pub(crate) fn start() {
    IS_ON.store(true, Relaxed);
}

/// Locks the list; also held across `fork(2)`.
pub(crate) fn lock() -> Locked<Mapped> {
    quiet::lock(&MAPPED)
}

/// The wrapper of that name, for a guarded library.
pub(super) fn for_guarded(name: &str) -> Option<Wrapper> {
    let (name, function, slot) = match name {
        _ if !IS_ON.load(Relaxed) => return None,
        "mmap" | "mmap64" => ("mmap", mmap as *const (), &MMAP),
        "mprotect" => ("mprotect", mprotect as *const (), &MPROTECT),
        "pthread_mutex_lock" => ("pthread_mutex_lock", lock_mutex as *const (), &LOCK),
        "pthread_mutex_trylock" => (
            "pthread_mutex_trylock",
            try_lock_mutex as *const (),
            &TRY_LOCK,
        ),
        "pthread_mutex_timedlock" => (
            "pthread_mutex_timedlock",
            timed_lock_mutex as *const (),
            &TIMED_LOCK,
        ),
        _ => return None,
    };
    Some(Wrapper::plain(name, function, slot))
}

/// The wrapper of that name, for everybody: the program may unmap what the library has given it.
pub(super) fn for_all(name: &str) -> Option<Wrapper> {
    let (name, function, slot) = match name {
        _ if !IS_ON.load(Relaxed) => return None,
        "munmap" => ("munmap", munmap as *const (), &MUNMAP),
        "mremap" => ("mremap", mremap as *const (), &MREMAP),
        _ => return None,
    };
    Some(Wrapper::plain(name, function, slot))
}

/// Whether a protection lets pages go behind the key.
fn is_for_key(protection: c_int) -> bool {
    protection & (libc::PROT_WRITE | libc::PROT_EXEC) == libc::PROT_WRITE
}

/// The domain of the gate that the thread is in.
fn owner() -> Option<&'static Guarded> {
    let descriptor = shadow::current_descriptor()?;
    // SAFETY: a gate's descriptor names its domain, which lives for ever; null in a gate back.
    unsafe { descriptor.domain.as_ref() }
}

/// The end of a range of pages, of which the last may be named in part.
fn end_of(start: usize, len_bytes: usize) -> usize {
    start
        .saturating_add(len_bytes)
        .checked_next_multiple_of(PAGE_BYTES)
        .unwrap_or(usize::MAX)
}

/// Puts a range behind its owner's key.
fn put_keyed(mapped: &mut Mapped, piece: Piece) {
    static IS_SAID: AtomicBool = AtomicBool::new(false);
    let has_key = piece.owner.domain.get().is_some();
    if !mapped.put_keyed(piece) && has_key && !IS_SAID.swap(true, Relaxed) {
        say("some memory that a library has mapped could not be put behind its key");
    }
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
    let mut mapped = lock();
    // SAFETY: the library's arguments.
    let base = unsafe { real(addr, len_bytes, protection, flags, file, offset) };
    if base == libc::MAP_FAILED {
        return base;
    }
    let (start, end) = (base.addr(), end_of(base.addr(), len_bytes));
    // What was there is not any more; without MAP_FIXED nothing was that we know of.
    mapped.cut(start, end);
    let Some(owner) = owner().filter(|_| flags & (libc::MAP_STACK | libc::MAP_GROWSDOWN) == 0)
    else {
        return base;
    };
    let piece = Piece {
        start,
        end,
        owner,
        state: State::Plain,
    };
    if is_for_key(protection) {
        put_keyed(&mut mapped, piece);
    } else {
        mapped.put(piece);
    }
    base
}

extern "C" fn munmap(addr: *mut c_void, len_bytes: usize) -> c_int {
    type Munmap = unsafe extern "C" fn(*mut c_void, usize) -> c_int;
    // SAFETY: the address of the program's `munmap`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Munmap>(MUNMAP.get()) };
    let mut mapped = lock();
    let cut = mapped.cut(addr.addr(), end_of(addr.addr(), len_bytes));
    // SAFETY: the caller's arguments.
    let result = unsafe { real(addr, len_bytes) };
    if result != 0 {
        cut.into_iter().for_each(|piece| mapped.put(piece));
    }
    result
}

extern "C" fn mprotect(addr: *mut c_void, len_bytes: usize, protection: c_int) -> c_int {
    type Mprotect = unsafe extern "C" fn(*mut c_void, usize, c_int) -> c_int;
    // SAFETY: the address of the program's `mprotect`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Mprotect>(MPROTECT.get()) };
    let mut mapped = lock();
    // SAFETY: the library's arguments.
    let result = unsafe { real(addr, len_bytes, protection) };
    if result != 0 {
        return result;
    }
    for piece in mapped.cut(addr.addr(), end_of(addr.addr(), len_bytes)) {
        match piece.state {
            State::Plain if is_for_key(protection) => put_keyed(&mut mapped, piece),
            State::Keyed if protection & libc::PROT_EXEC != 0 => {
                mapped.put_unkeyed(piece, State::Plain);
                map::protect(piece.start, piece.end - piece.start, protection);
            }
            _ => mapped.put(piece),
        }
    }
    result
}

extern "C" fn mremap(
    addr: *mut c_void,
    old_bytes: usize,
    new_bytes: usize,
    flags: c_int,
    target: *mut c_void,
) -> *mut c_void {
    // The last argument is there with MREMAP_FIXED only; without, whatever is in its register is passed on and not looked at.
    type Mremap =
        unsafe extern "C" fn(*mut c_void, usize, usize, c_int, *mut c_void) -> *mut c_void;
    // SAFETY: the address of the program's `mremap`, noted when its wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Mremap>(MREMAP.get()) };
    let mut mapped = lock();
    // Of length 0 it is a second mapping of shared pages: the first says what the second is.
    let moved = mapped.cut(addr.addr(), end_of(addr.addr(), old_bytes.max(1)));
    let stays = old_bytes == 0 || flags & libc::MREMAP_DONTUNMAP != 0;
    // SAFETY: the caller's arguments.
    let base = unsafe { real(addr, old_bytes, new_bytes, flags, target) };
    let first = moved.first().copied();
    if base == libc::MAP_FAILED || stays {
        moved.into_iter().for_each(|piece| mapped.put(piece));
    }
    if base == libc::MAP_FAILED {
        return base;
    }
    let (start, end) = (base.addr(), end_of(base.addr(), new_bytes));
    mapped.cut(start, end);
    if let Some(first) = first {
        mapped.put(Piece {
            start,
            end,
            ..first
        });
    }
    base
}

/// What `pthread_mutex_t` has in its fourth word for a robust mutex (glibc's `PTHREAD_MUTEX_ROBUST_NORMAL_NP`), and where that is.
const ROBUST: c_int = 16;
const KIND: usize = 4;

/// Takes the key off the memory that a robust mutex lies in.
fn leave_robust(mutex: *const c_int) {
    let kind = mutex.wrapping_add(KIND);
    // SAFETY: the library's mutex, which it is about to lock.
    if unsafe { kind.read_volatile() } & ROBUST == 0 {
        return;
    }
    let mut mapped = lock();
    let Some(piece) = mapped.find(mutex.addr()) else {
        return;
    };
    if piece.state == State::Keyed {
        for piece in mapped.cut(piece.start, piece.end) {
            mapped.put_unkeyed(piece, State::Left);
        }
    }
}

extern "C" fn lock_mutex(mutex: *mut c_int) -> c_int {
    lock_by(&LOCK, mutex)
}

extern "C" fn try_lock_mutex(mutex: *mut c_int) -> c_int {
    lock_by(&TRY_LOCK, mutex)
}

fn lock_by(slot: &Slot, mutex: *mut c_int) -> c_int {
    type Lock = unsafe extern "C" fn(*mut c_int) -> c_int;
    leave_robust(mutex);
    // SAFETY: the address of a function of the program's of this type, noted when its wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Lock>(slot.get()) };
    // SAFETY: the library's argument.
    unsafe { real(mutex) }
}

extern "C" fn timed_lock_mutex(mutex: *mut c_int, until: *const libc::timespec) -> c_int {
    type Lock = unsafe extern "C" fn(*mut c_int, *const libc::timespec) -> c_int;
    leave_robust(mutex);
    // SAFETY: the address of the program's `pthread_mutex_timedlock`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Lock>(TIMED_LOCK.get()) };
    // SAFETY: the library's arguments.
    unsafe { real(mutex, until) }
}
