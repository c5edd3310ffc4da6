//! The heap: what `alloc` asks for.
//!
//! Small requests come in sizes that are powers of two, from lists of free pieces; a list that is empty cuts up another
//! frame. Large ones are runs of frames; where no run is long enough, single frames with addresses that follow one another
//! ([`super::patchwork`]). Frames that were cut up stay so. Handlers of interrupts may allocate, an NMI's may not.

#![allow(unsafe_code, reason = "implements the global allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use super::frames;
use super::layout::{PAGE, direct, physical, to_usize};
use super::patchwork;
use crate::sync::Spin;

/// The smallest piece, in bytes, as a power of two.
const MIN_SHIFT: u32 = 4;
/// The number of lists: 16 bytes to 2 KiB.
const CLASSES: usize = 8;

/// Lists of free pieces by size. A free piece holds the address of the next one.
struct Lists([*mut Piece; CLASSES]);

struct Piece {
    next: *mut Piece,
}

// SAFETY: the pieces belong to the lists, whoever holds them.
unsafe impl Send for Lists {}

struct Heap(Spin<Lists>);

#[global_allocator]
static HEAP: Heap = Heap(Spin::new(Lists([ptr::null_mut(); CLASSES])));

/// The list for a request, or `None` where it takes whole frames.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(1 << MIN_SHIFT);
    let class = (size.next_power_of_two().trailing_zeros() - MIN_SHIFT) as usize;
    (class < CLASSES).then_some(class)
}

/// The frames of a large request, and the alignment of the first.
fn run(layout: Layout) -> (usize, usize) {
    let frames = |bytes: usize| bytes.div_ceil(to_usize(PAGE));
    (frames(layout.size()), frames(layout.align()))
}

impl Lists {
    /// Takes a piece, cutting up a frame where there is none.
    fn take(&mut self, class: usize) -> Option<*mut u8> {
        let head = &mut self.0[class];
        if head.is_null() {
            let frame: *mut u8 = direct(frames::allocate_one()?);
            let size = 1 << (class + MIN_SHIFT as usize);
            for at in (0..to_usize(PAGE)).step_by(size) {
                // SAFETY: inside the frame, which is nobody else's.
                let piece: *mut Piece = unsafe { frame.add(at) }.cast();
                // SAFETY: aligned, as its size is a multiple of 16.
                unsafe { piece.write(Piece { next: *head }) };
                *head = piece;
            }
        }
        let piece = *head;
        // SAFETY: it is on the list, so it is free and holds the next one's address.
        *head = unsafe { (*piece).next };
        Some(piece.cast())
    }

    /// Puts a piece on its list.
    fn put(&mut self, class: usize, piece: *mut u8) {
        let piece: *mut Piece = piece.cast();
        // SAFETY: the piece was given out by `take` and is given back.
        unsafe {
            piece.write(Piece {
                next: self.0[class],
            })
        };
        self.0[class] = piece;
    }
}

// SAFETY: pieces and frames are given out once until they come back, with size and alignment as asked for: pieces are aligned
// to their size, which is a power of two and not less than either; frames to what was asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = match class(layout) {
            Some(class) => self.0.lock().take(class),
            None => {
                let (nr, align) = run(layout);
                let run = frames::allocate(nr, align).map(direct);
                run.or_else(|| patchwork::allocate(nr))
            }
        };
        at.unwrap_or(ptr::null_mut())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match class(layout) {
            Some(class) => self.0.lock().put(class, at),
            None if patchwork::has(at) => patchwork::free(at),
            None => frames::free(physical(at.addr() as u64), run(layout).0),
        }
    }
}
