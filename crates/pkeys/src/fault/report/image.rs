//! The file behind a module: mapped, checked to be the build that is loaded, and taken apart into sections.
//!
//! Files are mapped rather than read: of a gigabyte of debug information a look-up touches some pages. A file that was
//! replaced since it was loaded, as by a new build, has another build-id and is not used. Where it holds no debug
//! information, distributions put that into a file named by the build-id.
#![allow(unsafe_code, reason = "memory-mapped files")]

use core::fmt::Write as _;
use core::ops::Deref;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{EndianReader, LittleEndian};
use memmap2::Mmap;
use object::CompressionFormat;
use object::read::elf::ElfFile64;
use object::read::{Object, ObjectSection};

use crate::fault::report::modules::{BuildId, Module};

/// Where distributions keep debug information by build-id (GDB's manual, "Debugging Information in Separate Files").
const DEBUG_FOLDER: &str = "/usr/lib/debug/.build-id";

/// What the readers of debug and unwind information read from.
pub(super) type Reader = EndianReader<LittleEndian, Image>;

/// An ELF file in 64-bit, little-endian form.
pub(super) type Elf<'i> = ElfFile64<'i, object::LittleEndian>;

/// Bytes that several readers share.
#[derive(Debug, Clone)]
pub(super) struct Image(Rc<Bytes>);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Image {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

// SAFETY: the bytes lie in a mapping or in a vector behind a reference count, and nothing changes either: they stay
// where they are while a copy of the image lives.
unsafe impl gimli::StableDeref for Image {}
// SAFETY: as above; a copy shares the count and points to the same bytes.
unsafe impl gimli::CloneStableDeref for Image {}

impl Image {
    /// Bytes that were read already.
    pub(super) fn owned(bytes: Vec<u8>) -> Self {
        Self(Rc::new(Bytes::Owned(bytes)))
    }

    /// The file that a module was loaded from, if it is still there.
    pub(super) fn of(module: &Module) -> Option<Self> {
        let image = Self::map(&path_of(module))?;
        let elf = image.elf()?;
        image.is_build(&elf, &module.build_id).then_some(image)
    }

    /// The debug information of a build, where it was installed apart from the program.
    pub(super) fn debug(build_id: &BuildId) -> Option<Self> {
        let (first, rest) = build_id.as_bytes().split_first()?;
        let mut name = format!("{DEBUG_FOLDER}/{first:02x}/");
        for byte in rest {
            write!(name, "{byte:02x}").ok()?;
        }
        name.push_str(".debug");
        let image = Self::map(Path::new(&name))?;
        let elf = image.elf()?;
        image.is_build(&elf, build_id).then_some(image)
    }

    fn map(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        // Only a regular file can be mapped in a useful way; a path in `maps` may name a device.
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        // SAFETY: the bytes are read only, and taken for anything. Were the file cut short meanwhile, the program that runs
        // from it would not survive either.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        Some(Self(Rc::new(Bytes::Mapped(map))))
    }

    /// The file's structure.
    pub(super) fn elf(&self) -> Option<Elf<'_>> {
        Elf::parse(&**self).ok()
    }

    /// A section's contents; empty where there is none, or only a compressed one.
    pub(super) fn section(&self, elf: &Elf<'_>, name: &str) -> Reader {
        self.part(range_of(elf, name).unwrap_or((0, 0)))
    }

    /// A part of the file by offset and length; empty where the file is shorter.
    pub(super) fn part(&self, (offset, len_bytes): (u64, u64)) -> Reader {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = usize::try_from(offset.saturating_add(len_bytes)).unwrap_or(usize::MAX);
        let range = if start <= end && end <= self.len() {
            start..end
        } else {
            0..0
        };
        Reader::new(self.clone(), LittleEndian).range(range)
    }

    fn is_build(&self, elf: &Elf<'_>, build_id: &BuildId) -> bool {
        let stated = elf
            .build_id()
            .ok()
            .flatten()
            .map_or(BuildId::NONE, BuildId::new);
        stated == *build_id
    }
}

fn range_of(elf: &Elf<'_>, name: &str) -> Option<(u64, u64)> {
    let range = elf.section_by_name(name)?.compressed_file_range().ok()?;
    (range.format == CompressionFormat::None).then_some((range.offset, range.uncompressed_size))
}

/// The program is opened by a link that the kernel keeps: it works when the file has been moved or deleted.
fn path_of(module: &Module) -> PathBuf {
    const PROGRAM: &str = "/proc/self/exe";
    let is_program = std::fs::read_link(PROGRAM)
        .is_ok_and(|program| program.as_os_str().as_bytes() == module.path);
    if is_program {
        return PathBuf::from(PROGRAM);
    }
    PathBuf::from(OsStr::from_bytes(module.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::{maps, modules};
    use gimli::Reader as _;

    fn program() -> Module {
        let modules = modules::of(&maps::read().unwrap());
        *modules::find_in(&modules, (program as fn() -> Module as *const ()).addr()).unwrap()
    }

    #[test]
    fn the_file_of_the_program_is_the_build_that_runs() {
        let module = program();
        let image = Image::of(&module).unwrap();
        let elf = image.elf().unwrap();
        assert_eq!(elf.build_id().unwrap().unwrap(), module.build_id.as_bytes());
        assert!(!image.section(&elf, ".text").is_empty());
        assert!(image.section(&elf, ".no-such-section").is_empty());
        assert!(image.part((0, u64::MAX)).is_empty());
        assert!(image.part((u64::MAX, u64::MAX)).is_empty());
    }

    #[test]
    fn another_build_is_not_used() {
        let module = Module {
            build_id: BuildId::new(&[1; 20]),
            ..program()
        };
        assert!(Image::of(&module).is_none());
        assert!(Image::debug(&module.build_id).is_none());
        assert!(Image::debug(&BuildId::NONE).is_none());
    }

    #[test]
    fn what_is_no_elf_file_is_not_used() {
        for path in [
            "/proc/self/maps",
            "/dev/zero",
            "/",
            "/nonexistent",
            "[vdso]",
            "/etc/passwd",
        ] {
            let module = Module {
                path: path.as_bytes(),
                ..program()
            };
            assert!(Image::of(&module).is_none(), "{path}");
        }
    }
}
