//! Thunks: the addresses that bindings get in place of a library's functions.
//!
//! A thunk loads the address of its descriptor and jumps to the descriptor's routine: 16 bytes, the same in every batch. A batch is
//! a page of code and the descriptors behind it. The code is written before the first of its thunks is given out and is
//! executable and read-only from then on; the descriptors are read-only but for the moment in which one is added, under the
//! guard's lock, and nobody who only reads them notices. No page is writable and executable at a time.
#![allow(
    unsafe_code,
    reason = "memory that is mapped, filled and protected here"
)]

use core::ptr::NonNull;

use crate::gate::descriptor::{DESCRIPTOR_BYTES, Descriptor};
use crate::map::{self, PAGE_BYTES};

/// Bytes of a thunk.
const THUNK_BYTES: usize = 16;

/// Thunks in a batch: a page of them.
const BATCH: usize = PAGE_BYTES / THUNK_BYTES;

/// Bytes of a batch.
const BATCH_BYTES: usize = PAGE_BYTES + BATCH * DESCRIPTOR_BYTES;

/// Where thunks come from.
#[derive(Debug, Default)]
pub(crate) struct Thunks {
    /// The batch that is being used.
    batch: Option<usize>,
    /// How many of its thunks are taken.
    used: usize,
}

/// A thunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thunk {
    /// Its address.
    pub(crate) addr: usize,
    /// Its descriptor, which lives for ever.
    pub(crate) descriptor: NonNull<Descriptor>,
}

// SAFETY: the descriptor is not written after the thunk was made.
unsafe impl Send for Thunk {}

impl Thunks {
    /// Makes a thunk for a descriptor. `None` where there is no memory.
    pub(crate) fn make(&mut self, descriptor: Descriptor) -> Option<Thunk> {
        let batch = match self.batch {
            Some(batch) if self.used < BATCH => batch,
            _ => {
                let batch = new_batch()?;
                (self.batch, self.used) = (Some(batch), 0);
                batch
            }
        };
        let place = batch + PAGE_BYTES + self.used * DESCRIPTOR_BYTES;
        let pointer = NonNull::new(core::ptr::with_exposed_provenance_mut::<Descriptor>(place))?;
        let descriptors = batch + PAGE_BYTES;
        if !map::protect(
            descriptors,
            BATCH * DESCRIPTOR_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
        ) {
            return None;
        }
        // SAFETY: the place is free, aligned, within the batch, and was made writable.
        unsafe { pointer.write(descriptor) };
        if !map::protect(descriptors, BATCH * DESCRIPTOR_BYTES, libc::PROT_READ) {
            return None;
        }
        let addr = batch + self.used * THUNK_BYTES;
        self.used += 1;
        Some(Thunk {
            addr,
            descriptor: pointer,
        })
    }
}

/// Maps a batch and writes its code.
fn new_batch() -> Option<usize> {
    let batch = map::anonymous(BATCH_BYTES)?;
    for index in 0..BATCH {
        let code = code(index);
        let place = core::ptr::with_exposed_provenance_mut::<[u8; THUNK_BYTES]>(
            batch + index * THUNK_BYTES,
        );
        // SAFETY: the page was mapped writable just now and is nobody else's.
        unsafe { place.write(code) };
    }
    let is_protected = map::protect(batch, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC)
        && map::protect(
            batch + PAGE_BYTES,
            BATCH * DESCRIPTOR_BYTES,
            libc::PROT_READ,
        );
    is_protected.then_some(batch)
}

/// The code of a batch's thunk: `endbr64; lea r11, [rip + descriptor]; jmp [r11 + 8]`.
fn code(index: usize) -> [u8; THUNK_BYTES] {
    /// Bytes before the instruction behind the `lea`, which its operand counts from.
    const AFTER_LEA: usize = 11;
    let descriptor = PAGE_BYTES + index * DESCRIPTOR_BYTES;
    let from = index * THUNK_BYTES + AFTER_LEA;
    #[expect(clippy::cast_possible_truncation, reason = "within a batch")]
    let [a, b, c, d] = ((descriptor - from) as u32).to_le_bytes();
    [
        0xF3, 0x0F, 0x1E, 0xFA, 0x4C, 0x8D, 0x1D, a, b, c, d, 0x41, 0xFF, 0x63, 0x08, 0xCC,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Routine;
    use crate::gate::descriptor::Name;

    extern "C" fn add(a: u64, b: u64) -> u64 {
        a + b
    }

    fn descriptor() -> Descriptor {
        let name = Name::of_internal("add");
        Descriptor {
            target: add as *const () as usize,
            entry: Routine::Bare.addr(),
            domain: core::ptr::null(),
            flags: 0,
            name: Box::leak(Box::new(name)),
            counter: core::ptr::null(),
            next: 0,
        }
    }

    fn permissions(addr: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            (parse(start)..parse(end)).contains(&addr)
        });
        line.unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_thunk_calls_its_function() {
        let mut thunks = Thunks::default();
        for _ in 0..2 * BATCH + 1 {
            let thunk = thunks.make(descriptor()).unwrap();
            // SAFETY: a thunk of a function of this type.
            let call: extern "C" fn(u64, u64) -> u64 = unsafe { core::mem::transmute(thunk.addr) };
            assert_eq!(call(40, 2), 42);
        }
    }

    #[test]
    fn no_page_of_a_batch_can_be_written() {
        let thunk = Thunks::default().make(descriptor()).unwrap();
        assert_eq!(permissions(thunk.addr), "r-xp");
        assert_eq!(permissions(thunk.descriptor.as_ptr().addr()), "r--p");
    }
}
