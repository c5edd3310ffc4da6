//! Shadow stacks: where a gate keeps what must not lie on the stack while the function runs.
//!
//! One a thread, made at its first gate and freed when it ends. Its pages carry a key of the guard's own, which is open
//! only inside a guarded library: the program cannot write them. The pointer to the next free frame is in thread-local
//! storage, which the program could write; there is no place for it that a gate finds without help.
//!
//! A thread's end is told by a key of the main C library (`pthread_key_create(3)`), as the audit library's own C library knows
//! nothing of the program's threads. Destructors of other keys may pass gates after ours ran, so ours asks to be called again
//! in every round but the last.
#![allow(
    unsafe_code,
    reason = "raw frames, and functions of another C library by address"
)]

use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::audit;
use crate::domain;
use crate::gate::ThreadVariables;
use crate::gate::descriptor::Descriptor;
use crate::map::{self, PAGE_BYTES};

/// Room for frames: 16,384 of them less one, which serves as header.
const STACK_BYTES: usize = 1 << 20;

/// Bytes of a frame.
pub(crate) const FRAME_BYTES: usize = 64;

/// One frame, as `gate.s` fills it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Frame {
    pub(crate) return_address: usize,
    pub(crate) saved_rbx: usize,
    /// The stack pointer at the call.
    pub(crate) stack_pointer: usize,
    pub(crate) descriptor: *const Descriptor,
    /// PKRU before the gate.
    pub(crate) register: u32,
}

const _: () = assert!(size_of::<Frame>() == FRAME_BYTES);

/// `PTHREAD_DESTRUCTOR_ITERATIONS` less one: glibc calls a destructor four times at most.
const ROUNDS: usize = 3;

/// How many keys the audit library's own C library may come to have.
const RESERVED_KEYS: c_uint = 8;

/// The key of the main C library, or none.
static KEY: AtomicU32 = AtomicU32::new(u32::MAX);

/// `pthread_setspecific` of the main C library.
static SET_SPECIFIC: AtomicUsize = AtomicUsize::new(0);

/// Makes a shadow stack for the calling thread, and gives its first frame. Called by a gate.
pub(crate) extern "C" fn new_shadow_stack() -> usize {
    // Constructors of libraries pass gates before the loader says that everything is in place.
    audit::come_up();
    let Some(base) = map::reserve(STACK_BYTES + PAGE_BYTES, STACK_BYTES) else {
        crate::refuse::die("no memory for a thread's shadow stack");
    };
    // What follows the last frame faults.
    map::protect(base + STACK_BYTES, PAGE_BYTES, libc::PROT_NONE);
    domain::key_shadow_stack(base, STACK_BYTES);
    let first = base + FRAME_BYTES;
    ThreadVariables::current().set_next_frame(first);
    let key = KEY.load(Relaxed);
    if key != u32::MAX {
        set_specific(key, 1);
    }
    first
}

/// Asks the main C library to tell when a thread ends. Without it shadow stacks stay.
///
/// Two C libraries, one thread: each numbers its keys from 0, and both keep the values in the thread's one control block. The audit
/// library's own C library has keys too (Rust's standard library makes one), so the first numbers are taken in the main one and
/// left alone: a program's key there would be overwritten.
pub(crate) fn watch_threads(key_create: usize, set_specific: usize) {
    type KeyCreate = unsafe extern "C" fn(*mut c_uint, Option<extern "C" fn(*mut c_void)>) -> c_int;
    SET_SPECIFIC.store(set_specific, Relaxed);
    // SAFETY: the address of `pthread_key_create` in the main C library.
    let key_create = unsafe { core::mem::transmute::<usize, KeyCreate>(key_create) };
    let mut key: c_uint = 0;
    while key + 1 < RESERVED_KEYS {
        // SAFETY: the library is initialised before the audit library's `la_preinit` is called.
        if unsafe { key_create(&raw mut key, None) } != 0 {
            return;
        }
    }
    // SAFETY: as above; the destructor stays.
    if unsafe { key_create(&raw mut key, Some(end_of_thread)) } == 0 {
        KEY.store(key, Relaxed);
    }
}

fn set_specific(key: c_uint, round: usize) {
    type SetSpecific = unsafe extern "C" fn(c_uint, *const c_void) -> c_int;
    // SAFETY: the address of `pthread_setspecific` in the main C library, stored before the key was.
    let function =
        unsafe { core::mem::transmute::<usize, SetSpecific>(SET_SPECIFIC.load(Relaxed)) };
    // SAFETY: the key exists; the value is a number.
    unsafe { function(key, core::ptr::without_provenance(round)) };
}

extern "C" fn end_of_thread(round: *mut c_void) {
    let round = round.addr();
    if round <= ROUNDS {
        return set_specific(KEY.load(Relaxed), round + 1);
    }
    let variables = ThreadVariables::current();
    let next = variables.next_frame();
    if next == 0 {
        return;
    }
    // Nothing of this thread passes a gate between here and its end; if it does, it gets another stack.
    variables.set_next_frame(0);
    let base = base_of(next);
    domain::unkey_shadow_stack(base, STACK_BYTES);
    map::unmap(base, STACK_BYTES + PAGE_BYTES);
}

/// Ends the process where a fault was in the page behind the thread's shadow stack: too many gates are nested. For fault handlers.
pub(crate) fn die_if_behind(addr: usize) {
    let next = ThreadVariables::current().next_frame();
    if next == 0 {
        return;
    }
    // The frame was claimed before it was written.
    let behind = base_of(next - FRAME_BYTES) + STACK_BYTES;
    if (behind..behind + PAGE_BYTES).contains(&addr) {
        crate::refuse::die("more than 16383 calls into guarded libraries are nested on a thread");
    }
}

const _: () = assert!(STACK_BYTES / FRAME_BYTES - 1 == 16383);

/// The first address of the stack that a frame belongs to. The next free frame may be the one behind the last.
fn base_of(frame: usize) -> usize {
    (frame - 1) & !(STACK_BYTES - 1)
}

/// The frames of the calling thread, youngest first.
pub(crate) fn frames() -> impl Iterator<Item = (usize, Frame)> {
    let next = ThreadVariables::current().next_frame();
    let first = if next == 0 {
        0
    } else {
        base_of(next) + FRAME_BYTES
    };
    let mut at = next;
    core::iter::from_fn(move || {
        if at <= first {
            return None;
        }
        at -= FRAME_BYTES;
        let frame = core::ptr::with_exposed_provenance::<Frame>(at);
        // SAFETY: a frame of the thread's own shadow stack, below the next free one; everybody may read it.
        Some((at, unsafe { frame.read() }))
    })
}

/// The descriptor of the gate that the thread is in, if it is in one. Each allocation asks.
#[inline]
pub(crate) fn current_descriptor() -> Option<&'static Descriptor> {
    let next = ThreadVariables::current().next_frame();
    let youngest = next.wrapping_sub(FRAME_BYTES);
    // In place of a frame below the first there is the header.
    if next == 0 || youngest.is_multiple_of(STACK_BYTES) {
        return None;
    }
    let place = youngest + core::mem::offset_of!(Frame, descriptor);
    let place = core::ptr::with_exposed_provenance::<*const Descriptor>(place);
    // SAFETY: in a frame of the thread's own shadow stack, below the next free one; everybody may read it.
    let descriptor = unsafe { place.read() };
    // SAFETY: null in a frame that was claimed and is not filled yet; else a descriptor, which lives for ever.
    unsafe { descriptor.as_ref() }
}
