//! On whose behalf a library that serves everybody made a stray access: the C library, and those of C++.
//!
//! The stack is walked by the unwinder, from within the fault handler, to the first frame of somebody else. The unwinder is
//! this library's own copy of `libgcc_s`: it finds the tables of any object by `_dl_find_object(3)`, which takes no lock, and nobody has
//! registered others with this copy, which it would have to look up under one. What it sets up at its first use is
//! set up before the program runs ([`prepare`]).
#![allow(unsafe_code, reason = "the unwinder's interface")]

use core::ffi::{c_int, c_void};

use crate::domain::Ranges;

/// Where the code of libraries is that serve everybody.
pub(crate) static SERVANTS: Ranges = Ranges::new();

/// How the names of these libraries begin.
const NAMES: [&str; 7] = [
    "libc.so",
    "libm.so",
    "libpthread.so",
    "libstdc++.so",
    "libc++.so",
    "libc++abi.so",
    "libgcc_s.so",
];

/// Frames that are looked at behind the faulting one.
const MAX_FRAMES: usize = 32;

/// Frames in front of it: the handler's own.
const MAX_OWN_FRAMES: usize = 32;

/// `_URC_NO_REASON`: go on.
const GO_ON: c_int = 0;

/// `_URC_END_OF_STACK`: enough.
const ENOUGH: c_int = 5;

/// Whether a library of that name serves everybody.
pub(crate) fn is_servant(name: &str) -> bool {
    NAMES.iter().any(|servant| name.starts_with(servant))
}

/// The unwinder's state of a frame.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

type Trace = extern "C" fn(*mut Context, *mut c_void) -> c_int;

unsafe extern "C" {
    fn _Unwind_Backtrace(trace: Trace, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
}

/// A walk along the stack.
#[derive(Debug)]
struct Walk {
    /// Where the fault was.
    pc: usize,
    /// Frames seen in front of it, and behind.
    seen: [usize; 2],
    is_behind: bool,
    /// The first return address into something else.
    found: Option<usize>,
}

/// Who called the servant in which the instruction at `pc` faulted: an address in the caller. `None` where the instruction is not a
/// servant's, or the caller is not found. For the fault handler.
pub(crate) fn of(pc: usize) -> Option<usize> {
    if SERVANTS.contains(pc) {
        walk(pc)
    } else {
        None
    }
}

/// Walks the stack of the calling thread to whoever called the servant that is at `pc` on it.
fn walk(pc: usize) -> Option<usize> {
    let mut walk = Walk::from(pc);
    // SAFETY: the function takes a walk, which lives until this returns.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.found
}

/// Walks once, so that the unwinder has set up what it needs, and the loader has bound what it calls. This library serves everybody
/// too: its allocator works for a guarded library in the belief that the gate has opened the key, and in a signal handler that
/// has entered the library past every gate it has not.
pub(crate) fn prepare() {
    // SAFETY: the function reads what it is given, and keeps nothing of it.
    unsafe { libc::dl_iterate_phdr(Some(serve), core::ptr::null_mut()) };
    walk(0);
}

/// Adds the code of an object of this library's own namespace: this library, and its copies of those that it needs.
unsafe extern "C" fn serve(
    object: *mut libc::dl_phdr_info,
    _len_bytes: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader's structure.
    let object = unsafe { object.read() };
    // SAFETY: the object's program headers, so many.
    let headers =
        unsafe { core::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let is_code = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0
    };
    for header in headers.iter().filter(is_code) {
        let start = object.dlpi_addr.wrapping_add(header.p_vaddr);
        if let (Ok(start), Ok(len_bytes)) =
            (usize::try_from(start), usize::try_from(header.p_memsz))
        {
            SERVANTS.add(start, start + len_bytes);
        }
    }
    GO_ON
}

extern "C" fn step(context: *mut Context, walk: *mut c_void) -> c_int {
    // SAFETY: the unwinder's frame.
    let addr = unsafe { _Unwind_GetIP(context) };
    // SAFETY: the walk that this was started with, which nobody else uses.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    walk.step(addr)
}

impl Walk {
    /// Nothing seen yet.
    const fn from(pc: usize) -> Self {
        Self {
            pc,
            seen: [0; 2],
            is_behind: false,
            found: None,
        }
    }

    /// Looks at the next frame.
    fn step(&mut self, addr: usize) -> c_int {
        let [before, behind] = &mut self.seen;
        if !self.is_behind {
            self.is_behind = addr == self.pc;
            *before += 1;
            return if *before > MAX_OWN_FRAMES {
                ENOUGH
            } else {
                GO_ON
            };
        }
        *behind += 1;
        if *behind > MAX_FRAMES {
            return ENOUGH;
        }
        if SERVANTS.contains(addr) {
            return GO_ON;
        }
        // The address behind the call may be the first of another function.
        self.found = Some(addr - 1);
        ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(pc: usize, frames: &[usize]) -> Option<usize> {
        let mut walk = Walk::from(pc);
        frames.iter().find(|frame| walk.step(**frame) != GO_ON);
        walk.found
    }

    #[test]
    fn the_first_frame_behind_the_servants_is_the_caller() {
        assert!(SERVANTS.add(0x1000, 0x2000));
        let frames = [0x9000, 0x9100, 0x1234, 0x1300, 0x5001, 0x6001];
        assert_eq!(walk(0x1234, &frames), Some(0x5000));
        assert_eq!(
            walk(0x1235, &frames),
            None,
            "the fault is not among the frames"
        );
        assert_eq!(walk(0x1234, &frames[..4]), None, "nobody else on the stack");
        let deep: Vec<usize> = core::iter::once(0x1234)
            .chain(core::iter::repeat_n(0x1300, MAX_FRAMES))
            .chain([0x5001])
            .collect();
        assert_eq!(walk(0x1234, &deep), None, "too far away");
        SERVANTS.remove(0x1000);
    }

    #[test]
    fn a_walk_from_here_ends() {
        prepare();
        assert_eq!(of(0x10), None, "no servant's");
    }
}
