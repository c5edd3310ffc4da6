//! The allocator of C and C++, as a guarded library and as everyone else sees it.
//!
//! A guarded library's allocations come from its domain's heap, or from the heap of what is handed over while a function on the
//! `--share` list runs. Everybody's `free(3)` and its kin look at the address first: a block may be freed by whoever owns it by then.
//! `operator delete` needs no wrapper: every implementation of it ends in `free(3)`, whose binding is seen wherever it is.
//! A program that reallocates a library's block owns it, and gets ordinary memory.
//!
//! When a heap is exhausted, or for what it cannot do, the function of the program's own library takes over: `operator new` calls
//! the new-handler and throws as it should.
#![allow(
    unsafe_code,
    reason = "functions of another C library by address, memory by pointer"
)]

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

use crate::domain::{self, Guarded};
use crate::gate::descriptor::Descriptor;
use crate::gate::{registers, shadow};
use crate::heap::Heap;
use crate::real::Slot;
use crate::wrap::Wrapper;
use pkeys_core::Pkey;

/// The alignment that `operator new` gives without being asked.
const NEW_ALIGN_BYTES: usize = 16;

static MALLOC: Slot = Slot::new();
static CALLOC: Slot = Slot::new();
static MEMALIGN: Slot = Slot::new();
static FREE: Slot = Slot::new();
static REALLOC: Slot = Slot::new();
static REALLOCARRAY: Slot = Slot::new();
static USABLE: Slot = Slot::new();
static NEW: Slot = Slot::new();
static NEW_ALIGNED: Slot = Slot::new();
static NEW_NOTHROW: Slot = Slot::new();
static NEW_ALIGNED_NOTHROW: Slot = Slot::new();

/// Wrappers for guarded libraries, by name.
pub(super) fn for_guarded(name: &str) -> Option<Wrapper> {
    type One = extern "C" fn(usize, usize, usize, *const Guarded) -> *mut c_void;
    let with = |name: &'static str, function: *const (), slot: Option<&'static Slot>| {
        Some(Wrapper::with_domain(name, function, slot))
    };
    match name {
        "malloc" => with("malloc", malloc as One as *const (), Some(&MALLOC)),
        "valloc" => with("valloc", valloc as One as *const (), None),
        "calloc" => with("calloc", calloc as *const (), Some(&CALLOC)),
        "memalign" | "aligned_alloc" => with("memalign", memalign as *const (), Some(&MEMALIGN)),
        "posix_memalign" => with("posix_memalign", posix_memalign as *const (), None),
        "realloc" => with("realloc", realloc as *const (), Some(&REALLOC)),
        "reallocarray" => with(
            "reallocarray",
            reallocarray as *const (),
            Some(&REALLOCARRAY),
        ),
        "free" | "cfree" => with("free", free_of_guarded as *const (), Some(&FREE)),
        "strdup" | "__strdup" => with("strdup", strdup as *const (), None),
        "strndup" | "__strndup" => with("strndup", strndup as *const (), None),
        // operator new and new[], of one size, with and without exceptions, with and without alignment.
        "_Znwm" | "_Znam" => with("operator new", new as *const (), Some(&NEW)),
        "_ZnwmRKSt9nothrow_t" | "_ZnamRKSt9nothrow_t" => {
            with("operator new", new_nothrow as *const (), Some(&NEW_NOTHROW))
        }
        "_ZnwmSt11align_val_t" | "_ZnamSt11align_val_t" => {
            with("operator new", new_aligned as *const (), Some(&NEW_ALIGNED))
        }
        "_ZnwmSt11align_val_tRKSt9nothrow_t" | "_ZnamSt11align_val_tRKSt9nothrow_t" => with(
            "operator new",
            new_aligned_nothrow as *const (),
            Some(&NEW_ALIGNED_NOTHROW),
        ),
        _ => None,
    }
}

/// Wrappers for everybody, by name.
pub(super) fn for_all(name: &str) -> Option<Wrapper> {
    let plain = |name: &'static str, function: *const (), slot: &'static Slot| {
        Some(Wrapper::plain(name, function, slot))
    };
    match name {
        "free" | "cfree" => plain("free", free as *const (), &FREE),
        "realloc" => plain("realloc", realloc_of_program as *const (), &REALLOC),
        "reallocarray" => plain(
            "reallocarray",
            reallocarray_of_program as *const (),
            &REALLOCARRAY,
        ),
        "malloc_usable_size" => plain(
            "malloc_usable_size",
            malloc_usable_size as *const (),
            &USABLE,
        ),
        _ => None,
    }
}

/// Where a guarded library's next block comes from, and on whose account.
struct Account {
    heap: Option<&'static Heap>,
    pkey: Option<Pkey>,
    descriptor: *const Descriptor,
}

impl Account {
    fn of(guarded: *const Guarded) -> Self {
        // SAFETY: null, or a domain that a thunk names, which lives for ever.
        let guarded: Option<&'static Guarded> = unsafe { guarded.as_ref() };
        let descriptor = shadow::current_descriptor();
        let is_shared =
            descriptor.is_some_and(|descriptor| descriptor.is_shared() && !descriptor.is_reverse());
        let is_open = is_open(guarded, descriptor);
        let descriptor = descriptor.map_or(ptr::null(), ptr::from_ref);
        match guarded {
            Some(guarded) if !is_shared => Self {
                heap: Some(&guarded.heap),
                pkey: if is_open { None } else { guarded.pkey() },
                descriptor,
            },
            _ => Self {
                heap: domain::shared(),
                pkey: None,
                descriptor,
            },
        }
    }

    fn take(&self, body: impl FnOnce(&Heap, *const Descriptor) -> *mut u8) -> *mut c_void {
        let Some(heap) = self.heap else {
            return ptr::null_mut();
        };
        let block = registers::opened(self.pkey, || body(heap, self.descriptor)).cast::<c_void>();
        if block.is_null() {
            set_errno(libc::ENOMEM);
        }
        block
    }
}

/// Whether the thread is in a gate of that domain, which has opened its key. That spares an RDPKRU at each allocation; where a signal
/// handler has entered the library past every gate in between, the fault is judged to be the library's (`caller`).
fn is_open(guarded: Option<&Guarded>, descriptor: Option<&Descriptor>) -> bool {
    let (Some(guarded), Some(descriptor)) = (guarded, descriptor) else {
        return false;
    };
    ptr::eq(descriptor.domain, guarded) && !descriptor.is_reverse()
}

extern "C" fn malloc(len_bytes: usize, _: usize, _: usize, guarded: *const Guarded) -> *mut c_void {
    Account::of(guarded).take(|heap, descriptor| heap.allocate(len_bytes, descriptor))
}

extern "C" fn valloc(len_bytes: usize, _: usize, _: usize, guarded: *const Guarded) -> *mut c_void {
    memalign(crate::map::PAGE_BYTES, len_bytes, 0, guarded)
}

extern "C" fn calloc(count: usize, each: usize, _: usize, guarded: *const Guarded) -> *mut c_void {
    let Some(len_bytes) = count.checked_mul(each) else {
        set_errno(libc::ENOMEM);
        return ptr::null_mut();
    };
    Account::of(guarded).take(|heap, descriptor| heap.allocate_zeroed(len_bytes, descriptor))
}

extern "C" fn memalign(
    align: usize,
    len_bytes: usize,
    _: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    let Some(align) = align.checked_next_power_of_two() else {
        set_errno(libc::EINVAL);
        return ptr::null_mut();
    };
    Account::of(guarded)
        .take(|heap, descriptor| heap.allocate_aligned(align, len_bytes, descriptor))
}

extern "C" fn posix_memalign(
    out: *mut *mut c_void,
    align: usize,
    len_bytes: usize,
    guarded: *const Guarded,
) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    let block = memalign(align, len_bytes, 0, guarded);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's own variable, as posix_memalign(3) demands.
    unsafe { out.write(block) };
    0
}

extern "C" fn realloc(
    block: *mut c_void,
    len_bytes: usize,
    _: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    if block.is_null() {
        return malloc(len_bytes, 0, 0, guarded);
    }
    let Some((heap, pkey)) = domain::owner(block.addr()) else {
        return real_realloc(block, len_bytes);
    };
    if len_bytes == 0 {
        free(block);
        return ptr::null_mut();
    }
    let account = Account::of(guarded);
    // In a function whose allocations belong to the caller, a block of the domain's becomes the caller's too.
    let is_shared = |heap: &Heap| domain::shared().is_some_and(|shared| ptr::eq(shared, heap));
    if account.heap.is_some_and(is_shared) && !is_shared(heap) {
        let usable = heap.usable_bytes(block.expose_provenance());
        let new = account.take(|heap, descriptor| heap.allocate(len_bytes, descriptor));
        if !new.is_null() {
            // SAFETY: two blocks of at least so many bytes each; everybody may read the old one.
            unsafe {
                ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast(), usable.min(len_bytes))
            };
            free(block);
        }
        return new;
    }
    let account = Account {
        heap: Some(heap),
        pkey,
        ..account
    };
    account
        .take(|heap, descriptor| heap.reallocate(block.expose_provenance(), len_bytes, descriptor))
}

extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    each: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    match count.checked_mul(each) {
        Some(len_bytes) => realloc(block, len_bytes, 0, guarded),
        None => {
            set_errno(libc::ENOMEM);
            ptr::null_mut()
        }
    }
}

extern "C" fn strdup(
    text: *const c_char,
    _: usize,
    _: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    // SAFETY: the caller's string.
    let len_bytes = unsafe { libc::strlen(text) };
    copy(text, len_bytes, guarded)
}

extern "C" fn strndup(
    text: *const c_char,
    most: usize,
    _: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    // SAFETY: the caller's string, or so many of its bytes.
    let len_bytes = unsafe { libc::strnlen(text, most) };
    copy(text, len_bytes, guarded)
}

fn copy(text: *const c_char, len_bytes: usize, guarded: *const Guarded) -> *mut c_void {
    Account::of(guarded).take(|heap, descriptor| {
        let block = heap.allocate(len_bytes + 1, descriptor);
        if !block.is_null() {
            // SAFETY: the string has so many bytes, and the block one more.
            unsafe { ptr::copy_nonoverlapping(text.cast::<u8>(), block, len_bytes) };
            let last = block.wrapping_add(len_bytes);
            // SAFETY: the block's last byte.
            unsafe { last.write(0) };
        }
        block
    })
}

/// The form of the program's own: it calls the new-handler, and throws or gives null where that gives up. Arguments that a form does not
/// have are in registers that it does not look at.
fn new_of_program(slot: &Slot, arguments: [usize; 3]) -> *mut c_void {
    type New = unsafe extern "C-unwind" fn(usize, usize, usize) -> *mut c_void;
    // SAFETY: the address of an `operator new` of the program's, noted when its wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, New>(slot.get()) };
    let [first, second, third] = arguments;
    // SAFETY: the library's arguments.
    unsafe { real(first, second, third) }
}

fn new_by(slot: &Slot, arguments: [usize; 3], guarded: *const Guarded) -> *mut c_void {
    let block = malloc(arguments[0], 0, 0, guarded);
    if block.is_null() {
        return new_of_program(slot, arguments);
    }
    block
}

fn new_aligned_by(slot: &Slot, arguments: [usize; 3], guarded: *const Guarded) -> *mut c_void {
    let [len_bytes, align, _] = arguments;
    let block = memalign(align.max(NEW_ALIGN_BYTES), len_bytes, 0, guarded);
    if block.is_null() {
        return new_of_program(slot, arguments);
    }
    block
}

extern "C-unwind" fn new(
    len_bytes: usize,
    second: usize,
    third: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    new_by(&NEW, [len_bytes, second, third], guarded)
}

extern "C-unwind" fn new_aligned(
    len_bytes: usize,
    align: usize,
    third: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    new_aligned_by(&NEW_ALIGNED, [len_bytes, align, third], guarded)
}

extern "C-unwind" fn new_nothrow(
    len_bytes: usize,
    tag: usize,
    third: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    new_by(&NEW_NOTHROW, [len_bytes, tag, third], guarded)
}

extern "C-unwind" fn new_aligned_nothrow(
    len_bytes: usize,
    align: usize,
    tag: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    new_aligned_by(&NEW_ALIGNED_NOTHROW, [len_bytes, align, tag], guarded)
}

extern "C" fn free(block: *mut c_void) {
    if domain::may_own(block.addr()) {
        free_ours(block);
    } else {
        call_free(FREE.get(), block);
    }
}

/// `free` of a guarded library.
extern "C" fn free_of_guarded(
    block: *mut c_void,
    _: usize,
    _: usize,
    guarded: *const Guarded,
) -> *mut c_void {
    // SAFETY: null, or a domain that a thunk names, which lives for ever.
    let guarded: Option<&'static Guarded> = unsafe { guarded.as_ref() };
    match guarded.filter(|guarded| guarded.heap.contains(block.addr())) {
        Some(guarded) if is_open(Some(guarded), shadow::current_descriptor()) => {
            registers::opened(None, || guarded.heap.free(block.expose_provenance()));
        }
        _ => free(block),
    }
    ptr::null_mut()
}

/// Frees a block that may be of a domain's heap.
#[inline(never)]
fn free_ours(block: *mut c_void) {
    match domain::owner(block.addr()) {
        Some((heap, pkey)) => registers::opened(pkey, || heap.free(block.expose_provenance())),
        None => call_free(FREE.get(), block),
    }
}

fn call_free(function: usize, block: *mut c_void) {
    if function == 0 {
        return;
    }
    type Free = unsafe extern "C" fn(*mut c_void);
    // SAFETY: the address of the program's `free`, noted when the wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Free>(function) };
    // SAFETY: the caller's block.
    unsafe { real(block) };
}

/// `realloc` of the program: a domain's block becomes ordinary memory.
extern "C" fn realloc_of_program(block: *mut c_void, len_bytes: usize) -> *mut c_void {
    let Some((heap, _)) = domain::owner(block.addr()) else {
        return real_realloc(block, len_bytes);
    };
    if len_bytes == 0 {
        free(block);
        return ptr::null_mut();
    }
    let new = real_realloc(ptr::null_mut(), len_bytes);
    if !new.is_null() {
        let usable = heap.usable_bytes(block.expose_provenance());
        // SAFETY: two blocks of at least so many bytes each; everybody may read the old one.
        unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast(), usable.min(len_bytes)) };
        free(block);
    }
    new
}

extern "C" fn reallocarray_of_program(
    block: *mut c_void,
    count: usize,
    each: usize,
) -> *mut c_void {
    if domain::owner(block.addr()).is_none() {
        type ReallocArray = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
        // SAFETY: the address of the program's `reallocarray`, noted when this wrapper was bound.
        let real = unsafe { core::mem::transmute::<usize, ReallocArray>(REALLOCARRAY.get()) };
        // SAFETY: the caller's arguments.
        return unsafe { real(block, count, each) };
    }
    match count.checked_mul(each) {
        Some(len_bytes) => realloc_of_program(block, len_bytes),
        None => {
            set_errno(libc::ENOMEM);
            ptr::null_mut()
        }
    }
}

fn real_realloc(block: *mut c_void, len_bytes: usize) -> *mut c_void {
    type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
    if REALLOC.get() == 0 {
        set_errno(libc::ENOMEM);
        return ptr::null_mut();
    }
    // SAFETY: the address of the program's `realloc`, noted when it was bound.
    let real = unsafe { core::mem::transmute::<usize, Realloc>(REALLOC.get()) };
    // SAFETY: the caller's block, or none.
    unsafe { real(block, len_bytes) }
}

extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    if let Some((heap, _)) = domain::owner(block.addr()) {
        return heap.usable_bytes(block.expose_provenance());
    }
    type Usable = unsafe extern "C" fn(*mut c_void) -> usize;
    // SAFETY: the address of the program's `malloc_usable_size`, noted when this wrapper was bound.
    let real = unsafe { core::mem::transmute::<usize, Usable>(USABLE.get()) };
    // SAFETY: the caller's block.
    unsafe { real(block) }
}

/// What the C library of the process has for `realloc`, for a program that has not bound it itself.
pub(crate) fn note_realloc(function: usize) {
    REALLOC.note(function);
}

/// The thread's error number as the program's C library keeps it.
pub(crate) static ERRNO_LOCATION: Slot = Slot::new();

fn errno_place() -> Option<*mut c_int> {
    type Location = unsafe extern "C" fn() -> *mut c_int;
    let location = ERRNO_LOCATION.get();
    if location == 0 {
        return None;
    }
    // SAFETY: the address of `__errno_location` in the main C library.
    let location = unsafe { core::mem::transmute::<usize, Location>(location) };
    // SAFETY: takes nothing.
    Some(unsafe { location() })
}

fn set_errno(value: c_int) {
    if let Some(place) = errno_place() {
        // SAFETY: the thread's own variable.
        unsafe { place.write(value) };
    }
}
