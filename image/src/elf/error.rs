//! What is wrong with a file.

use core::fmt;

/// A part of a file, for [`BadElf::Truncated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The file's header.
    Header,
    /// The table of program headers.
    ProgramHeaders,
    /// The bytes of the segment with this program header.
    Segment(usize),
    /// The name of the interpreter.
    Interpreter,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("its header"),
            Self::ProgramHeaders => f.write_str("its program headers"),
            Self::Segment(at) => write!(f, "segment {at}"),
            Self::Interpreter => f.write_str("the name of its interpreter"),
        }
    }
}

/// A name in a file, which may be any bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub &'a [u8]);

/// At most this much of a name is shown.
const NAME_SHOWN: usize = 100;

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..NAME_SHOWN).unwrap_or(self.0);
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a file is no program that can be run. Segments are counted by their program headers, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadElf<'a> {
    /// It does not begin as ELF files do.
    NotElf,
    /// It ends too early.
    Truncated {
        /// What is not all there.
        part: Part,
        /// The byte behind that part's last.
        needed: u64,
        /// The file's bytes.
        len: u64,
    },
    /// It is not for 64 bits.
    Class {
        /// `EI_CLASS`.
        found: u8,
    },
    /// Its numbers do not have their low byte first.
    ByteOrder {
        /// `EI_DATA`.
        found: u8,
    },
    /// It is for another processor.
    Machine {
        /// `e_machine`.
        found: u16,
    },
    /// It is no program: an object file, a core file.
    Type {
        /// `e_type`.
        found: u16,
    },
    /// It needs a dynamic loader.
    Dynamic {
        /// The loader's name.
        interpreter: Name<'a>,
    },
    /// Its program headers have another size than those of this format.
    HeaderSize {
        /// `e_phentsize`.
        found: u16,
    },
    /// It has too many program headers: more than a page of them.
    TooManyHeaders {
        /// `e_phnum`.
        found: u16,
    },
    /// It has no segment to be loaded.
    NoSegments,
    /// A segment has more bytes in the file than in memory.
    FileLongerThanMemory {
        /// The segment.
        segment: usize,
    },
    /// A segment's place in the file and its address differ within a page.
    Misaligned {
        /// The segment.
        segment: usize,
    },
    /// A segment's end wraps around, in memory or in the file.
    Wraps {
        /// The segment.
        segment: usize,
    },
    /// A segment is not in the user's part of the addresses.
    OutsideUser {
        /// The segment.
        segment: usize,
        /// Its address, where it would be.
        addr: u64,
    },
    /// Two segments have a page in common.
    Overlap {
        /// The one.
        first: usize,
        /// The other.
        second: usize,
    },
    /// It says no address to start at.
    NoEntry,
    /// The address to start at is in no executable segment.
    EntryOutside {
        /// The address.
        entry: u64,
    },
}

impl fmt::Display for BadElf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => f.write_str("not an ELF file"),
            Self::Truncated { part, needed, len } => write!(
                f,
                "truncated: the file ends at byte {len}, before the end of {part} at byte {needed}"
            ),
            Self::Class { found } => {
                write!(f, "not for 64 bits: its class is {found}, not 2")
            }
            Self::ByteOrder { found } => {
                write!(f, "not little-endian: its byte order is {found}, not 1")
            }
            Self::Machine { found } => {
                write!(f, "not for x86-64: its machine is {found}, not 62")
            }
            Self::Type { found } => {
                write!(f, "not a program: its type is {found}, not 2 or 3")
            }
            Self::Dynamic { interpreter } => write!(
                f,
                "dynamic: it needs the loader {interpreter}; link it with -static"
            ),
            Self::HeaderSize { found } => {
                write!(f, "its program headers have {found} bytes each, not 56")
            }
            Self::TooManyHeaders { found } => {
                write!(f, "it has {found} program headers, more than fit a page")
            }
            Self::NoSegments => f.write_str("it has no segment to load"),
            Self::FileLongerThanMemory { segment } => {
                write!(f, "segment {segment} is longer in the file than in memory")
            }
            Self::Misaligned { segment } => write!(
                f,
                "segment {segment} has another place within a page in the file than in memory"
            ),
            Self::Wraps { segment } => write!(f, "segment {segment} wraps around"),
            Self::OutsideUser { segment, addr } => write!(
                f,
                "segment {segment} at {addr:#x} is not in the user's part of the addresses"
            ),
            Self::Overlap { first, second } => {
                write!(f, "segments {first} and {second} have a page in common")
            }
            Self::NoEntry => f.write_str("it has no entry point"),
            Self::EntryOutside { entry } => {
                write!(f, "its entry point {entry:#x} is in no executable segment")
            }
        }
    }
}

impl core::error::Error for BadElf<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_are_shown_on_one_short_line() {
        let name = Name(b"/lib64/ld\n\xFF");
        assert_eq!(name.to_string(), "/lib64/ld\\n\\xff");
        let long = [b'a'; 200];
        assert_eq!(Name(&long).to_string().len(), NAME_SHOWN + 3);
    }

    #[test]
    fn a_truncated_file_says_where_it_ends() {
        let bad = BadElf::Truncated {
            part: Part::Segment(2),
            needed: 4096,
            len: 70,
        };
        assert_eq!(
            bad.to_string(),
            "truncated: the file ends at byte 70, before the end of segment 2 at byte 4096"
        );
    }
}
