//! The user's floating-point and vector state, all of it, as XSAVE keeps it.
//!
//! The kernel itself is compiled for x86-64 as it is, SSE included. So each entry from user mode saves the whole state into
//! the thread's area before the first compiled instruction, and each return loads it (`trap/entry.s`). A switch of threads has
//! nothing left to do about it. An entry from the kernel saves x87 and SSE on its stack, which is what interrupted kernel code
//! can have in use.
//!
//! PKRU is apart, as in Linux: it stays in effect while the kernel runs, so that the kernel's accesses to user pages heed it,
//! and the scheduler switches it. XCR0 has its bit nevertheless: XSAVE in a program saves it, and so do signal frames.
//!
//! Where XSAVE may not be used, see [`super::features`], FXSAVE takes its place: x87 and SSE are all that such a CPU has.
//!
//! Source: SDM Vol. 1, 13.2 to 13.5.

#![allow(unsafe_code, reason = "allocates areas for XSAVE; XSETBV")]

extern crate alloc;

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::arch::x86_64::__cpuid_count;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pkeys_core::x86::{CPUID_LEAF_XSAVE, XFEATURE_PKRU};

use super::features::Features;
use super::registers::{halves, write_xcr0};

/// x87, SSE, AVX, the three parts of AVX-512, PKRU.
const WANTED: u64 = 0b111 | 0b111 << 5 | XFEATURE_PKRU;

/// What an area is aligned to.
const ALIGN: usize = 64;

/// What MXCSR starts with: every exception masked.
pub(crate) const MXCSR_INITIAL: u32 = 0x1F80;
/// What the x87 control word starts with.
const CONTROL_INITIAL: u16 = 0x037F;

/// The beginning of an area. XRSTOR takes MXCSR from it even where `XSTATE_BV` says that the area has nothing; FXRSTOR takes
/// all of it.
#[repr(C)]
struct Legacy {
    control: u16,
    x87: [u8; 22],
    mxcsr: u32,
}

/// The bytes of the two first components and the header, which every area has.
const MIN_LEN: usize = 576;

/// The bytes of an area on this CPU.
static LEN: AtomicUsize = AtomicUsize::new(MIN_LEN);

/// Enables the components that the CPU has, on each CPU. Gives those that entry code saves and loads, all but PKRU, as it
/// takes them; 0 where it is to use FXSAVE.
pub(crate) fn start(features: &Features) -> u32 {
    if !features.has_xsave() {
        return 0;
    }
    let [wanted, _] = halves(WANTED);
    let [pkru, _] = halves(XFEATURE_PKRU);
    let enabled = wanted & __cpuid_count(CPUID_LEAF_XSAVE, 0).eax;
    // SAFETY: (1) `Features::enable` has set CR4.OSXSAVE. CPUID lists what is left of the wanted components; AVX-512 comes
    // in all its parts or none.
    unsafe { write_xcr0(u64::from(enabled)) };
    // What XCR0 has enabled decides about this answer.
    LEN.store(
        (__cpuid_count(CPUID_LEAF_XSAVE, 0).ebx as usize).max(MIN_LEN),
        Relaxed,
    );
    enabled & !pkru
}

/// The saved state of one thread.
#[derive(Debug)]
pub(crate) struct Area {
    bytes: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its bytes.
unsafe impl Send for Area {}
// SAFETY: shared references give the address alone.
unsafe impl Sync for Area {}

impl Area {
    /// The state in which a program starts.
    pub(crate) fn new() -> Self {
        let len = LEN.load(Relaxed);
        let Ok(layout) = Layout::from_size_align(len, ALIGN) else {
            unreachable!("XSAVE areas are a few KiB");
        };
        // SAFETY: the size is not zero.
        let Some(bytes) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout);
        };
        // SAFETY: `MIN_LEN` bytes at least, aligned to 64, filled with zeros, and nobody else's.
        let legacy = unsafe { bytes.cast::<Legacy>().as_mut() };
        legacy.control = CONTROL_INITIAL;
        legacy.mxcsr = MXCSR_INITIAL;
        Self { bytes, layout }
    }

    /// Where it is.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.bytes.as_ptr()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, once.
        unsafe { dealloc(self.bytes.as_ptr(), self.layout) }
    }
}
