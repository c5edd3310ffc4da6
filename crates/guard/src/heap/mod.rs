//! The allocator of a domain: what a guarded library gets in place of `malloc(3)`.
//!
//! Its memory is one reserved range of addresses, so that everyone's `free(3)` tells by a comparison whose a block is. The range is
//! cut into **spans** of 64 KiB ([`spans`]). A span holds blocks of one size class ([`classes`]), or a run of spans
//! one large block, so that from any address inside a block its start is found: reports need it. In front of each block lies a
//! header: the descriptor of the gate that asked for it, and the length that was asked for.
//!
//! All state that is read and written by the allocator is in the range too, behind the key ([`lists`]); only the list of free runs of
//! spans is ordinary memory. One lock guards both ([`lock`]). A freed block is marked, and freeing it again ends the program, as
//! glibc does.
#![allow(unsafe_code, reason = "an allocator: headers and lists in raw memory")]

mod classes;
mod lists;
mod lock;
mod spans;

pub(crate) use lock::note_single_threaded;

use core::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gate::descriptor::Descriptor;
use crate::map;
use classes::{Class, LARGEST_BYTES};
use lists::Lists;
use spans::{Kind, SPAN_BYTES, Spans};

/// What is reserved for a domain, if there is room.
const RANGE_BYTES: usize = 64 << 30;

/// The part of the room that a heap takes where there is less, as under `ulimit -v`: most of it is the program's.
const PART: usize = 8;

/// The least that will do.
const MIN_RANGE_BYTES: usize = 32 << 20;

/// Where a huge page may lie.
const RANGE_ALIGN_BYTES: usize = 2 << 20;

/// Bytes of a header.
const HEADER_BYTES: usize = 16;

/// Every block is aligned to this.
const ALIGN_BYTES: usize = 16;

/// Large blocks from this length on give their memory back to the kernel when they are freed.
const GIVE_BACK_BYTES: usize = 1 << 20;

/// In the low bits of a header's first word, where descriptors have zeroes: a block in use.
const LIVE: usize = 0x2A;
/// A freed block.
const FREED: usize = 0x15;
/// The header in front of an aligned address within a block; the rest of the word is the way back to the block's start.
const ALIGNED: usize = 0x0B;
/// The low bits.
const STATE_MASK: usize = 0x3F;

/// The word in front of a block.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Header {
    /// State, and descriptor or distance.
    word: usize,
    /// The length that was asked for.
    len_bytes: usize,
}

/// A domain's heap.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) start: usize,
    pub(crate) len_bytes: usize,
    spans: Spans,
    lists: &'static Lists,
    state: Mutex<State>,
}

/// What the lock guards beside the lists.
#[derive(Debug)]
pub(crate) struct State {
    runs: spans::Runs,
}

/// What is known of a block, from an address within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// First address that its owner has.
    pub(crate) start: usize,
    /// The length that was asked for.
    pub(crate) len_bytes: usize,
    /// The gate that asked; null for none.
    pub(crate) descriptor: *const Descriptor,
    /// Whether it was freed.
    pub(crate) is_freed: bool,
}

impl Heap {
    /// Reserves a range. `None` where there is no room for one.
    pub(crate) fn reserve() -> Option<Self> {
        let (start, len_bytes) = reserve_range()?;
        let spans = Spans::new(start, len_bytes / SPAN_BYTES);
        let lists = spans.table_end().next_multiple_of(align_of::<Lists>());
        let first_free = (lists + size_of::<Lists>() - start).div_ceil(SPAN_BYTES);
        let state = State {
            runs: spans::Runs::new(first_free, len_bytes / SPAN_BYTES),
        };
        Some(Self {
            start,
            len_bytes,
            spans,
            // SAFETY: behind the table and before the first free span of a range that was just mapped (1); rounded up (2).
            lists: unsafe { Lists::at(lists) },
            state: Mutex::new(state),
        })
    }

    /// Whether an address is in the range.
    pub(crate) fn contains(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.start) < self.len_bytes
    }

    /// Takes the lock; also held across `fork(2)`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `malloc(3)`. Null where there is no memory. The key is open.
    pub(crate) fn allocate(&self, len_bytes: usize, descriptor: *const Descriptor) -> *mut u8 {
        self.take(len_bytes, descriptor)
            .map_or(ptr::null_mut(), |(block, _)| pointer(block))
    }

    /// `calloc(3)`.
    pub(crate) fn allocate_zeroed(
        &self,
        len_bytes: usize,
        descriptor: *const Descriptor,
    ) -> *mut u8 {
        let Some((block, is_zero)) = self.take(len_bytes, descriptor) else {
            return ptr::null_mut();
        };
        let block = pointer(block);
        if !is_zero {
            // SAFETY: a block of that length, just allocated.
            unsafe { block.write_bytes(0, len_bytes) };
        }
        block
    }

    /// `memalign(3)`; `align_bytes` is a power of two.
    pub(crate) fn allocate_aligned(
        &self,
        align_bytes: usize,
        len_bytes: usize,
        descriptor: *const Descriptor,
    ) -> *mut u8 {
        if align_bytes <= ALIGN_BYTES {
            return self.allocate(len_bytes, descriptor);
        }
        let Some((block, _)) = len_bytes
            .checked_add(align_bytes)
            .and_then(|all| self.take(all, descriptor))
        else {
            return ptr::null_mut();
        };
        let aligned = (block + align_bytes - 1) & !(align_bytes - 1);
        if aligned > block {
            // Blocks are multiples of 16 apart: there is room for a header in front of the aligned address. The distance
            // does not fit beside the state's bits as it is: it is shifted.
            write_header(
                aligned,
                Header {
                    word: ALIGNED | (aligned - block) << 6,
                    len_bytes,
                },
            );
            let before = read_header(block);
            write_header(
                block,
                Header {
                    len_bytes: aligned - block + len_bytes,
                    ..before
                },
            );
        }
        pointer(aligned)
    }

    /// `free(3)`. The block is one of this heap's; anything else ends the program.
    #[inline]
    pub(crate) fn free(&self, addr: usize) {
        if lock::is_alone()
            && let Kind::Small(class) = self.spans.kind_at(addr)
            && read_word(addr) & STATE_MASK == LIVE
        {
            write_word(addr, read_word(addr) & !STATE_MASK | FREED);
            return self.lists.push(class, addr);
        }
        self.free_any(addr);
    }

    #[inline(never)]
    fn free_any(&self, addr: usize) {
        let block = block_of(addr);
        let mut state = self.lock();
        let word = read_word(block);
        if word & STATE_MASK != LIVE {
            crate::refuse::die("a block of a guarded library was freed twice, or is none");
        }
        write_word(block, word & !STATE_MASK | FREED);
        match self.spans.kind_at(block) {
            Kind::Small(class) => self.lists.push(class, block),
            Kind::Run { first, count } => {
                let start = self.spans.addr(first);
                if count * SPAN_BYTES >= GIVE_BACK_BYTES {
                    map::forget(start, count * SPAN_BYTES);
                }
                self.spans.set_unused(first, count);
                state.runs.give(first, count);
            }
            Kind::Unused => crate::refuse::die("a pointer that is no block was freed"),
        }
    }

    /// `malloc_usable_size(3)`.
    pub(crate) fn usable_bytes(&self, addr: usize) -> usize {
        let block = block_of(addr);
        let end = match self.spans.kind_at(block) {
            Kind::Small(class) => block - HEADER_BYTES + class.bytes(),
            Kind::Run { first, count } => self.spans.addr(first) + count * SPAN_BYTES,
            Kind::Unused => addr,
        };
        end.saturating_sub(addr)
    }

    /// `realloc(3)` within the heap, for a length that is not 0.
    pub(crate) fn reallocate(
        &self,
        addr: usize,
        len_bytes: usize,
        descriptor: *const Descriptor,
    ) -> *mut u8 {
        let usable = self.usable_bytes(addr);
        let block = block_of(addr);
        if block == addr && len_bytes <= usable && len_bytes >= usable / 2 {
            let header = read_header(block);
            write_header(
                block,
                Header {
                    len_bytes,
                    ..header
                },
            );
            return pointer(addr);
        }
        let new = self.allocate(len_bytes, descriptor);
        if !new.is_null() {
            // SAFETY: two different blocks, each of at least so many bytes.
            unsafe { ptr::copy_nonoverlapping(pointer(addr), new, usable.min(len_bytes)) };
            self.free(addr);
        }
        new
    }

    /// The block that an address lies in, for a report: takes no lock, and everybody may read.
    pub(crate) fn find(&self, addr: usize) -> Option<Found> {
        if !self.contains(addr) {
            return None;
        }
        let block = match self.spans.kind_at(addr) {
            Kind::Unused => return None,
            Kind::Small(class) => {
                let span = self.spans.addr_of_span(addr);
                span + (addr - span) / class.bytes() * class.bytes()
            }
            Kind::Run { first, .. } => self.spans.addr(first),
        } + HEADER_BYTES;
        let header = read_header(block);
        let state = header.word & STATE_MASK;
        (state == LIVE || state == FREED).then(|| Found {
            start: block,
            len_bytes: header.len_bytes,
            descriptor: ptr::with_exposed_provenance(header.word & !STATE_MASK),
            is_freed: state == FREED,
        })
    }

    /// The part of the range that was ever used: its first address and length, in whole pages.
    pub(crate) fn used(&self) -> (usize, usize) {
        let end = self.spans.addr(self.lock().runs.untouched());
        (self.start, end - self.start)
    }

    /// Takes a block, and tells whether it is zero already.
    #[inline]
    fn take(&self, len_bytes: usize, descriptor: *const Descriptor) -> Option<(usize, bool)> {
        let all = len_bytes.max(1).checked_add(HEADER_BYTES)?;
        let class = Class::of(all);
        let freed = match class {
            Some(class) if lock::is_alone() => self.lists.pop(class),
            _ => None,
        };
        let (block, is_zero) = match freed {
            Some(block) => (block, false),
            None => self.take_any(all, class)?,
        };
        let header = Header {
            word: descriptor.expose_provenance() | LIVE,
            len_bytes,
        };
        write_header(block, header);
        Some((block, is_zero))
    }

    #[inline(never)]
    fn take_any(&self, all: usize, class: Option<Class>) -> Option<(usize, bool)> {
        let mut state = self.lock();
        let Some(class) = class else {
            let count = all.div_ceil(SPAN_BYTES);
            let (first, is_zero) = state.runs.take(count)?;
            self.spans.set_run(first, count);
            return Some((self.spans.addr(first) + HEADER_BYTES, is_zero));
        };
        if let Some(block) = self.lists.pop(class) {
            return Some((block, false));
        }
        let cut = self.lists.cut(class).or_else(|| {
            let (first, _) = state.runs.take(1)?;
            self.spans.set_small(first, class);
            let start = self.spans.addr(first);
            self.lists.set_fresh(class, start, start + SPAN_BYTES);
            self.lists.cut(class)
        });
        // A span that was used before is given out again without being cleared.
        cut.map(|start| (start + HEADER_BYTES, false))
    }
}

/// Finds room for a range: first address and length.
fn reserve_range() -> Option<(usize, usize)> {
    let reserve = |len_bytes| Some((map::reserve(len_bytes, RANGE_ALIGN_BYTES)?, len_bytes));
    if let Some(range) = reserve(RANGE_BYTES) {
        return Some(range);
    }
    let mut room = RANGE_BYTES / 2;
    while room / PART >= MIN_RANGE_BYTES {
        if let Some((start, len_bytes)) = reserve(room) {
            map::unmap(start, len_bytes);
            return reserve(room / PART);
        }
        room /= 2;
    }
    reserve(MIN_RANGE_BYTES)
}

/// The block that an address which was given out belongs to.
fn block_of(addr: usize) -> usize {
    let header = read_header(addr);
    if header.word & STATE_MASK == ALIGNED {
        addr - (header.word >> 6)
    } else {
        addr
    }
}

fn pointer(addr: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(addr)
}

fn read_header(block: usize) -> Header {
    let place = ptr::with_exposed_provenance::<Header>(block.wrapping_sub(HEADER_BYTES));
    // SAFETY: an address in a heap's range, which is mapped and readable as a whole; any bytes are a header. The caller of
    // `free(3)` answers for the address being a block's, as with any allocator.
    unsafe { place.read_unaligned() }
}

/// The first word of a header.
fn read_word(block: usize) -> usize {
    read_header(block).word
}

/// Changes the first word of a header.
fn write_word(block: usize, word: usize) {
    let place = ptr::with_exposed_provenance_mut::<usize>(block - HEADER_BYTES);
    // SAFETY: the header of a block of this heap; the key is open.
    unsafe { place.write(word) };
}

fn write_header(block: usize, header: Header) {
    let place = ptr::with_exposed_provenance_mut::<Header>(block - HEADER_BYTES);
    // SAFETY: the header of a block of this heap; the key is open.
    unsafe { place.write(header) };
}

const _: () = assert!(LARGEST_BYTES < SPAN_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn fill(block: *mut u8, len: usize, byte: u8) {
        // SAFETY: a block of that length.
        unsafe { block.write_bytes(byte, len) };
    }

    fn is_filled(block: *mut u8, len: usize, byte: u8) -> bool {
        // SAFETY: a block of that length.
        unsafe { core::slice::from_raw_parts(block, len) }
            .iter()
            .all(|b| *b == byte)
    }

    /// Random calls against a model: no two blocks overlap, none loses its bytes, each is found from every address in it.
    #[test]
    fn blocks_are_apart_and_found() {
        let heap = Heap::reserve().unwrap();
        let mut model: BTreeMap<usize, (usize, u8)> = BTreeMap::new();
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize
        };
        for round in 0..20_000 {
            let byte = u8::try_from(round % 251).unwrap();
            let len = match random() % 8 {
                0 => random() % 300_000,
                1 => random() % 20_000,
                _ => random() % 700,
            };
            match random() % 5 {
                0 | 1 => {
                    let align = 1 << (random() % 13);
                    let block = if random() % 2 == 0 {
                        heap.allocate(len, ptr::null())
                    } else {
                        let block = heap.allocate_aligned(align, len, ptr::null());
                        assert_eq!(block.addr() % align, 0);
                        block
                    };
                    assert_eq!(block.addr() % ALIGN_BYTES, 0);
                    assert!(heap.usable_bytes(block.addr()) >= len);
                    fill(block, len, byte);
                    assert!(model.insert(block.addr(), (len, byte)).is_none());
                }
                2 => {
                    let block = heap.allocate_zeroed(len, ptr::null());
                    assert!(is_filled(block, len, 0));
                    fill(block, len, byte);
                    model.insert(block.addr(), (len, byte));
                }
                choice => {
                    let at = random();
                    let Some((&addr, &(old, filled))) = model.iter().nth(at % model.len().max(1))
                    else {
                        continue;
                    };
                    model.remove(&addr);
                    assert!(is_filled(pointer(addr), old, filled));
                    if choice == 3 || len == 0 {
                        heap.free(addr);
                    } else {
                        let block = heap.reallocate(addr, len, ptr::null());
                        assert!(is_filled(block, old.min(len), filled));
                        fill(block, len, byte);
                        model.insert(block.addr(), (len, byte));
                    }
                }
            }
            if round % 1000 == 0 {
                let mut end = 0;
                for (&addr, &(len, _)) in &model {
                    assert!(addr >= end, "blocks overlap");
                    end = addr + len;
                    for at in [addr, addr + len / 2, addr + len.saturating_sub(1)] {
                        let found = heap.find(at).unwrap();
                        assert!(found.start <= addr && !found.is_freed);
                        assert!(found.start + found.len_bytes >= addr + len);
                    }
                }
            }
        }
    }

    #[test]
    fn a_freed_block_is_known_as_freed() {
        let heap = Heap::reserve().unwrap();
        let block = heap.allocate(100, ptr::null()).addr();
        let found = heap.find(block + 7).unwrap();
        assert_eq!(
            (found.start, found.len_bytes, found.is_freed),
            (block, 100, false)
        );
        heap.free(block);
        assert!(heap.find(block + 7).unwrap().is_freed);
        assert_eq!(heap.find(heap.start + heap.len_bytes - 1), None);
        assert_eq!(heap.find(heap.start - 1), None);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let heap = Heap::reserve().unwrap();
        for len in [
            usize::MAX,
            usize::MAX - 8,
            isize::MAX as usize,
            heap.len_bytes,
        ] {
            assert!(heap.allocate(len, ptr::null()).is_null(), "{len}");
            assert!(
                heap.allocate_aligned(4096, len, ptr::null()).is_null(),
                "{len}"
            );
        }
    }

    #[test]
    fn memory_is_used_again() {
        let heap = Heap::reserve().unwrap();
        let first = heap.allocate(5 << 20, ptr::null()).addr();
        let end = first + (5 << 20);
        for _ in 0..1000 {
            let block = heap.allocate(1 << 20, ptr::null());
            fill(block, 1 << 20, 7);
            heap.free(block.addr());
            assert!(block.addr() < end + (2 << 20));
        }
    }

    #[test]
    fn threads_share_it() {
        let heap = Heap::reserve().unwrap();
        std::thread::scope(|scope| {
            for byte in 0..4_u8 {
                let heap = &heap;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let len = 1 + round % 2_000;
                        let block = heap.allocate(len, ptr::null());
                        fill(block, len, byte);
                        assert!(is_filled(block, len, byte));
                        heap.free(block.addr());
                    }
                });
            }
        });
    }
}
