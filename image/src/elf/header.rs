//! The bytes of the file's header and of its program headers.

use super::error::{BadElf, Part};

/// The bytes of the file's header.
pub(super) const HEADER_LEN: usize = 64;

/// The bytes of a program header.
pub(super) const PROGRAM_HEADER_LEN: usize = 56;

/// The most bytes of program headers, as in Linux.
const PROGRAM_HEADERS_MAX: usize = 4096;

const MAGIC: [u8; 4] = *b"\x7FELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const X86_64: u16 = 62;

/// `e_type` of a program with fixed addresses.
pub(super) const ET_EXEC: u16 = 2;
/// `e_type` of what is independent of its position.
pub(super) const ET_DYN: u16 = 3;

/// `p_type` of a segment to be loaded.
pub(super) const PT_LOAD: u32 = 1;
/// `p_type` of the name of the interpreter.
pub(super) const PT_INTERP: u32 = 3;
/// `p_type` of what says whether the stack is executable.
pub(super) const PT_GNU_STACK: u32 = 0x6474_E551;

/// `p_flags`.
pub(super) const PF_X: u32 = 1;
pub(super) const PF_W: u32 = 2;
pub(super) const PF_R: u32 = 4;

/// What is used of the file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_fixed: bool,
    pub(super) entry: u64,
    pub(super) table_at: u64,
    pub(super) nr_entries: usize,
}

impl Header {
    /// Takes it apart. Whoever is curious about a file that is no program for this machine gets the first reason.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BadElf<'static>> {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        // The beginning of one is truncated; what begins otherwise is something else.
        if magic.is_empty() || !MAGIC.starts_with(magic) {
            return Err(BadElf::NotElf);
        }
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(BadElf::Truncated {
            part: Part::Header,
            needed: HEADER_LEN as u64,
            len: bytes.len() as u64,
        })?;
        match (header[4], header[5]) {
            (CLASS_64, LITTLE_ENDIAN) => {}
            (CLASS_64, found) => return Err(BadElf::ByteOrder { found }),
            (found, _) => return Err(BadElf::Class { found }),
        }
        let machine = u16_at(header, 18);
        if machine != X86_64 {
            return Err(BadElf::Machine { found: machine });
        }
        let kind = u16_at(header, 16);
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(BadElf::Type { found: kind });
        }
        let (size, count) = (u16_at(header, 54), u16_at(header, 56));
        let nr_entries = usize::from(count);
        if nr_entries == 0 {
            return Err(BadElf::NoSegments);
        }
        if usize::from(size) != PROGRAM_HEADER_LEN {
            return Err(BadElf::HeaderSize { found: size });
        }
        if nr_entries * PROGRAM_HEADER_LEN > PROGRAM_HEADERS_MAX {
            return Err(BadElf::TooManyHeaders { found: count });
        }
        Ok(Self {
            is_fixed: kind == ET_EXEC,
            entry: u64_at(header, 24),
            table_at: u64_at(header, 32),
            nr_entries,
        })
    }
}

/// What is used of a program header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProgramHeader {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) addr: u64,
    pub(super) file_len: u64,
    pub(super) memory_len: u64,
    pub(super) align: u64,
}

impl ProgramHeader {
    pub(super) fn parse(bytes: &[u8; PROGRAM_HEADER_LEN]) -> Self {
        Self {
            kind: u32_at(bytes, 0),
            flags: u32_at(bytes, 4),
            offset: u64_at(bytes, 8),
            addr: u64_at(bytes, 16),
            file_len: u64_at(bytes, 32),
            memory_len: u64_at(bytes, 40),
            align: u64_at(bytes, 48),
        }
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}
