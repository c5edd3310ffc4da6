//! Functions of a guarded library that it leaves with the C library to be called later: at the end of the process or of a
//! thread, at a fork. They would be called with the key closed, so a gate is left in their place.
#![allow(
    unsafe_code,
    reason = "functions of the program's C library by address"
)]

use core::ffi::{c_int, c_uint, c_void};

use crate::callbacks::leave;
use crate::real::Slot;
use crate::wrap::Wrapper;

static AT_EXIT: Slot = Slot::new();
static AT_QUICK_EXIT: Slot = Slot::new();
static ON_EXIT: Slot = Slot::new();
static THREAD_AT_EXIT: Slot = Slot::new();
static KEY_CREATE: Slot = Slot::new();
static AT_FORK: Slot = Slot::new();

/// What a gate is called that was left.
const LEFT: &str = "a function that was left with libc";

/// The wrapper of that name, for a guarded library.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    let (name, function, slot) = match name {
        "__cxa_atexit" => ("__cxa_atexit", at_exit as *const (), &AT_EXIT),
        "__cxa_at_quick_exit" => (
            "__cxa_at_quick_exit",
            at_quick_exit as *const (),
            &AT_QUICK_EXIT,
        ),
        "on_exit" => ("on_exit", on_exit as *const (), &ON_EXIT),
        "__cxa_thread_atexit" | "__cxa_thread_atexit_impl" => (
            "__cxa_thread_atexit",
            thread_at_exit as *const (),
            &THREAD_AT_EXIT,
        ),
        "pthread_key_create" => ("pthread_key_create", key_create as *const (), &KEY_CREATE),
        "__register_atfork" => ("__register_atfork", at_fork as *const (), &AT_FORK),
        _ => return None,
    };
    Some(Wrapper::plain(name, function, slot))
}

/// `int f(void (*)(void *), void *, void *)`.
type Three = unsafe extern "C" fn(usize, *mut c_void, *mut c_void) -> c_int;

fn three(slot: &Slot, function: usize, argument: *mut c_void, object: *mut c_void) -> c_int {
    // SAFETY: the address of a function of this type, noted when its wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Three>(slot.get()) };
    // SAFETY: the library's arguments, its function behind a gate.
    unsafe { real(leave(function, LEFT), argument, object) }
}

extern "C" fn at_exit(function: usize, argument: *mut c_void, object: *mut c_void) -> c_int {
    three(&AT_EXIT, function, argument, object)
}

extern "C" fn at_quick_exit(function: usize, object: *mut c_void) -> c_int {
    three(&AT_QUICK_EXIT, function, object, core::ptr::null_mut())
}

extern "C" fn on_exit(function: usize, argument: *mut c_void) -> c_int {
    three(&ON_EXIT, function, argument, core::ptr::null_mut())
}

extern "C" fn thread_at_exit(function: usize, argument: *mut c_void, object: *mut c_void) -> c_int {
    three(&THREAD_AT_EXIT, function, argument, object)
}

extern "C" fn key_create(key: *mut c_uint, destructor: usize) -> c_int {
    type KeyCreate = unsafe extern "C" fn(*mut c_uint, usize) -> c_int;
    // SAFETY: the address of the program's `pthread_key_create`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, KeyCreate>(KEY_CREATE.get()) };
    // SAFETY: the library's arguments, its destructor behind a gate.
    unsafe { real(key, leave(destructor, LEFT)) }
}

extern "C" fn at_fork(before: usize, parent: usize, child: usize, object: *mut c_void) -> c_int {
    type AtFork = unsafe extern "C" fn(usize, usize, usize, *mut c_void) -> c_int;
    // SAFETY: the address of the program's `__register_atfork`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, AtFork>(AT_FORK.get()) };
    let [before, parent, child] = [before, parent, child].map(|function| leave(function, LEFT));
    // SAFETY: the library's arguments, its functions behind gates.
    unsafe { real(before, parent, child, object) }
}
