//! What a boot loader that follows Xen's PVH protocol hands to a kernel.
//!
//! EBX holds the physical address of a structure that begins with a magic number. It says where the command line, the
//! modules and the map of memory are. Here it is taken apart as bytes; who copies them out of physical memory is the
//! kernel's `boot`.
//!
//! Source: Xen, `public/arch-x86/hvm/start_info.h`.

use core::fmt;

/// The bytes of the structure's first version.
pub const LEN: usize = 56;

/// The bytes of one entry of the memory map.
pub const RANGE_LEN: usize = 24;

/// The bytes of one entry of the list of modules.
pub const MODULE_LEN: usize = 32;

const MAGIC: u32 = 0x336E_C578;

/// The type of a range that is memory like any other.
const RAM: u32 = 1;

/// The structure; all addresses are physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartInfo {
    /// How many modules there are: files that came along.
    pub nr_modules: u32,
    /// Where their list is.
    pub modules: u64,
    /// Where the command line is, which ends with a zero byte; 0 if there is none.
    pub command_line: u64,
    /// Where the memory map is.
    pub memory_map: u64,
    /// How many entries it has.
    pub nr_ranges: u32,
}

/// Why there is nothing to be made of what the boot loader handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadStartInfo {
    /// It does not begin with the magic number.
    NoMagic {
        /// What it begins with.
        found: u32,
    },
    /// It is of a version that has no memory map.
    NoMemoryMap {
        /// The version.
        version: u32,
    },
}

impl fmt::Display for BadStartInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic { found } => {
                write!(
                    f,
                    "the boot loader does not speak PVH: it hands over {found:#x}"
                )
            }
            Self::NoMemoryMap { version } => {
                write!(
                    f,
                    "the boot loader's version {version} of PVH has no memory map"
                )
            }
        }
    }
}

impl core::error::Error for BadStartInfo {}

impl StartInfo {
    /// Takes the structure apart.
    ///
    /// # Errors
    ///
    /// [`BadStartInfo`] where it is not one, or a too old one.
    pub fn parse(bytes: &[u8; LEN]) -> Result<Self, BadStartInfo> {
        let found = u32_at(bytes, 0);
        if found != MAGIC {
            return Err(BadStartInfo::NoMagic { found });
        }
        let version = u32_at(bytes, 4);
        if version < 1 {
            return Err(BadStartInfo::NoMemoryMap { version });
        }
        Ok(Self {
            nr_modules: u32_at(bytes, 12),
            modules: u64_at(bytes, 16),
            command_line: u64_at(bytes, 24),
            memory_map: u64_at(bytes, 40),
            nr_ranges: u32_at(bytes, 48),
        })
    }
}

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
}

impl Range {
    /// The whole frames of a range of the memory map; `None` where it is no memory, or too small for a frame.
    #[must_use]
    pub fn parse_ram(bytes: &[u8; RANGE_LEN]) -> Option<Self> {
        let start = u64_at(bytes, 0).checked_next_multiple_of(4096)?;
        let end = u64_at(bytes, 0).saturating_add(u64_at(bytes, 8)) & !4095;
        (u32_at(bytes, 16) == RAM && start < end).then_some(Self { start, end })
    }

    /// A module: where its bytes are.
    #[must_use]
    pub fn parse_module(bytes: &[u8; MODULE_LEN]) -> Self {
        let start = u64_at(bytes, 0);
        Self {
            start,
            end: start.saturating_add(u64_at(bytes, 8)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; LEN] {
        let mut bytes = [0; LEN];
        for (at, word) in [
            (0, MAGIC),
            (4, 1),
            (12, 2),
            (16, 0x1000),
            (24, 0x2000),
            (40, 0x3000),
            (44, 1),
            (48, 5),
        ] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn each_field_is_read_from_its_place() {
        assert_eq!(
            StartInfo::parse(&sample()),
            Ok(StartInfo {
                nr_modules: 2,
                modules: 0x1000,
                command_line: 0x2000,
                memory_map: 0x1_0000_3000,
                nr_ranges: 5,
            })
        );
    }

    #[test]
    fn another_magic_number_or_version_is_refused() {
        let mut bytes = sample();
        bytes[4] = 0;
        assert_eq!(
            StartInfo::parse(&bytes),
            Err(BadStartInfo::NoMemoryMap { version: 0 })
        );
        bytes[0] ^= 1;
        assert_eq!(
            StartInfo::parse(&bytes),
            Err(BadStartInfo::NoMagic { found: MAGIC ^ 1 })
        );
    }

    fn entry(start: u64, len: u64, kind: u32) -> [u8; RANGE_LEN] {
        let mut bytes = [0; RANGE_LEN];
        bytes[..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..16].copy_from_slice(&len.to_le_bytes());
        bytes[16..20].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn ranges_shrink_to_whole_frames_of_memory() {
        let cases = [
            (entry(0x1000, 0x2000, 1), Some((0x1000, 0x3000))),
            (entry(0x1001, 0x2FFE, 1), Some((0x2000, 0x3000))),
            (entry(0x1001, 0x1000, 1), None),
            (entry(0x1000, 0x2000, 2), None),
            (entry(u64::MAX - 10, 100, 1), None),
            (entry(0x1000, u64::MAX, 1), Some((0x1000, !4095))),
        ];
        for (bytes, expected) in cases {
            let expected = expected.map(|(start, end)| Range { start, end });
            assert_eq!(Range::parse_ram(&bytes), expected);
        }
    }

    #[test]
    fn a_module_is_its_bytes() {
        let mut bytes = [0; MODULE_LEN];
        bytes[..8].copy_from_slice(&0x5001_u64.to_le_bytes());
        bytes[8..16].copy_from_slice(&7_u64.to_le_bytes());
        assert_eq!(
            Range::parse_module(&bytes),
            Range {
                start: 0x5001,
                end: 0x5008
            }
        );
    }
}
