//! One piece of a program's memory.

use core::ops::Range;

use pkeys_kernel::abi::Prot;
use pkeys_kernel::memory::layout::{
    MMAP_MIN_ADDR, PAGE_SIZE, TASK_SIZE, align_down, align_up, is_aligned,
};

use super::error::{BadElf, Part};
use super::header::{PF_R, PF_W, PF_X, ProgramHeader};

/// A segment where it is to be: whole pages, of which a part comes from the file and the rest is zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The addresses, which begin and end with pages.
    pub pages: Range<u64>,
    /// What its pages let the program do.
    pub prot: Prot,
    /// Where the bytes of the file begin, within the pages.
    pub data_at: u64,
    /// The bytes of the file.
    pub data: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment that a program header describes, at a distance from the addresses in the file. `None` where it is
    /// empty. `at` is its number.
    pub(super) fn place(
        file: &'a [u8],
        header: &ProgramHeader,
        base: u64,
        at: usize,
    ) -> Result<Option<Self>, BadElf<'a>> {
        let wraps = BadElf::Wraps { segment: at };
        if header.file_len > header.memory_len {
            return Err(BadElf::FileLongerThanMemory { segment: at });
        }
        if !is_aligned(header.addr.wrapping_sub(header.offset), PAGE_SIZE) {
            return Err(BadElf::Misaligned { segment: at });
        }
        let file_end = header.offset.checked_add(header.file_len).ok_or(wraps)?;
        let data_at = header.addr.checked_add(base).ok_or(wraps)?;
        let end = data_at.checked_add(header.memory_len).ok_or(wraps)?;
        if header.memory_len == 0 {
            return Ok(None);
        }
        if data_at < MMAP_MIN_ADDR || end > TASK_SIZE {
            return Err(BadElf::OutsideUser {
                segment: at,
                addr: data_at,
            });
        }
        let data = bytes(file, header.offset, file_end).ok_or(BadElf::Truncated {
            part: Part::Segment(at),
            needed: file_end,
            len: file.len() as u64,
        })?;
        Ok(Some(Self {
            pages: align_down(data_at, PAGE_SIZE)..align_up(end, PAGE_SIZE),
            prot: prot(header.flags),
            data_at,
            data,
        }))
    }

    /// Whether the program may change its code here.
    #[must_use]
    pub fn is_writable_code(&self) -> bool {
        self.prot.contains(Prot::WRITE | Prot::EXEC)
    }
}

/// A range of a file, if it is there.
pub(super) fn bytes(file: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    file.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn prot(flags: u32) -> Prot {
    let table = [(PF_R, Prot::READ), (PF_W, Prot::WRITE), (PF_X, Prot::EXEC)];
    let chosen = table.into_iter().filter(|(flag, _)| flags & flag != 0);
    chosen.map(|(_, prot)| prot).collect()
}
