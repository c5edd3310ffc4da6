//! Loaded ELF objects as the loader shows them: the link map, the dynamic section, program headers, symbols.
//!
//! The loader hands a `struct link_map` (`link.h`) to the audit library before it relocates the object. Addresses in the dynamic
//! section may have been moved by the object's own address already or not: glibc does so where the section is writable.
#![allow(
    unsafe_code,
    reason = "tables of loaded objects, at addresses that their headers state"
)]

use core::ffi::{CStr, c_char};
use core::ops::Range;

/// The public part of the loader's `struct link_map`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct LinkMap {
    /// What the object's addresses are moved by.
    pub(crate) addr: usize,
    name: *const c_char,
    dynamic: *const [usize; 2],
    next: *const LinkMap,
    previous: *const LinkMap,
}

/// An entry of the symbol table (`Elf64_Sym`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    pub(crate) value: usize,
    size: usize,
}

/// A relocation with addend (`Elf64_Rela`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Relocation {
    pub(crate) offset: usize,
    pub(crate) info: u64,
    pub(crate) addend: usize,
}

/// `STT_OBJECT`.
const OBJECT: u8 = 1;
/// `STT_FUNC`.
const FUNCTION: u8 = 2;
/// `STT_GNU_IFUNC`.
const INDIRECT: u8 = 10;

/// Dynamic tags (`elf.h`).
mod tag {
    pub(super) const NEEDED: usize = 1;
    pub(super) const HASH: usize = 4;
    pub(super) const STRTAB: usize = 5;
    pub(super) const SYMTAB: usize = 6;
    pub(super) const RELA: usize = 7;
    pub(super) const RELASZ: usize = 8;
    pub(super) const SONAME: usize = 14;
    pub(super) const INIT_ARRAY: usize = 25;
    pub(super) const FINI_ARRAY: usize = 26;
    pub(super) const INIT_ARRAYSZ: usize = 27;
    pub(super) const FINI_ARRAYSZ: usize = 28;
    pub(super) const RELRSZ: usize = 35;
    pub(super) const RELR: usize = 36;
    pub(super) const GNU_HASH: usize = 0x6FFF_FEF5;
}

/// Types of program headers, and their flags.
const PT_LOAD: u32 = 1;
const PT_GNU_RELRO: u32 = 0x6474_E552;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

impl Symbol {
    const fn kind(&self) -> u8 {
        self.info & 0xF
    }

    /// Whether it is a function, called directly or through a resolver.
    pub(crate) const fn is_function(&self) -> bool {
        matches!(self.kind(), FUNCTION | INDIRECT)
    }

    /// Whether it is a plain function.
    pub(crate) const fn is_plain_function(&self) -> bool {
        self.kind() == FUNCTION
    }

    const fn is_object(&self) -> bool {
        self.kind() == OBJECT
    }

    /// Whether the object defines it, rather than wanting it.
    pub(crate) const fn is_defined(&self) -> bool {
        self.section != 0
    }
}

impl Relocation {
    /// Its type.
    pub(crate) const fn kind(&self) -> u64 {
        self.info & 0xFFFF_FFFF
    }

    /// The index of its symbol.
    pub(crate) const fn symbol(&self) -> usize {
        (self.info >> 32) as usize
    }
}

impl LinkMap {
    /// The object's path; empty for the program itself.
    pub(crate) fn path(&self) -> String {
        // SAFETY: a string of the loader's, which is there as long as the object.
        unsafe { CStr::from_ptr(self.name) }
            .to_string_lossy()
            .into_owned()
    }

    /// The entries of its dynamic section: tag and value.
    fn entries(&self) -> impl Iterator<Item = [usize; 2]> {
        let mut entry = self.dynamic;
        core::iter::from_fn(move || {
            // SAFETY: within the object's dynamic section, which a null tag ends.
            let [tag, value] = unsafe { entry.read() };
            entry = entry.wrapping_add(1);
            (tag != 0).then_some([tag, value])
        })
    }

    /// Whether it is linked with a standard library of C++.
    pub(crate) fn needs_cxx(&self, dynamic: &Dynamic) -> bool {
        self.entries()
            .filter(|[tag, _]| *tag == tag::NEEDED)
            .map(|[_, name]| dynamic.string(name))
            .any(|name| name.starts_with("libstdc++.so") || name.starts_with("libc++.so"))
    }

    /// Its dynamic section, read once.
    pub(crate) fn dynamic(&self) -> Dynamic {
        let mut found = Dynamic {
            base: self.addr,
            ..Dynamic::default()
        };
        for [tag, value] in self.entries() {
            let addr = || {
                if value < self.addr {
                    value + self.addr
                } else {
                    value
                }
            };
            match tag {
                tag::HASH => found.hash = addr(),
                tag::GNU_HASH => found.gnu_hash = addr(),
                tag::STRTAB => found.strings = addr(),
                tag::SYMTAB => found.symbols = addr(),
                tag::RELA => found.relocations.0 = addr(),
                tag::RELASZ => found.relocations.1 = value,
                tag::RELR => found.packed.0 = addr(),
                tag::RELRSZ => found.packed.1 = value,
                tag::SONAME => found.soname = Some(value),
                tag::INIT_ARRAY => found.constructors.0 = addr(),
                tag::INIT_ARRAYSZ => found.constructors.1 = value,
                tag::FINI_ARRAY => found.destructors.0 = addr(),
                tag::FINI_ARRAYSZ => found.destructors.1 = value,
                _ => {}
            }
        }
        found
    }
}

/// What is used of a dynamic section: addresses in memory, lengths in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Dynamic {
    base: usize,
    hash: usize,
    gnu_hash: usize,
    strings: usize,
    symbols: usize,
    soname: Option<usize>,
    relocations: (usize, usize),
    packed: (usize, usize),
    constructors: (usize, usize),
    destructors: (usize, usize),
}

impl Dynamic {
    /// The object's own name (`DT_SONAME`).
    pub(crate) fn soname(&self) -> Option<String> {
        self.soname.map(|offset| self.string(offset))
    }

    fn string(&self, offset: usize) -> String {
        self.text(offset).to_string_lossy().into_owned()
    }

    fn text(&self, offset: usize) -> &CStr {
        let place = core::ptr::with_exposed_provenance::<c_char>(self.strings + offset);
        // SAFETY: within the object's table of strings, each of which ends with a zero.
        unsafe { CStr::from_ptr(place) }
    }

    /// The name of a symbol.
    pub(crate) fn name(&self, symbol: &Symbol) -> String {
        self.string(symbol.name as usize)
    }

    /// The relocations with addends, other than those of the procedure linkage table: where they are, and how many.
    pub(crate) fn relocations(&self) -> (*mut Relocation, usize) {
        let (start, len_bytes) = self.relocations;
        let start = core::ptr::with_exposed_provenance_mut(start);
        (start, len_bytes / size_of::<Relocation>())
    }

    /// The places in memory that have packed relocations (`DT_RELR`). The table is a list of addresses, each followed by bit
    /// maps of the 63 words behind the last one that was covered; a bit map has bit 0 set, an address has not.
    pub(crate) fn packed(&self) -> Vec<usize> {
        const WORD: usize = size_of::<usize>();
        let (start, len_bytes) = self.packed;
        let mut places = Vec::new();
        let mut next = 0;
        for at in (start..start + len_bytes).step_by(WORD) {
            let entry = core::ptr::with_exposed_provenance::<usize>(at);
            // SAFETY: within the object's table, as its dynamic section states.
            let entry = unsafe { entry.read() };
            if entry & 1 == 0 {
                places.push(self.base + entry);
                next = self.base + entry + WORD;
            } else {
                let bits = (0..63).filter(|bit| entry >> (1 + bit) & 1 == 1);
                places.extend(bits.map(|bit| next + bit * WORD));
                next += 63 * WORD;
            }
        }
        places
    }

    /// Where the tables of constructors and destructors are, in memory.
    pub(crate) fn constructors_and_destructors(&self) -> [Range<usize>; 2] {
        [self.constructors, self.destructors].map(|(start, len)| start..start + len)
    }

    /// A symbol by its index.
    pub(crate) fn symbol(&self, index: usize) -> Symbol {
        let table = core::ptr::with_exposed_provenance::<Symbol>(self.symbols);
        // SAFETY: an index that a relocation or a hash table of the same object states.
        unsafe { table.wrapping_add(index).read() }
    }

    /// All symbols, as far as a hash table tells how many there are.
    pub(crate) fn all_symbols(&self) -> impl Iterator<Item = Symbol> {
        (1..self.symbol_count()).map(|index| self.symbol(index))
    }

    /// The address of a function or an object that this object defines.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.defined(name).map(|symbol| self.base + symbol.value)
    }

    /// The symbol of that name that this object defines. By its hash where there is a table of them: this is asked at every start.
    pub(crate) fn defined(&self, name: &str) -> Option<Symbol> {
        let is_it = |symbol: &Symbol| {
            symbol.is_defined()
                && symbol.value != 0
                && self.text(symbol.name as usize).to_bytes() == name.as_bytes()
        };
        if self.gnu_hash == 0 {
            return self.all_symbols().find(is_it);
        }
        let [buckets, first, bloom] =
            [0, 4, 8].map(|offset| Self::word(self.gnu_hash + offset) as usize);
        let hash = name.bytes().fold(5381_u32, |hash, byte| {
            hash.wrapping_mul(33).wrapping_add(u32::from(byte))
        });
        let table = self.gnu_hash + 16 + 8 * bloom;
        let chains = table + 4 * buckets;
        let mut index = Self::word(table + 4 * (hash as usize % buckets.max(1))) as usize;
        if buckets == 0 || index < first {
            return None;
        }
        // A chain ends with an odd hash.
        loop {
            let entry = Self::word(chains + 4 * (index - first));
            let symbol = self.symbol(index);
            if entry | 1 == hash | 1 && is_it(&symbol) {
                return Some(symbol);
            }
            if entry & 1 == 1 {
                return None;
            }
            index += 1;
        }
    }

    /// Where the virtual tables of exported C++ classes are, in memory.
    pub(crate) fn virtual_tables(&self) -> Vec<Range<usize>> {
        self.all_symbols()
            .filter(|symbol| symbol.is_defined() && symbol.is_object())
            .filter(|symbol| self.name(symbol).starts_with("_ZTV"))
            .map(|symbol| self.base + symbol.value..self.base + symbol.value + symbol.size)
            .collect()
    }

    fn word(addr: usize) -> u32 {
        let place = core::ptr::with_exposed_provenance::<u32>(addr);
        // SAFETY: within a hash table of a loaded object; its callers follow the table's own counts.
        unsafe { place.read() }
    }

    /// The number of symbols. `DT_HASH` states it; in `DT_GNU_HASH` it is behind the end of the last chain.
    fn symbol_count(&self) -> usize {
        if self.hash != 0 {
            return Self::word(self.hash + 4) as usize;
        }
        if self.gnu_hash == 0 {
            return 0;
        }
        let [buckets, first, bloom] =
            [0, 4, 8].map(|offset| Self::word(self.gnu_hash + offset) as usize);
        let table = self.gnu_hash + 16 + 8 * bloom;
        let highest = (0..buckets)
            .map(|index| Self::word(table + 4 * index) as usize)
            .max();
        let Some(mut last) = highest.filter(|last| *last >= first) else {
            return first;
        };
        let chains = table + 4 * buckets;
        while Self::word(chains + 4 * (last - first)) & 1 == 0 {
            last += 1;
        }
        last + 1
    }
}

/// Where an object's code is, and its data that stays writable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    pub(crate) code: Vec<Range<usize>>,
    pub(crate) data: Vec<Range<usize>>,
}

impl Segments {
    /// Those of an object that the loader has mapped: the ELF header is at its first address, for a shared object.
    pub(crate) fn of(map: &LinkMap) -> Self {
        /// Bytes of an entry (`Elf64_Phdr`).
        const ENTRY_BYTES: usize = 56;
        let word = |offset: usize| {
            let place = core::ptr::with_exposed_provenance::<usize>(map.addr + offset);
            // SAFETY: within the ELF header or the program headers, which the first segment of a shared object has.
            unsafe { place.read_unaligned() }
        };
        let (table, count) = (word(32), word(56) & 0xFFFF);
        let mut segments = Self::default();
        let mut relro = 0..0;
        for index in 0..count {
            let entry = table + index * ENTRY_BYTES;
            let kind_and_flags = word(entry);
            #[expect(clippy::cast_possible_truncation, reason = "two words of 32 bits")]
            let (kind, flags) = (kind_and_flags as u32, (kind_and_flags >> 32) as u32);
            let start = map.addr + word(entry + 16);
            let range = start..start + word(entry + 40);
            match kind {
                PT_GNU_RELRO => relro = range,
                PT_LOAD if flags & PF_X != 0 => segments.code.push(range),
                PT_LOAD if flags & PF_W != 0 => segments.data.push(range),
                _ => {}
            }
        }
        for data in &mut segments.data {
            if data.contains(&relro.start) {
                data.start = relro.end;
            }
        }
        segments
    }
}
