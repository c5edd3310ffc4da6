//! Physical memory: blocks of the three page sizes, allocated one by one.
//!
//! Each size has an arena of addresses of its own, 1 TiB long, so that an address says which size its block has and a
//! freed block of one size never becomes a part of another. Freed blocks are handed out again, the last one first: a
//! stale translation soon shows somebody else's data, as it would on a real machine.
//!
//! Memory is sparse. Of a block only those pieces of 4 KiB exist that were written to; the others read as zeros. So a
//! block of 1 GiB costs 2 MiB of pointers.
//!
//! It is strict where hardware is not. An access to memory that is not allocated, a block that is freed twice or with
//! another size, an access across the end of a block: each panics and names the address, since it is a defect of
//! whoever did it. That holds for a page walk, too, and for a store through a stale translation.
//!
//! The limit counts bytes of allocated blocks, touched or not, and can be changed at any time: to see what code does
//! when memory runs out.

use core::cell::{Ref, RefCell};
use core::fmt;
use std::rc::Rc;

use pkeys_core::LeafSize;
use pkeys_kernel::hardware::{PhysAddr, PhysMemory};

/// The size of a piece, as a power of two.
const PIECE_SHIFT: u32 = 12;
/// The length of a piece in bytes.
const PIECE_LEN: usize = 1 << PIECE_SHIFT;
/// The length of an arena, as a power of two. Arena number 0 begins at one length, not at 0: a null entry of a page
/// table then points to nothing.
const ARENA_SHIFT: u32 = 40;

/// 4 KiB of memory that was written to.
type Piece = Box<[u8; PIECE_LEN]>;

/// Physical memory, shared by the CPUs of a machine. A clone is the same memory, for whoever wants to own a handle.
#[derive(Clone)]
pub struct Memory {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    arenas: [Arena; 3],
    limit_bytes: u64,
    allocated_bytes: u64,
}

/// The blocks of one size.
struct Arena {
    size: LeafSize,
    /// The size as a power of two.
    shift: u32,
    /// Whether a block is allocated, by its number.
    is_allocated: Vec<bool>,
    /// The pieces of all blocks, one block after the other; `None` reads as zeros.
    pieces: Vec<Option<Piece>>,
    /// Numbers of blocks that were freed, in that order.
    free: Vec<usize>,
}

/// Where a byte of memory is.
struct Place {
    arena: usize,
    piece: usize,
    offset: usize,
}

impl Memory {
    /// Memory of which blocks can be allocated up to a limit in bytes.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let sizes = [LeafSize::Size4K, LeafSize::Size2M, LeafSize::Size1G];
        Self {
            inner: Rc::new(RefCell::new(Inner {
                arenas: sizes.map(Arena::new),
                limit_bytes,
                allocated_bytes: 0,
            })),
        }
    }

    /// Changes the limit. What is allocated stays, also where it is more than that.
    pub fn set_limit_bytes(&self, limit_bytes: u64) {
        self.inner.borrow_mut().limit_bytes = limit_bytes;
    }

    /// The bytes of all allocated blocks.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.inner.borrow().allocated_bytes
    }

    /// How many blocks of a size are allocated.
    #[must_use]
    pub fn nr_allocated(&self, size: LeafSize) -> usize {
        let inner = self.inner.borrow();
        let arena = &inner.arenas[arena_of(size)];
        arena.is_allocated.len() - arena.free.len()
    }

    /// How many pieces of 4 KiB exist on the host, because they were written to.
    #[must_use]
    pub fn nr_touched_pieces(&self) -> usize {
        let inner = self.inner.borrow();
        let touched = |arena: &Arena| arena.pieces.iter().flatten().count();
        inner.arenas.iter().map(touched).sum()
    }

    /// One byte.
    #[inline]
    pub(crate) fn read_byte(&self, at: PhysAddr) -> u8 {
        let inner = self.inner.borrow();
        let place = inner.place(at, 1, "read");
        inner.piece(&place).map_or(0, |piece| piece[place.offset])
    }

    /// Writes one byte.
    #[inline]
    pub(crate) fn write_byte(&self, at: PhysAddr, byte: u8) {
        let mut inner = self.inner.borrow_mut();
        let place = inner.place(at, 1, "write");
        inner.piece_mut(&place)[place.offset] = byte;
    }
}

impl PhysMemory for Memory {
    fn allocate(&self, size: LeafSize) -> Option<PhysAddr> {
        let mut inner = self.inner.borrow_mut();
        let allocated_bytes = inner.allocated_bytes.checked_add(size.bytes())?;
        if allocated_bytes > inner.limit_bytes {
            return None;
        }
        let number = arena_of(size);
        let arena = &mut inner.arenas[number];
        let block = arena.allocate()?;
        let base = (number as u64 + 1) << ARENA_SHIFT;
        let at = PhysAddr(base + ((block as u64) << arena.shift));
        inner.allocated_bytes = allocated_bytes;
        Some(at)
    }

    /// # Panics
    ///
    /// If no block of that size is allocated there.
    fn free(&self, at: PhysAddr, size: LeafSize) {
        let mut inner = self.inner.borrow_mut();
        let place = inner.place(at, 0, "free");
        let arena = &mut inner.arenas[place.arena];
        assert!(
            arena.size == size && at.0.is_multiple_of(size.bytes()),
            "physical memory: free of a {size} block at {:#x}, which is in one of {}",
            at.0,
            arena.size
        );
        let block = place.piece >> (arena.shift - PIECE_SHIFT);
        arena.is_allocated[block] = false;
        arena.free.push(block);
        arena.pieces_of(block).fill(None);
        inner.allocated_bytes -= size.bytes();
    }

    #[inline]
    fn read_entry(&self, at: PhysAddr) -> u64 {
        let inner = self.inner.borrow();
        let place = inner.entry(at, "read of an entry");
        inner.piece(&place).map_or(0, |piece| {
            u64::from_le_bytes(piece.as_chunks().0[place.offset / 8])
        })
    }

    #[inline]
    fn write_entry(&self, at: PhysAddr, entry: u64) {
        let mut inner = self.inner.borrow_mut();
        let place = inner.entry(at, "write of an entry");
        inner.piece_mut(&place).as_chunks_mut().0[place.offset / 8] = entry.to_le_bytes();
    }

    /// # Panics
    ///
    /// If one of the two is not an allocated block of that size.
    fn copy(&self, from: PhysAddr, to: PhysAddr, size: LeafSize) {
        let mut inner = self.inner.borrow_mut();
        let [first_from, first_to] = [from, to].map(|at| {
            let place = inner.place(at, size.bytes(), "copy of a block");
            assert!(
                place.arena == arena_of(size),
                "physical memory: copy of {size} at {:#x}, in a block of another size",
                at.0
            );
            place.piece
        });
        let pieces = &mut inner.arenas[arena_of(size)].pieces;
        for i in 0..pieces_in(size) {
            pieces[first_to + i] = pieces[first_from + i].clone();
        }
    }

    fn read(&self, at: PhysAddr, into: &mut [u8]) {
        let inner = self.inner.borrow();
        let mut place = inner.place(at, into.len() as u64, "read");
        let mut rest = into;
        while !rest.is_empty() {
            let (now, later) = rest.split_at_mut(rest.len().min(PIECE_LEN - place.offset));
            match inner.piece(&place) {
                Some(piece) => now.copy_from_slice(&piece[place.offset..][..now.len()]),
                None => now.fill(0),
            }
            place.piece += 1;
            place.offset = 0;
            rest = later;
        }
    }

    fn write(&self, at: PhysAddr, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        let mut place = inner.place(at, bytes.len() as u64, "write");
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PIECE_LEN - place.offset));
            inner.piece_mut(&place)[place.offset..][..now.len()].copy_from_slice(now);
            place.piece += 1;
            place.offset = 0;
            rest = later;
        }
    }
}

impl Inner {
    /// Where an address is; panics unless it and the `len_bytes` from it are in one allocated block.
    #[inline]
    #[track_caller]
    fn place(&self, at: PhysAddr, len_bytes: u64, doing: &str) -> Place {
        let number = usize::try_from(at.0 >> ARENA_SHIFT).unwrap_or(usize::MAX);
        let offset = at.0 & ((1 << ARENA_SHIFT) - 1);
        if let Some(arena) = self.arenas.get(number.wrapping_sub(1)) {
            let block = index(offset >> arena.shift);
            let behind = (offset & (arena.size.bytes() - 1)).saturating_add(len_bytes);
            if arena.is_allocated.get(block) == Some(&true) && behind <= arena.size.bytes() {
                return Place {
                    arena: number - 1,
                    piece: index(offset >> PIECE_SHIFT),
                    offset: index(offset) % PIECE_LEN,
                };
            }
        }
        self.refuse(at, len_bytes, doing)
    }

    /// As [`Inner::place`], for 8 aligned bytes.
    #[inline]
    #[track_caller]
    fn entry(&self, at: PhysAddr, doing: &str) -> Place {
        assert!(
            at.0.is_multiple_of(8),
            "physical memory: {doing} at {:#x}, which is not aligned to 8",
            at.0
        );
        self.place(at, 8, doing)
    }

    /// Says what is wrong with an address.
    #[cold]
    #[track_caller]
    fn refuse(&self, at: PhysAddr, len_bytes: u64, doing: &str) -> ! {
        let number = index(at.0 >> ARENA_SHIFT).wrapping_sub(1);
        let why = match self.arenas.get(number) {
            None => "where no block ever was".to_owned(),
            Some(arena) => {
                let offset = at.0 & ((1 << ARENA_SHIFT) - 1);
                match arena.is_allocated.get(index(offset >> arena.shift)) {
                    None => "where no block ever was".to_owned(),
                    Some(false) => format!("in a {} block that was freed", arena.size),
                    Some(true) => format!("for {len_bytes} bytes, beyond its {} block", arena.size),
                }
            }
        };
        panic!("physical memory: {doing} at {:#x}, {why}", at.0)
    }

    #[inline]
    fn piece(&self, place: &Place) -> Option<&Piece> {
        self.arenas[place.arena].pieces[place.piece].as_ref()
    }

    #[inline]
    fn piece_mut(&mut self, place: &Place) -> &mut Piece {
        self.arenas[place.arena].pieces[place.piece].get_or_insert_with(|| Box::new([0; PIECE_LEN]))
    }
}

impl Arena {
    fn new(size: LeafSize) -> Self {
        Self {
            size,
            shift: size.bytes().trailing_zeros(),
            is_allocated: Vec::new(),
            pieces: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number of a block that is now allocated, or `None` when the arena's addresses are used up.
    fn allocate(&mut self) -> Option<usize> {
        if let Some(block) = self.free.pop() {
            self.is_allocated[block] = true;
            return Some(block);
        }
        let block = self.is_allocated.len();
        if block >> (ARENA_SHIFT - self.shift) != 0 {
            return None;
        }
        self.is_allocated.push(true);
        self.pieces
            .resize_with(self.pieces.len() + pieces_in(self.size), || None);
        Some(block)
    }

    fn pieces_of(&mut self, block: usize) -> &mut [Option<Piece>] {
        let nr = pieces_in(self.size);
        &mut self.pieces[block * nr..][..nr]
    }
}

/// The number of the arena with blocks of a size.
const fn arena_of(size: LeafSize) -> usize {
    match size {
        LeafSize::Size4K => 0,
        LeafSize::Size2M => 1,
        LeafSize::Size1G => 2,
    }
}

/// How many pieces a block has.
fn pieces_in(size: LeafSize) -> usize {
    index(size.bytes() >> PIECE_SHIFT)
}

/// A number below 2^40 as an index; the host has 64 bits.
#[inline]
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner: Ref<'_, Inner> = self.inner.borrow();
        f.debug_struct("Memory")
            .field("limit_bytes", &inner.limit_bytes)
            .field("allocated_bytes", &inner.allocated_bytes)
            .finish_non_exhaustive()
    }
}
