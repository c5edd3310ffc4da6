//! `pthread_create(3)` and C11's `thrd_create`: a thread starts with every guarded key closed, whatever its creator had open.
//!
//! Linux gives a new thread its creator's register. A thread that a guarded library makes starts in the library's own code, and
//! passes a gate first.
#![allow(
    unsafe_code,
    reason = "functions by address, and an allocation that crosses threads"
)]

use core::ffi::{c_int, c_void};

use crate::callbacks;
use crate::gate::registers;
use crate::quiet::without_signals;
use crate::real::Slot;
use crate::wrap::Wrapper;

static CREATE: Slot = Slot::new();
static CREATE_C11: Slot = Slot::new();

/// `void *f(void *)`; of C11 `int f(void *)`, whose result is the lower half of this one's.
type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What a new thread is to run.
struct Job {
    start: Start,
    argument: *mut c_void,
}

/// The wrapper of that name.
pub(super) fn find(name: &str) -> Option<Wrapper> {
    match name {
        "pthread_create" => Some(Wrapper::plain(
            "pthread_create",
            create as *const (),
            &CREATE,
        )),
        "thrd_create" => Some(Wrapper::plain(
            "thrd_create",
            create_c11 as *const (),
            &CREATE_C11,
        )),
        _ => None,
    }
}

extern "C" fn create(
    thread: *mut c_void,
    attributes: *const c_void,
    start: usize,
    argument: *mut c_void,
) -> c_int {
    type Create = unsafe extern "C" fn(*mut c_void, *const c_void, Start, *mut c_void) -> c_int;
    // SAFETY: the address of the program's `pthread_create`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Create>(CREATE.get()) };
    // SAFETY: the caller's arguments, but for the routine, which takes the job.
    with_job(start, argument, |job| unsafe {
        real(thread, attributes, begin, job)
    })
}

extern "C" fn create_c11(thread: *mut c_void, start: usize, argument: *mut c_void) -> c_int {
    type Create = unsafe extern "C" fn(*mut c_void, Start, *mut c_void) -> c_int;
    // SAFETY: the address of the program's `thrd_create`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Create>(CREATE_C11.get()) };
    // SAFETY: the caller's arguments, but for the routine, which takes the job.
    with_job(start, argument, |job| unsafe { real(thread, begin, job) })
}

/// Makes a thread that does a job. What makes it gives 0 where it could.
fn with_job(start: usize, argument: *mut c_void, make: impl FnOnce(*mut c_void) -> c_int) -> c_int {
    let start = callbacks::leave(start, "a thread of the library's");
    // SAFETY: the caller's start routine, or a gate in front of it.
    let start = unsafe { core::mem::transmute::<usize, Start>(start) };
    let job = without_signals(|| Box::into_raw(Box::new(Job { start, argument })));
    let result = make(job.cast());
    if result != 0 {
        // SAFETY: no thread was made that would take it.
        without_signals(|| drop(unsafe { Box::from_raw(job) }));
    }
    result
}

/// The first function of every thread. A thread may end by unwinding through here (`pthread_exit(3)`): nothing is held.
unsafe extern "C-unwind" fn begin(job: *mut c_void) -> *mut c_void {
    registers::close_all();
    // SAFETY: the job that was made for this thread alone.
    let Job { start, argument } = without_signals(|| *unsafe { Box::from_raw(job.cast::<Job>()) });
    // SAFETY: as the creator asked.
    unsafe { start(argument) }
}
