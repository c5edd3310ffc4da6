//! The modules of this process: the program, its libraries, the kernel's `[vdso]`.
//!
//! A module is told from other mapped files by its ELF header in memory, at the start of a mapping, and by an executable
//! mapping where that header says that code is. Nothing of the loader is asked: the thread that faulted may hold the
//! loader's lock. The same look serves twice. In normal context it fills the snapshot that fault handlers search; the
//! reporter takes a fresh one for every report, so that a library which was loaded in between is not missed.
#![allow(unsafe_code, reason = "dl_iterate_phdr(3)")]

use core::convert::Infallible;
use core::ffi::{c_int, c_void};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::fault::report::maps::{self, Mapping};
use crate::fault::report::memory;
use crate::registry::snapshot::Snapshot;
use crate::sys::PAGE_BYTES;

/// The longest build-id that is kept; linkers make 8, 16 or 20 bytes.
const BUILD_ID_MAX_BYTES: usize = 32;

/// One loaded module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module {
    /// First address.
    pub(super) start: usize,
    /// First address behind it.
    pub(super) end: usize,
    /// What an address in the file is moved by: 0 for a program at fixed addresses.
    pub(super) bias: usize,
    /// The path of the file, as the kernel has it.
    pub(super) path: &'static [u8],
    /// Which build of it.
    pub(super) build_id: BuildId,
    /// The index of its unwind information (`.eh_frame_hdr`).
    pub(super) eh_frame_hdr: Option<Index>,
}

/// Where a module's unwind information is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    /// The address of the index.
    pub(super) addr: usize,
    /// Its length in bytes.
    pub(super) len_bytes: usize,
    /// First address behind the segment that it lies in, and `.eh_frame` with it.
    pub(super) segment_end: usize,
}

/// The number by which a linker marks a build; empty where it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BuildId {
    bytes: [u8; BUILD_ID_MAX_BYTES],
    len: u8,
}

impl BuildId {
    /// None.
    pub(super) const NONE: Self = Self {
        bytes: [0; BUILD_ID_MAX_BYTES],
        len: 0,
    };

    /// The build-id with these bytes; one that is too long is cut.
    pub(super) fn new(id: &[u8]) -> Self {
        let mut build_id = Self::NONE;
        for (slot, byte) in build_id.bytes.iter_mut().zip(id) {
            *slot = *byte;
            build_id.len += 1;
        }
        build_id
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl Module {
    /// The last part of its path.
    pub(super) fn file_name(&self) -> &'static [u8] {
        let slash = self.path.iter().rposition(|&byte| byte == b'/');
        self.path
            .get(slash.map_or(0, |at| at + 1)..)
            .unwrap_or(self.path)
    }
}

/// The modules that handlers know.
static SNAPSHOT: Snapshot<Module> = Snapshot::new();

/// The state of the loader that the snapshot shows.
static TAKEN: Mutex<Option<Changes>> = Mutex::new(None);

/// The paths of all modules that there ever were.
static PATHS: Mutex<BTreeSet<&'static [u8]>> = Mutex::new(BTreeSet::new());

/// Finds the module of an address in the snapshot. For signal handlers.
pub(super) fn find(addr: usize) -> Option<Module> {
    SNAPSHOT.read(|list| find_in(list, addr).copied())
}

/// Finds the module of an address in a list by address.
pub(super) fn find_in(list: &[Module], addr: usize) -> Option<&Module> {
    let after = list.partition_point(|module| module.start <= addr);
    let module = list.get(after.checked_sub(1)?)?;
    (addr < module.end).then_some(module)
}

/// Takes the snapshot again if a module was loaded or unloaded since it was taken last.
pub(crate) fn refresh() {
    let mut taken = lock(&TAKEN);
    let now = Changes::so_far();
    if now.is_some() && *taken == now {
        return;
    }
    // Without `/proc` handlers know no modules: their records give addresses alone.
    let Ok(mappings) = maps::read() else { return };
    let modules = of(&mappings);
    let published = SNAPSHOT.update(|list| {
        *list = modules;
        Ok::<_, Infallible>(())
    });
    match published {
        Ok(()) => *taken = now,
    }
}

/// How often the loader has loaded and unloaded something in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changes {
    loaded: u64,
    unloaded: u64,
}

impl Changes {
    /// Asks the loader, which counts; `None` where it does not.
    fn so_far() -> Option<Self> {
        unsafe extern "C" fn first(
            info: *mut libc::dl_phdr_info,
            size_bytes: usize,
            data: *mut c_void,
        ) -> c_int {
            // The counters came later than the call (`dl_iterate_phdr(3)`).
            if size_bytes >= size_of::<libc::dl_phdr_info>() {
                // SAFETY: the loader gives a whole structure of that size.
                let info = unsafe { &*info };
                let changes = Changes {
                    loaded: info.dlpi_adds,
                    unloaded: info.dlpi_subs,
                };
                // SAFETY: `data` is the option below, which nobody else looks at.
                unsafe { data.cast::<Option<Changes>>().write(Some(changes)) };
            }
            1
        }
        let mut changes: Option<Self> = None;
        // SAFETY: the callback has the type that is asked for, and `data` the type that it takes.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut changes).cast()) };
        changes
    }
}

/// The modules among these mappings, by address.
pub(super) fn of(mappings: &[Mapping]) -> Vec<Module> {
    let mut modules: Vec<Module> = mappings
        .iter()
        .filter(|mapping| mapping.file_offset == 0 && !mapping.path.is_empty())
        .filter_map(|mapping| read_module(mapping, mappings))
        .collect();
    modules.sort_by_key(|module| module.start);
    modules
}

/// The module that starts with a mapping, if one does.
fn read_module(mapping: &Mapping, mappings: &[Mapping]) -> Option<Module> {
    // Headers lie in the first page, or the linker was a strange one.
    let head = memory::read_exact(mapping.start, PAGE_BYTES)?;
    let header = FileHeader64::<LittleEndian>::parse(&*head).ok()?;
    if header.e_machine.get(LittleEndian) != elf::EM_X86_64 {
        return None;
    }
    let segments = header.program_headers(LittleEndian, &*head).ok()?;
    let loads = || {
        segments
            .iter()
            .filter(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD)
    };
    let first = loads().find(|segment| segment.p_offset(LittleEndian) < PAGE_BYTES as u64)?;
    let stated = first.p_vaddr(LittleEndian) - first.p_offset(LittleEndian);
    let bias = mapping.start.wrapping_sub(usize::try_from(stated).ok()?);
    let code = loads().find(|segment| segment.p_flags(LittleEndian).contains(elf::PF_X))?;
    let code = maps::find(mappings, range(code, bias).0)?;
    // Code that was moved to huge pages is in a mapping without a name.
    if !code.is_executable() || !(code.path.is_empty() || code.path == mapping.path) {
        return None;
    }
    Some(Module {
        start: loads().map(|segment| range(segment, bias).0).min()?,
        end: loads().map(|segment| range(segment, bias).1).max()?,
        bias,
        path: intern(&mapping.path),
        build_id: build_id(segments, bias).unwrap_or(BuildId::NONE),
        eh_frame_hdr: index(segments, bias),
    })
}

/// First address of a segment, and the first behind it.
fn range(segment: &ProgramHeader64<LittleEndian>, bias: usize) -> (usize, usize) {
    let stated = |addr: u64| {
        usize::try_from(addr)
            .unwrap_or(usize::MAX)
            .wrapping_add(bias)
    };
    let start = segment.p_vaddr(LittleEndian);
    (
        stated(start),
        stated(start.wrapping_add(segment.p_memsz(LittleEndian))),
    )
}

fn index(segments: &[ProgramHeader64<LittleEndian>], bias: usize) -> Option<Index> {
    let of_type =
        |wanted| move |segment: &&ProgramHeader64<_>| segment.p_type(LittleEndian) == wanted;
    let (addr, end) = range(segments.iter().find(of_type(elf::PT_GNU_EH_FRAME))?, bias);
    let segment_end = segments
        .iter()
        .filter(of_type(elf::PT_LOAD))
        .map(|segment| range(segment, bias))
        .find(|segment| (segment.0..segment.1).contains(&addr))?
        .1;
    Some(Index {
        addr,
        len_bytes: end.checked_sub(addr)?,
        segment_end,
    })
}

fn build_id(segments: &[ProgramHeader64<LittleEndian>], bias: usize) -> Option<BuildId> {
    segments
        .iter()
        .filter(|segment| segment.p_type(LittleEndian) == elf::PT_NOTE)
        .find_map(|segment| {
            let (start, end) = range(segment, bias);
            let bytes = memory::read_exact(start, end.checked_sub(start)?.min(PAGE_BYTES))?;
            let align = segment.p_align(LittleEndian);
            let mut notes = object::read::elf::NoteIterator::<FileHeader64<LittleEndian>>::new(
                LittleEndian,
                align,
                &bytes,
            )
            .ok()?;
            while let Ok(Some(note)) = notes.next() {
                if note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID
                    && note.name() == elf::ELF_NOTE_GNU
                {
                    return Some(BuildId::new(note.desc()));
                }
            }
            None
        })
}

/// A copy of a path that stays for ever, one for each path: handlers hold on to it without a count.
fn intern(path: &[u8]) -> &'static [u8] {
    let mut paths = lock(&PATHS);
    if let Some(known) = paths.get(path) {
        return known;
    }
    let path: &'static [u8] = Box::leak(path.into());
    paths.insert(path);
    path
}

/// The locks of this module.
pub(super) type ForkLock = (
    MutexGuard<'static, Option<Changes>>,
    MutexGuard<'static, BTreeSet<&'static [u8]>>,
);

/// The locks of this module, held across `fork(2)`. The snapshot's own is taken below the first of them only.
pub(super) fn lock_for_fork() -> ForkLock {
    (lock(&TAKEN), lock(&PATHS))
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    // A panic elsewhere leaves both of them whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    /// What the loader says of one module.
    #[derive(Debug)]
    struct Told {
        bias: usize,
        path: Vec<u8>,
        first: usize,
        last: usize,
    }

    fn told_by_the_loader() -> Vec<Told> {
        unsafe extern "C" fn each(
            info: *mut libc::dl_phdr_info,
            _: usize,
            data: *mut c_void,
        ) -> c_int {
            #[expect(clippy::multiple_unsafe_ops_per_block, reason = "a test")]
            // SAFETY: the loader's own structure, and the vector below.
            unsafe {
                let info = &*info;
                let segments = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
                let loads = || {
                    segments
                        .iter()
                        .filter(|segment| segment.p_type == libc::PT_LOAD)
                };
                let bias = usize::try_from(info.dlpi_addr).unwrap();
                let at = |addr: u64| bias + usize::try_from(addr).unwrap();
                (*data.cast::<Vec<Told>>()).push(Told {
                    bias,
                    path: CStr::from_ptr(info.dlpi_name).to_bytes().to_vec(),
                    first: loads().map(|load| at(load.p_vaddr)).min().unwrap(),
                    last: loads()
                        .map(|load| at(load.p_vaddr + load.p_memsz) - 1)
                        .max()
                        .unwrap(),
                });
            }
            0
        }
        let mut told: Vec<Told> = Vec::new();
        // SAFETY: the callback has the type that is asked for, and `data` the type that it takes.
        unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut told).cast()) };
        told
    }

    fn look() -> Vec<Module> {
        of(&maps::read().unwrap())
    }

    #[test]
    fn modules_are_those_that_the_loader_knows() {
        let modules = look();
        let told = told_by_the_loader();
        assert!(!told.is_empty());
        for told in &told {
            for addr in [told.first, told.last] {
                let module = find_in(&modules, addr).unwrap_or_else(|| panic!("{told:?}"));
                assert_eq!(module.bias, told.bias, "{told:?}");
            }
            let module = find_in(&modules, told.first).unwrap();
            assert_eq!((module.start, module.end), (told.first, told.last + 1));
            // The loader has the program's path empty, and others as they were asked for.
            let name = told.path.rsplit(|&byte| byte == b'/').next().unwrap();
            if !name.is_empty() && name != b"linux-vdso.so.1" {
                let path = std::fs::canonicalize(str::from_utf8(&told.path).unwrap()).unwrap();
                assert_eq!(module.path, path.as_os_str().as_encoded_bytes());
            }
        }
        // A static program's loader may not list the [vdso].
        assert!(
            [told.len(), told.len() + 1].contains(&modules.len()),
            "{told:#?}\n{modules:#?}"
        );
    }

    #[test]
    fn a_file_that_is_mapped_to_be_read_is_no_module() {
        let exe = std::fs::File::open("/proc/self/exe").unwrap();
        let before = look();
        // SAFETY: the program's file does not change while it runs.
        let _map = unsafe { memmap2::Mmap::map(&exe) }.unwrap();
        assert_eq!(look(), before);
    }

    #[test]
    fn the_snapshot_answers_for_code_and_for_nothing_else() {
        refresh();
        let code = (refresh as fn() as *const ()).addr();
        let module = find(code).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(module.path, exe.as_os_str().as_encoded_bytes());
        assert_eq!(
            module.file_name(),
            exe.file_name().unwrap().as_encoded_bytes()
        );
        assert!((module.start..module.end).contains(&code));
        let local = 0_u8;
        assert_eq!(find((&raw const local).addr()), None);
        assert_eq!(find(0), None);
        assert_eq!(find(usize::MAX), None);
    }

    /// A static program loads nothing: there it is a check of the empty case.
    #[test]
    fn a_library_that_comes_later_is_found_after_a_refresh() {
        refresh();
        // SAFETY: this library's constructors do nothing.
        let library = unsafe { libc::dlopen(c"libresolv.so.2".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return;
        }
        refresh();
        let is_known = |module: &Module| module.file_name().starts_with(b"libresolv");
        assert!(SNAPSHOT.read(|list| list.iter().any(is_known)));
        // SAFETY: nothing of the library is used any more.
        unsafe { libc::dlclose(library) };
    }

    #[test]
    fn nothing_is_done_when_nothing_changed() {
        refresh();
        let published = || SNAPSHOT.read(|list| list.as_ptr().addr());
        let before = Changes::so_far();
        let list = published();
        refresh();
        // Another test may load a library meanwhile, which is a change.
        if Changes::so_far() == before {
            assert_eq!(published(), list);
        }
    }

    #[test]
    fn a_build_id_is_cut_to_what_is_kept() {
        assert_eq!(BuildId::new(&[7; 20]).as_bytes(), [7; 20]);
        assert_eq!(BuildId::new(&[7; 99]).as_bytes(), [7; BUILD_ID_MAX_BYTES]);
        assert!(BuildId::NONE.as_bytes().is_empty());
    }

    #[test]
    fn a_path_is_kept_once() {
        let one = intern(b"/a path of this test");
        let two = intern(&Vec::from(b"/a path of this test"));
        assert_eq!(one.as_ptr(), two.as_ptr());
    }
}
