//! Files for tests, put together byte by byte.

use std::vec::Vec;

/// A program header.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) addr: u64,
    pub(super) file_len: u64,
    pub(super) memory_len: u64,
    pub(super) align: u64,
}

/// A program: by default one of code at 0x400000 and data at 0x402010.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) entry: u64,
    pub(super) parts: Vec<Part>,
    pub(super) len: usize,
}

pub(super) const LEN: usize = 0x1020;

impl Default for Sample {
    fn default() -> Self {
        Self {
            kind: 2,
            machine: 62,
            entry: 0x40_0100,
            parts: vec![
                Part {
                    kind: 1,
                    flags: 5,
                    offset: 0,
                    addr: 0x40_0000,
                    file_len: 0x200,
                    memory_len: 0x200,
                    align: 4096,
                },
                Part {
                    kind: 1,
                    flags: 6,
                    offset: 0x1010,
                    addr: 0x40_2010,
                    file_len: 0x10,
                    memory_len: 0x2000,
                    align: 4096,
                },
            ],
            len: LEN,
        }
    }
}

impl Sample {
    /// With a change to one of its parts.
    pub(super) fn with(at: usize, change: impl FnOnce(&mut Part)) -> Self {
        let mut sample = Self::default();
        change(&mut sample.parts[at]);
        sample
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let count = u16::try_from(self.parts.len()).unwrap();
        let mut bytes = Vec::from(*b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        for word in [self.entry, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for half in [64, 56, count, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for part in &self.parts {
            bytes.extend(part.kind.to_le_bytes());
            bytes.extend(part.flags.to_le_bytes());
            let words = [
                part.offset,
                part.addr,
                part.addr,
                part.file_len,
                part.memory_len,
                part.align,
            ];
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes.resize(self.len, 0xCC);
        bytes
    }
}
