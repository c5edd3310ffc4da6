//! The user's floating-point and vector state, all of it, as XSAVE keeps it.
//!
//! The kernel itself is compiled for x86-64 as it is, SSE included. So each entry from user mode saves the whole state into
//! an area of the CPU before the first compiled instruction, and each return loads it (`trap/entry.s`). What is the
//! running program's state, to the kernel, is this area: a switch to another program, a signal frame and the return from
//! one copy from and to it ([`save`], [`load`]). An entry from the kernel saves x87 and SSE on its stack, which is what
//! interrupted kernel code can have in use.
//!
//! PKRU is apart, as in Linux: it stays in effect while the kernel runs, so that the kernel's accesses to user pages heed it,
//! and `pkeys-kernel` puts it into frames. XCR0 has its bit nevertheless: XSAVE in a program saves it.
//!
//! Where XSAVE may not be used, see [`super::features`], FXSAVE takes its place: x87 and SSE are all that such a CPU has.
//! Frames have the form of XSAVE even so, and PKRU where CPUID says that XSAVE would put it.
//!
//! Source: SDM Vol. 1, 13.2 to 13.8, 10.5.1 (FXSAVE).

#![allow(
    unsafe_code,
    reason = "allocates areas for XSAVE; XSETBV, XSAVE, FXSAVE"
)]

extern crate alloc;

use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _fxsave64};
use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pkeys_core::x86::{CPUID_LEAF_XSAVE, PKRU_COMPONENT, XFEATURE_PKRU};
use pkeys_core::xsave::{HEADER_END, XCOMP_BV_OFFSET, XSTATE_BV_OFFSET};
use pkeys_core::{KeyRegister, XsaveLayout};
use pkeys_kernel::signal::xstate::{XFEATURES_FPSSE, XstateConfig};

use super::features::Features;
use super::per_cpu::{self, PerCpu};
use super::pkru;
use super::registers::{halves, write_xcr0};

/// x87, SSE, AVX, the three parts of AVX-512, PKRU.
const WANTED: u64 = 0b111 | 0b111 << 5 | XFEATURE_PKRU;

/// What an area is aligned to.
const ALIGN: usize = 64;

/// What MXCSR starts with: every exception masked.
pub(crate) const MXCSR_INITIAL: u32 = 0x1F80;
/// What the x87 control word starts with.
const CONTROL_INITIAL: u16 = 0x037F;
/// The bits of MXCSR on a CPU whose FXSAVE does not tell (SDM Vol. 1, 11.6.6).
const MXCSR_MASK_DEFAULT: u32 = 0xFFBF;

/// The parts of the legacy region: x87's registers, those of SSE, and the end of both. What follows up to the header is
/// software's, and in `pkeys-kernel`'s areas is a mark that has to stay.
const X87: Range<usize> = 0..24;
const X87_STACK: Range<usize> = 32..160;
const SSE: Range<usize> = 160..LEGACY_END;
const LEGACY_END: usize = 464;
const MXCSR_MASK_OFFSET: usize = 28;
/// Where the header begins.
const HEADER: usize = XSTATE_BV_OFFSET;

/// The bytes of an area on this CPU.
static LEN: AtomicUsize = AtomicUsize::new(HEADER_END);

/// Enables the components that the CPU has and gives it its area, on each CPU.
pub(crate) fn start(cpu: &PerCpu, features: &Features) {
    if features.has_xsave() {
        let [wanted, _] = halves(WANTED);
        let [pkru, _] = halves(XFEATURE_PKRU);
        let enabled = wanted & __cpuid_count(CPUID_LEAF_XSAVE, 0).eax;
        // SAFETY: (1) `Features::enable` has set CR4.OSXSAVE. CPUID lists what is left of the wanted components; AVX-512
        // comes in all its parts or none.
        unsafe { write_xcr0(u64::from(enabled)) };
        // What XCR0 has enabled decides about this answer.
        LEN.store(
            (__cpuid_count(CPUID_LEAF_XSAVE, 0).ebx as usize).max(HEADER_END),
            Relaxed,
        );
        // All but PKRU; 0 tells the entry code to use FXSAVE.
        cpu.switched.set(u64::from(enabled & !pkru));
    }
    cpu.user_state.set(new_area());
    with_area(cpu, |state| fill_from(state, None, cpu.switched.get()));
}

/// A new area, filled with zeros, for ever.
fn new_area() -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(LEN.load(Relaxed), ALIGN) else {
        unreachable!("XSAVE areas are a few KiB");
    };
    // SAFETY: the size is not zero.
    let area = unsafe { alloc_zeroed(layout) };
    if area.is_null() {
        handle_alloc_error(layout);
    }
    area
}

/// Does something with the area of this CPU.
fn with_area<R>(cpu: &PerCpu, work: impl FnOnce(&mut [u8]) -> R) -> R {
    // SAFETY: allocated by `start` with this length, and this CPU's own. The entry code uses it when programs come and go, which
    // is not while something of this module runs, and nothing in this module calls this again inside of it.
    work(unsafe { slice::from_raw_parts_mut(cpu.user_state.get(), LEN.load(Relaxed)) })
}

/// The program's state, into an area in the standard format. PKRU's place gets zeros.
pub(crate) fn save(into: &mut [u8]) {
    let cpu = per_cpu::this();
    with_area(cpu, |state| {
        copy(into, state, 0..LEGACY_END);
        copy(into, state, HEADER..into.len().min(state.len()));
    });
    if cpu.switched.get() == 0 {
        put_u64(into, XSTATE_BV_OFFSET, XFEATURES_FPSSE);
    }
}

/// The state that the program goes on with, from such an area.
pub(crate) fn load(from: &[u8]) {
    let cpu = per_cpu::this();
    with_area(cpu, |state| {
        fill_from(state, Some(from), cpu.switched.get())
    });
}

/// Fills an area from another one, or with the initial state, so that XRSTOR or FXRSTOR loads it.
fn fill_from(state: &mut [u8], from: Option<&[u8]>, switched: u64) {
    if let Some(from) = from {
        copy(state, from, 0..LEGACY_END);
        copy(state, from, HEADER..from.len().min(state.len()));
    } else {
        state.fill(0);
        put_u32(state, 24, MXCSR_INITIAL);
    }
    let present = get_u64(state, XSTATE_BV_OFFSET);
    if switched == 0 {
        // FXRSTOR loads what there is: so what the header calls initial has to be there.
        if present & 1 == 0 {
            fill(state, X87, 0);
            fill(state, X87_STACK, 0);
            copy(state, &CONTROL_INITIAL.to_le_bytes(), 0..2);
        }
        if present & 2 == 0 {
            fill(state, SSE, 0);
        }
    }
    put_u64(state, XSTATE_BV_OFFSET, present & switched);
    put_u64(state, XCOMP_BV_OFFSET, 0);
}

/// What this CPU, and every other one, has: for `pkeys-kernel`. Uses the CPU's area, so no program may have run yet.
pub(crate) fn config() -> XstateConfig {
    let cpu = per_cpu::this();
    let switched = cpu.switched.get();
    let layout = XsaveLayout {
        pkru_offset: __cpuid_count(CPUID_LEAF_XSAVE, PKRU_COMPONENT).ebx,
    };
    let has_xsave = switched != 0;
    let size = if has_xsave {
        __cpuid_count(CPUID_LEAF_XSAVE, 0).ebx
    } else {
        layout.pkru_offset + 4
    };
    let components = if has_xsave { switched } else { XFEATURES_FPSSE };
    let config = XstateConfig {
        size: size.next_multiple_of(8),
        features: components | XFEATURE_PKRU,
        layout,
        mxcsr_mask: mxcsr_mask(cpu),
        tracks_init: has_xsave && tracks_init(cpu),
    };
    with_area(cpu, |state| fill_from(state, None, cpu.switched.get()));
    config
}

/// The bits that MXCSR may have, as FXSAVE tells them.
fn mxcsr_mask(cpu: &PerCpu) -> u32 {
    let told = with_area(cpu, |area| {
        // SAFETY: more than 512 bytes, aligned; every CPU with long mode has the instruction.
        unsafe { _fxsave64(area.as_mut_ptr()) };
        get_u64(area, MXCSR_MASK_OFFSET)
    });
    match told & 0xFFFF_FFFF {
        0 => MXCSR_MASK_DEFAULT,
        mask => halves(mask)[0],
    }
}

/// Whether XSAVE leaves the bit of PKRU clear when PKRU is 0. CPUID does not tell, so it is tried.
fn tracks_init(cpu: &PerCpu) -> bool {
    let [pkru_bit, _] = halves(XFEATURE_PKRU);
    let before = pkru::read();
    pkru::load(KeyRegister::ALL_OPEN);
    let present = with_area(cpu, |area| {
        // SAFETY: CR4.OSXSAVE is set, XCR0 has the component, the area is as large as CPUID says and aligned.
        unsafe {
            asm!(
                "xsave64 [{area}]",
                area = in(reg) area.as_mut_ptr(),
                in("eax") pkru_bit,
                in("edx") 0,
                options(nostack),
            );
        }
        get_u64(area, XSTATE_BV_OFFSET)
    });
    pkru::load(before);
    present & XFEATURE_PKRU == 0
}

fn copy(to: &mut [u8], from: &[u8], range: Range<usize>) {
    if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
        to.copy_from_slice(from);
    }
}

fn fill(bytes: &mut [u8], range: Range<usize>, value: u8) {
    if let Some(bytes) = bytes.get_mut(range) {
        bytes.fill(value);
    }
}

fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    if let Some(place) = bytes.get_mut(offset..offset + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn put_u64(bytes: &mut [u8], offset: usize, value: u64) {
    if let Some(place) = bytes.get_mut(offset..offset + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    let bytes = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
