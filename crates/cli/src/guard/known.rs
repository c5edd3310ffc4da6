//! Names of functions, checked against the libraries' files where these are found: a mistake is told before the program runs.
//!
//! The loader may find another file, or the library may be one that only the program knows the place of. Then the audit library
//! checks the names when it is loaded. Where there are several libraries, each function goes to those that have it.

use core::ffi::CStr;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader64, SHN_UNDEF, SHT_DYNSYM, STT_FUNC, STT_GNU_IFUNC, Sym64};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{LittleEndian, ReadCache};

use crate::guard::Refusal;
use crate::guard::options::{Domain, unknown};

/// Where libraries usually are on x86-64.
const FOLDERS: [&str; 7] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/usr/lib",
];

/// Gives each domain the functions that its libraries have. Nothing is changed where a library's file is not found.
pub(super) fn assign(domains: &mut [Domain]) -> Result<(), Refusal> {
    let found: Option<Vec<BTreeSet<String>>> = domains
        .iter()
        .map(|domain| functions(&domain.libraries))
        .collect();
    let Some(found) = found else {
        return Ok(());
    };
    let all: BTreeSet<&str> = found.iter().flatten().map(String::as_str).collect();
    for (domain, own) in domains.iter_mut().zip(&found) {
        let callbacks = domain.callbacks.iter().map(|(name, _)| name);
        let named = domain.share.iter().chain(&domain.ungated).chain(callbacks);
        for name in named {
            if !all.contains(name.as_str()) {
                return Err(unknown("function", name, all.iter().copied()));
            }
        }
        domain.share.retain(|name| own.contains(name));
        domain.ungated.retain(|name| own.contains(name));
        domain.callbacks.retain(|(name, _)| own.contains(name));
    }
    Ok(())
}

/// The functions that libraries export; `None` where one of them is not found or not understood.
fn functions(libraries: &[String]) -> Option<BTreeSet<String>> {
    let mut all = Vec::new();
    for library in libraries {
        all.extend(exported(File::open(find(library)?).ok()?)?);
    }
    // From all at once: they are sorted, and put in one after the other only here.
    Some(all.into_iter().collect())
}

/// What a library's file defines for others. Only its tables are read, each in one piece.
fn exported(file: File) -> Option<Vec<String>> {
    let file = ReadCache::new(file);
    let header = FileHeader64::<LittleEndian>::parse(&file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &file).ok()?;
    let mut sections_by_kind = sections.iter();
    let table = sections_by_kind.find(|section| section.sh_type(endian) == SHT_DYNSYM)?;
    let symbols = table
        .data_as_array::<Sym64<LittleEndian>, _>(endian, &file)
        .ok()?;
    let names = sections.section(table.link(endian)).ok()?;
    let names = names.data(endian, &file).ok()?;
    let name = |symbol: &Sym64<LittleEndian>| {
        let start = usize::try_from(symbol.st_name(endian)).ok()?;
        let text = CStr::from_bytes_until_nul(names.get(start..)?).ok()?;
        text.to_str().ok().map(str::to_owned)
    };
    let defined = symbols.iter().filter(|symbol| {
        symbol.st_shndx(endian) != SHN_UNDEF && matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC)
    });
    Some(defined.filter_map(name).collect())
}

fn find(library: &str) -> Option<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let given: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let folders = given
        .iter()
        .map(PathBuf::as_path)
        .chain(FOLDERS.iter().map(Path::new));
    folders
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(library))
        .find(|path| path.is_file())
}
