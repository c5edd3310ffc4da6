//! A program's file: the checks, and what a loader asks for.

use pkeys_kernel::memory::layout::{PAGE_SIZE, align_up};

use super::error::{BadElf, Name, Part};
use super::header::{
    Header, PF_X, PROGRAM_HEADER_LEN, PT_GNU_STACK, PT_INTERP, PT_LOAD, ProgramHeader,
};
use super::segment::{Segment, bytes};

/// Where programs go that are independent of their position, or a little above, if they want more than a page's
/// alignment. Linux's `ELF_ET_DYN_BASE`.
pub const STATIC_PIE_BASE: u64 = 0x5555_5555_4000;

/// An ELF file that can be run.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    file: &'a [u8],
    /// The table of program headers.
    table: &'a [[u8; PROGRAM_HEADER_LEN]],
    /// What is added to the addresses in the file.
    base: u64,
    entry: u64,
    headers_at: u64,
    end: u64,
}

impl<'a> Elf<'a> {
    /// Looks at a file.
    ///
    /// # Errors
    ///
    /// [`BadElf`] names the first thing that is wrong, in the order of the file: its header, its program headers as a
    /// table, an interpreter, then each segment, then what they are to each other, then the entry point.
    pub fn parse(file: &'a [u8]) -> Result<Self, BadElf<'a>> {
        let header = Header::parse(file)?;
        let table = table(file, &header)?;
        if let Some(interpreter) = interpreter(file, table)? {
            return Err(BadElf::Dynamic { interpreter });
        }
        let base = if header.is_fixed { 0 } else { base(table) };
        let mut elf = Self {
            file,
            table,
            base,
            entry: header.entry.wrapping_add(base),
            headers_at: 0,
            end: 0,
        };
        elf.check_segments()?;
        elf.check_entry(header.entry)?;
        elf.headers_at = elf.find_headers(header.table_at);
        Ok(elf)
    }

    /// Where it starts.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// Where its segments end: a multiple of the page size, where the heap starts.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Whether it could be anywhere.
    #[must_use]
    pub const fn is_position_independent(&self) -> bool {
        self.base != 0
    }

    /// Where the program finds its program headers in memory, for `AT_PHDR`; 0 if no segment has them.
    #[must_use]
    pub const fn program_headers_at(&self) -> u64 {
        self.headers_at
    }

    /// How many program headers there are, for `AT_PHNUM`.
    #[must_use]
    pub const fn nr_program_headers(&self) -> usize {
        self.table.len()
    }

    /// Whether its stack has to be executable: it says so, or does not say (`PT_GNU_STACK`).
    #[must_use]
    pub fn wants_executable_stack(&self) -> bool {
        let mut stacks = self.headers().filter(|header| header.kind == PT_GNU_STACK);
        // As in Linux, an old file that has no opinion gets what was usual then: on x86-64, none.
        stacks.any(|header| header.flags & PF_X != 0)
    }

    /// What is to be mapped, none of which overlaps. Empty segments are left out.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let Self { file, base, .. } = *self;
        loads(self.table).filter_map(move |(at, header)| {
            // It was looked at before there was a value of this type.
            Segment::place(file, &header, base, at).ok().flatten()
        })
    }

    /// A segment that can be both written to and executed. It is allowed, and worth a word.
    #[must_use]
    pub fn writable_code(&self) -> Option<Segment<'a>> {
        self.segments().find(Segment::is_writable_code)
    }

    fn headers(&self) -> impl Iterator<Item = ProgramHeader> + use<'a> {
        self.table.iter().map(ProgramHeader::parse)
    }

    fn check_segments(&mut self) -> Result<(), BadElf<'a>> {
        let mut has_any = false;
        for (at, header) in loads(self.table) {
            let Some(segment) = Segment::place(self.file, &header, self.base, at)? else {
                continue;
            };
            has_any = true;
            self.end = self.end.max(segment.pages.end);
            self.check_overlap(at, &segment)?;
        }
        if has_any {
            Ok(())
        } else {
            Err(BadElf::NoSegments)
        }
    }

    /// The segments before this one.
    fn check_overlap(&self, second: usize, segment: &Segment<'a>) -> Result<(), BadElf<'a>> {
        for (first, header) in loads(self.table).take_while(|(first, _)| *first < second) {
            let Some(other) = Segment::place(self.file, &header, self.base, first)? else {
                continue;
            };
            let is_apart =
                other.pages.end <= segment.pages.start || segment.pages.end <= other.pages.start;
            if !is_apart {
                return Err(BadElf::Overlap { first, second });
            }
        }
        Ok(())
    }

    fn check_entry(&self, in_file: u64) -> Result<(), BadElf<'a>> {
        if in_file == 0 {
            return Err(BadElf::NoEntry);
        }
        let entry = self.entry;
        let is_code = |segment: Segment<'a>| {
            segment.pages.contains(&entry) && segment.prot.contains(pkeys_kernel::abi::Prot::EXEC)
        };
        if self.segments().any(is_code) {
            Ok(())
        } else {
            Err(BadElf::EntryOutside { entry })
        }
    }

    /// Where the table of program headers is in memory: where the segment is that has its place in the file.
    fn find_headers(&self, table_at: u64) -> u64 {
        let mut loads = loads(self.table);
        let found = loads.find_map(|(_, header)| {
            let within = table_at.checked_sub(header.offset)?;
            (within < header.file_len).then_some(header.addr.wrapping_add(within))
        });
        found.map_or(0, |addr| addr.wrapping_add(self.base))
    }
}

fn loads(
    table: &[[u8; PROGRAM_HEADER_LEN]],
) -> impl Iterator<Item = (usize, ProgramHeader)> + use<'_> {
    let headers = table.iter().map(ProgramHeader::parse).enumerate();
    headers.filter(|(_, header)| header.kind == PT_LOAD)
}

fn table<'a>(
    file: &'a [u8],
    header: &Header,
) -> Result<&'a [[u8; PROGRAM_HEADER_LEN]], BadElf<'a>> {
    let len = (header.nr_entries * PROGRAM_HEADER_LEN) as u64;
    let needed = header.table_at.saturating_add(len);
    let table = bytes(file, header.table_at, needed).ok_or(BadElf::Truncated {
        part: Part::ProgramHeaders,
        needed,
        len: file.len() as u64,
    })?;
    Ok(table.as_chunks().0)
}

/// The name of the dynamic loader, if the file wants one.
fn interpreter<'a>(
    file: &'a [u8],
    table: &[[u8; PROGRAM_HEADER_LEN]],
) -> Result<Option<Name<'a>>, BadElf<'a>> {
    let mut headers = table.iter().map(ProgramHeader::parse);
    let Some(header) = headers.find(|header| header.kind == PT_INTERP) else {
        return Ok(None);
    };
    let needed = header.offset.saturating_add(header.file_len);
    let name = bytes(file, header.offset, needed).ok_or(BadElf::Truncated {
        part: Part::Interpreter,
        needed,
        len: file.len() as u64,
    })?;
    let end = name.iter().position(|byte| *byte == 0);
    Ok(Some(Name(
        end.and_then(|end| name.get(..end)).unwrap_or(name),
    )))
}

/// Where a file goes that is independent of its position: so that the lowest address of its segments, and with it all
/// others, is aligned as the segments want.
fn base(table: &[[u8; PROGRAM_HEADER_LEN]]) -> u64 {
    /// More than the largest page nobody needs.
    const ALIGN_MAX: u64 = 1 << 30;
    let aligns = loads(table).map(|(_, header)| header.align);
    // What is no power of two means nothing, as in Linux.
    let usable = aligns.filter(|align| align.is_power_of_two() && *align <= ALIGN_MAX);
    align_up(STATIC_PIE_BASE, usable.fold(PAGE_SIZE, u64::max))
}

#[cfg(test)]
mod tests {
    use pkeys_kernel::abi::Prot;

    use super::*;
    use crate::elf::sample::{LEN, Part as Header, Sample};

    fn refused(sample: &Sample) -> std::string::String {
        let bytes = sample.bytes();
        match Elf::parse(&bytes) {
            Err(bad) => bad.to_string(),
            Ok(_) => panic!("the file is taken"),
        }
    }

    #[test]
    fn segments_come_with_their_bytes_and_zeros() {
        let bytes = Sample::default().bytes();
        let elf = Elf::parse(&bytes).unwrap();
        let segments: Vec<_> = elf.segments().collect();
        let code = Segment {
            pages: 0x40_0000..0x40_1000,
            prot: Prot::READ | Prot::EXEC,
            data_at: 0x40_0000,
            data: &bytes[..0x200],
        };
        let data = Segment {
            pages: 0x40_2000..0x40_5000,
            prot: Prot::READ | Prot::WRITE,
            data_at: 0x40_2010,
            data: &bytes[0x1010..0x1020],
        };
        assert_eq!(segments, [code, data]);
        assert_eq!((elf.entry(), elf.end()), (0x40_0100, 0x40_5000));
        assert_eq!(elf.program_headers_at(), 0x40_0040);
        assert!(!elf.is_position_independent() && elf.writable_code().is_none());
        assert!(!elf.wants_executable_stack());
    }

    #[test]
    fn a_static_pie_goes_to_its_place() {
        let mut sample = Sample {
            kind: 3,
            entry: 0x100,
            ..Sample::default()
        };
        for part in &mut sample.parts {
            part.addr -= 0x40_0000;
        }
        sample.parts[0].align = 0x20_0000;
        let bytes = sample.bytes();
        let elf = Elf::parse(&bytes).unwrap();
        let base = 0x5555_5560_0000;
        assert!(elf.is_position_independent());
        assert_eq!(elf.entry(), base + 0x100);
        assert_eq!(elf.program_headers_at(), base + 0x40);
        let pages: Vec<_> = elf.segments().map(|segment| segment.pages).collect();
        assert_eq!(pages, [base..base + 0x1000, base + 0x2000..base + 0x5000]);
        // What is no power of two means nothing.
        sample.parts[0].align = 0x30_0000;
        assert_eq!(
            Elf::parse(&sample.bytes()).unwrap().entry(),
            STATIC_PIE_BASE + 0x100
        );
    }

    #[test]
    fn code_that_can_be_written_is_allowed_and_said() {
        let bytes = Sample::with(0, |part| part.flags = 7).bytes();
        let code = Elf::parse(&bytes).unwrap().writable_code().unwrap();
        assert_eq!(code.pages.start, 0x40_0000);
    }

    #[test]
    fn the_stack_is_executable_if_the_file_says_so() {
        for (flags, expected) in [(7, true), (6, false)] {
            let mut sample = Sample::default();
            sample.parts.push(Header {
                kind: PT_GNU_STACK,
                flags,
                ..sample.parts[0]
            });
            let bytes = sample.bytes();
            assert_eq!(
                Elf::parse(&bytes).unwrap().wants_executable_stack(),
                expected
            );
        }
    }

    #[test]
    fn empty_segments_are_nothing() {
        let bytes = Sample::with(1, |part| (part.file_len, part.memory_len) = (0, 0)).bytes();
        assert_eq!(Elf::parse(&bytes).unwrap().segments().count(), 1);
    }

    #[test]
    fn what_is_no_program_of_this_machine_is_said() {
        let bytes = Sample::default().bytes();
        let changed = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Elf::parse(&bytes).unwrap_err().to_string()
        };
        assert_eq!(changed(0, b'#'), "not an ELF file");
        assert_eq!(changed(4, 1), "not for 64 bits: its class is 1, not 2");
        assert_eq!(
            changed(5, 2),
            "not little-endian: its byte order is 2, not 1"
        );
        assert_eq!(
            changed(18, 183),
            "not for x86-64: its machine is 183, not 62"
        );
        assert_eq!(changed(16, 1), "not a program: its type is 1, not 2 or 3");
        assert_eq!(
            changed(54, 32),
            "its program headers have 32 bytes each, not 56"
        );
        assert_eq!(
            changed(56, 74),
            "it has 74 program headers, more than fit a page"
        );
        assert_eq!(changed(56, 0), "it has no segment to load");
        assert_eq!(Elf::parse(b"").unwrap_err(), BadElf::NotElf);
        assert_eq!(Elf::parse(b"#!/bin/sh\n").unwrap_err(), BadElf::NotElf);
    }

    /// Each length is refused with the part that it cuts, and no other word.
    #[test]
    fn a_truncated_file_is_refused_at_every_byte() {
        let bytes = Sample::default().bytes();
        for len in 0..LEN {
            let cut = |part, end| {
                format!(
                    "truncated: the file ends at byte {len}, before the end of {part} at byte {end}"
                )
            };
            let expected = match len {
                0 => "not an ELF file".into(),
                1..64 => cut("its header", 64),
                64..176 => cut("its program headers", 176),
                176..0x200 => cut("segment 0", 512),
                _ => cut("segment 1", 4128),
            };
            assert_eq!(Elf::parse(&bytes[..len]).unwrap_err().to_string(), expected);
        }
        assert!(Elf::parse(&bytes[..LEN]).is_ok());
    }

    #[test]
    fn an_interpreter_is_named() {
        let interpreter = |offset, file_len, len| {
            let mut sample = Sample::default();
            sample.parts.push(Header {
                kind: PT_INTERP,
                offset,
                file_len,
                ..sample.parts[0]
            });
            sample.len = len;
            let mut bytes = sample.bytes();
            if let Some(place) = bytes.get_mut(0x300..0x304) {
                place.copy_from_slice(b"/ld\0");
            }
            Elf::parse(&bytes).unwrap_err().to_string()
        };
        assert_eq!(
            interpreter(0x300, 4, LEN),
            "dynamic: it needs the loader /ld; link it with -static"
        );
        // Without a zero at its end it is as long as it says.
        assert!(interpreter(0x300, 3, LEN).contains(" /ld;"));
        assert!(
            interpreter(0x300, 4, 0x302)
                .ends_with("the end of the name of its interpreter at byte 772")
        );
        assert!(interpreter(u64::MAX, 4, LEN).starts_with("truncated"));
    }

    #[test]
    fn impossible_segments_are_named() {
        type Change = fn(&mut Header);
        let table: [(usize, Change, &str); 10] = [
            (
                1,
                |part| part.file_len = 0x2001,
                "segment 1 is longer in the file",
            ),
            (
                1,
                |part| part.addr += 1,
                "segment 1 has another place within a page",
            ),
            (
                1,
                |part| part.memory_len = u64::MAX,
                "segment 1 wraps around",
            ),
            (
                1,
                |part| part.addr = u64::MAX - 0xFEF,
                "segment 1 wraps around",
            ),
            (
                0,
                |part| (part.offset, part.addr) = (u64::MAX - 0xFF, u64::MAX - 0xFF),
                "segment 0 wraps around",
            ),
            (
                0,
                |part| part.addr = 0,
                "segment 0 at 0x0 is not in the user's part",
            ),
            (
                0,
                |part| part.addr = 0x7FFF_FFFF_F000,
                "segment 0 at 0x7ffffffff000 is not",
            ),
            (
                1,
                |part| part.addr = 0xFFFF_8000_0000_0010,
                "segment 1 at 0xffff800000000010",
            ),
            (
                1,
                |part| part.addr = 0x40_0010,
                "segments 0 and 1 have a page in common",
            ),
            (
                0,
                |part| part.memory_len = 0x3000,
                "segments 0 and 1 have a page in common",
            ),
        ];
        for (at, change, expected) in table {
            let found = refused(&Sample::with(at, change));
            assert!(found.starts_with(expected), "{found}");
        }
        // Right up to the end is possible, in any order.
        let last = |part: &mut Header| (part.addr, part.memory_len) = (0x7FFF_FFFF_E010, 0xFF0);
        assert!(Elf::parse(&Sample::with(1, last).bytes()).is_ok());
        let below = |part: &mut Header| (part.addr, part.memory_len) = (0x1_0010, 0x20);
        assert!(Elf::parse(&Sample::with(1, below).bytes()).is_ok());
    }

    #[test]
    fn it_has_to_start_somewhere_executable() {
        let entry = |entry| {
            let sample = Sample {
                entry,
                ..Sample::default()
            };
            refused(&sample)
        };
        assert_eq!(entry(0), "it has no entry point");
        let outside = "its entry point 0x402010 is in no executable segment";
        assert_eq!(entry(0x40_2010), outside);
        assert!(entry(u64::MAX).ends_with("is in no executable segment"));
        let mut sample = Sample::default();
        sample.parts.iter_mut().for_each(|part| part.kind = 7);
        assert_eq!(refused(&sample), "it has no segment to load");
    }

    #[test]
    fn program_headers_that_no_segment_has_are_nowhere() {
        let moved = Sample::with(0, |part| (part.offset, part.file_len) = (0x1000, 0x20));
        let bytes = moved.bytes();
        assert_eq!(Elf::parse(&bytes).unwrap().program_headers_at(), 0);
    }
}
