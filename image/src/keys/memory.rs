//! Memory that can be put behind a key: frames, by their one address in the direct map.
//!
//! Accesses are instructions with a way out, so that one that a key stops is an error of the call and not the end of the
//! kernel. They are assembly code, which the compiler neither moves out of a grant nor leaves out.

#![allow(
    unsafe_code,
    reason = "copies to and from frames that it owns; CLFLUSH and SFENCE"
)]

use core::arch::asm;

use pkeys_image::dax::{Fence, Persistent};
use pkeys_kernel::pks::region::{KeyedMemory, NoPages, Pages};

use crate::memory::frames;
use crate::memory::layout::{DIRECT, PAGE, to_usize};
use crate::trap::fixup::{Fault, try_copy, try_write};

/// A run of frames, given back when dropped.
#[derive(Debug)]
pub(crate) struct Frames {
    phys: u64,
    nr: usize,
}

impl Frames {
    /// So many frames, filled with zeros.
    pub(crate) fn allocate(nr: usize) -> Option<Self> {
        let phys = frames::allocate(nr, 1)?;
        Some(Self { phys, nr })
    }

    /// The address of the first byte.
    pub(crate) fn addr(&self) -> u64 {
        DIRECT + self.phys
    }

    fn len_bytes(&self) -> usize {
        self.nr * to_usize(PAGE)
    }

    /// The address of some bytes of it.
    ///
    /// # Panics
    ///
    /// If they are not all in it.
    fn at(&self, at: usize, len_bytes: usize) -> u64 {
        let is_inside = at.checked_add(len_bytes);
        assert!(
            is_inside.is_some_and(|end| end <= self.len_bytes()),
            "{len_bytes} bytes at {at}"
        );
        self.addr() + at as u64
    }
}

impl KeyedMemory for Frames {
    type Fault = Fault;

    fn pages(&self) -> Result<Pages, NoPages> {
        Pages::new(self.addr(), self.len_bytes() as u64)
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Fault> {
        let from = self.at(at, into.len());
        let to = into.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: (1) writes the caller's buffer.
        unsafe { try_copy(to, from, into.len()) }.map_err(|(_, fault)| fault)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let to = self.at(at, bytes.len());
        let from = bytes.as_ptr().expose_provenance() as u64;
        // SAFETY: (1) writes frames that are this value's own.
        unsafe { try_copy(to, from, bytes.len()) }.map_err(|(_, fault)| fault)
    }
}

impl Persistent for Frames {
    type Fence = StoreFence;

    fn write_word(&mut self, at: usize, word: u64) -> Result<(), Fault> {
        let to = self.at(at, 8);
        // SAFETY: (1) writes a frame that is this value's own.
        unsafe { try_write(to, word) }
    }

    fn flush(&self, at: usize, len_bytes: usize) -> Result<(), Fault> {
        const LINE: u64 = 64;
        let first = self.at(at, len_bytes) & !(LINE - 1);
        for line in (first..self.addr() + (at + len_bytes) as u64).step_by(to_usize(LINE)) {
            // SAFETY: a line of frames that are this value's own; every CPU with long mode has the instruction. It reads, as
            // far as keys are concerned; the caller has the right to.
            unsafe { asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags)) };
        }
        Ok(())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        frames::free(self.phys, self.nr);
    }
}

/// SFENCE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreFence;

impl Fence for StoreFence {
    fn fence(&self) {
        // SAFETY: waits, and changes nothing.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }
}
