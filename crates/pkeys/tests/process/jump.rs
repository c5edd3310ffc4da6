//! `sigsetjmp(3)` and `siglongjmp(3)`, for handlers that do not return.

use core::ffi::c_int;

/// glibc's `sigjmp_buf` for x86-64 has 200 bytes.
#[repr(C, align(16))]
struct Buffer([u64; 32]);

unsafe extern "C" {
    fn __sigsetjmp(buffer: *mut Buffer, save_mask: c_int) -> c_int;
    fn siglongjmp(buffer: *mut Buffer, value: c_int) -> !;
}

static mut PLACE: Buffer = Buffer([0; 32]);

/// Runs `body`; returns when it does, or when a handler [`jump`]s. `body` keeps nothing that has a destructor.
#[inline(never)]
pub(crate) fn catch(body: impl FnOnce()) {
    // SAFETY: returns twice; this frame keeps nothing across the call and is still there at the second return.
    if unsafe { __sigsetjmp(&raw mut PLACE, 1) } == 0 {
        body();
    }
}

/// Goes on behind the [`catch`] that is running, with its signal mask.
pub(crate) fn jump() -> ! {
    // SAFETY: called by handlers of signals that are raised inside `catch`.
    unsafe { siglongjmp(&raw mut PLACE, 1) };
}
