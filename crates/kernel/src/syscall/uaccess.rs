//! The kernel's own accesses to the memory of the thread that called.
//!
//! They go through page tables and keys as the thread's own would: an address that the thread could not access is
//! `EFAULT`, and never a signal. What is read here is copied once and then looked at, so that another thread cannot change
//! it between a check and its use.

use alloc::vec::Vec;

use crate::abi::Errno;
use crate::kernel::Here;
use crate::platform::Platform;

/// What a call gives that has come to memory which the thread cannot access: how much it has done until then, if anything.
pub(crate) const fn count_or_fault(done: u64) -> Result<u64, Errno> {
    match done {
        0 => Err(Errno::Fault),
        done => Ok(done),
    }
}

impl<P: Platform> Here<'_, P> {
    /// Reads bytes.
    pub(crate) fn read_into(&self, addr: u64, into: &mut [u8]) -> Result<(), Errno> {
        let space = &self.running.space;
        let copied = space.copy_from_user(&self.caller(), addr, into);
        copied.map_err(|_| Errno::Fault)
    }

    /// Reads as many bytes as can be read, and gives how many.
    pub(crate) fn read_some(&self, addr: u64, into: &mut [u8]) -> usize {
        let len = into.len();
        let space = &self.running.space;
        match space.copy_from_user(&self.caller(), addr, into) {
            Ok(()) => len,
            Err(missing) => len.saturating_sub(missing),
        }
    }

    /// Reads a structure.
    pub(crate) fn read<const N: usize>(&self, addr: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.read_into(addr, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a word.
    pub(crate) fn read_u32(&self, addr: u64) -> Result<u32, Errno> {
        Ok(u32::from_le_bytes(self.read(addr)?))
    }

    /// Reads a long word.
    pub(crate) fn read_u64(&self, addr: u64) -> Result<u64, Errno> {
        Ok(u64::from_le_bytes(self.read(addr)?))
    }

    /// Replaces a word, if it is as expected, in one step where the hardware has one. Gives what it was.
    pub(crate) fn exchange(&self, addr: u64, expected: u32, new: u32) -> Result<u32, Errno> {
        let space = &self.running.space;
        space.exchange_user(&self.caller(), addr, expected, new)
    }

    /// Replaces a word by what is made of it, in one such step: if the word has changed meanwhile, it is made anew. Gives what
    /// the word was.
    pub(crate) fn change(
        &self,
        addr: u64,
        make: impl Fn(u32) -> Result<u32, Errno>,
    ) -> Result<u32, Errno> {
        let mut word = self.read_u32(addr)?;
        loop {
            let found = self.exchange(addr, word, make(word)?)?;
            if found == word {
                return Ok(word);
            }
            word = found;
        }
    }

    /// Reads up to a zero, which is not given. `too_long` if there is none within `max` bytes.
    pub(crate) fn read_string(
        &self,
        addr: u64,
        max: usize,
        too_long: Errno,
    ) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        let mut at = addr;
        while string.len() < max {
            // Up to the end of a block, so that nothing behind the string has to be there.
            let mut block = [0; 64];
            let len = (64 - usize::try_from(at % 64).unwrap_or(0)).min(max - string.len());
            let block = block.get_mut(..len).unwrap_or_default();
            let copied = self.read_some(at, block);
            let block = block.get(..copied).unwrap_or_default();
            if let Some(end) = block.iter().position(|byte| *byte == 0) {
                string.extend_from_slice(block.get(..end).unwrap_or_default());
                return Ok(string);
            }
            if copied < len {
                return Err(Errno::Fault);
            }
            string.extend_from_slice(block);
            at = at.wrapping_add(copied as u64);
        }
        Err(too_long)
    }

    /// Writes bytes.
    pub(crate) fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.write_some(addr, bytes)
            .map_or(Ok(()), |_| Err(Errno::Fault))
    }

    /// Writes bytes. If not all of them can be written, gives how many were.
    pub(crate) fn write_some(&self, addr: u64, bytes: &[u8]) -> Option<usize> {
        let space = &self.running.space;
        match space.copy_to_user(&self.caller(), addr, bytes) {
            Ok(()) => None,
            Err(missing) => Some(bytes.len().saturating_sub(missing)),
        }
    }
}
