//! From an address in a module to function, file and line.
//!
//! Debug information is asked first: it knows functions that were inlined, and lines. Without it the symbol table gives the
//! function, exported ones at least. Files are opened once and kept, as a program that pardons writes many reports.

use core::cmp::Reverse;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use addr2line::{Context, demangle_auto};
use gimli::{Reader as _, SectionId};
use object::elf;
use object::read::elf::{SectionHeader, Sym};

use crate::fault::report::image::{Elf, Image, Reader};
use crate::fault::report::modules::{BuildId, Module};

/// One function at an address. Several share one where calls were inlined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name, demangled and without hash.
    pub(super) name: Option<String>,
    /// The source file, as the compiler noted it.
    pub(super) file: Option<String>,
    /// The line, from 1.
    pub(super) line: Option<u32>,
    /// Whether it was inlined into the function that follows.
    pub(super) is_inlined: bool,
}

/// The files that have been opened.
#[derive(Default)]
pub(super) struct Symbols {
    files: BTreeMap<(&'static [u8], BuildId), Rc<ModuleFile>>,
}

impl Symbols {
    /// What is known of a module's code. Empty for a module without a file, or with another build in its place.
    pub(super) fn of(&mut self, module: &Module) -> Rc<ModuleFile> {
        let file = self
            .files
            .entry((module.path, module.build_id))
            .or_insert_with(|| Rc::new(ModuleFile::open(module)));
        Rc::clone(file)
    }
}

/// What is known of a module's code.
#[derive(Default)]
pub(super) struct ModuleFile {
    lines: Option<Context<Reader>>,
    symbols: Vec<Symbol>,
    names: Option<Reader>,
}

/// One function of the symbol table.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    addr: u64,
    len_bytes: u64,
    /// Where the name starts among the names.
    name: u32,
}

impl ModuleFile {
    fn open(module: &Module) -> Self {
        let Some(image) = Image::of(module) else {
            return Self::default();
        };
        let Some(elf) = image.elf() else {
            return Self::default();
        };
        let mut file = Self::default();
        file.add(&image, &elf);
        if file.lines.is_none()
            && module.build_id != BuildId::NONE
            && let Some(image) = Image::debug(&module.build_id)
            && let Some(elf) = image.elf()
        {
            file.add(&image, &elf);
        }
        file
    }

    /// Takes over what one file has and the ones before had not.
    fn add(&mut self, image: &Image, elf: &Elf<'_>) {
        if self.lines.is_none() {
            self.lines = lines(image, elf);
        }
        let (symbols, names) = symbols(image, elf);
        if symbols.len() > self.symbols.len() {
            self.symbols = symbols;
            self.names = Some(names);
        }
    }

    /// The functions at an address, as the file states it: innermost first, at least one.
    pub(super) fn functions(&self, addr: u64) -> Vec<Function> {
        let mut functions = self.by_lines(addr).unwrap_or_default();
        match functions.last_mut() {
            Some(outermost) => {
                // Of some functions debug information has the last part of the name alone, of closures their number.
                if outermost
                    .name
                    .as_ref()
                    .is_none_or(|name| !name.contains("::"))
                {
                    outermost.name = self.by_symbol(addr).or(outermost.name.take());
                }
            }
            None => functions.push(Function {
                name: self.by_symbol(addr),
                ..Function::default()
            }),
        }
        functions
    }

    fn by_lines(&self, addr: u64) -> Option<Vec<Function>> {
        let lines = self.lines.as_ref()?;
        let mut frames = lines.find_frames(addr).skip_all_loads().ok()?;
        let mut functions: Vec<Function> = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            functions.push(Function {
                name: frame
                    .function
                    .and_then(|name| Some(name.demangle().ok()?.into_owned())),
                file: location.and_then(|at| at.file).map(str::to_owned),
                line: location.and_then(|at| at.line).filter(|&line| line != 0),
                is_inlined: true,
            });
        }
        functions.last_mut()?.is_inlined = false;
        Some(functions)
    }

    /// The name of the symbol at an address.
    fn by_symbol(&self, addr: u64) -> Option<String> {
        let after = self.symbols.partition_point(|symbol| symbol.addr <= addr);
        let symbol = self.symbols.get(after.checked_sub(1)?)?;
        if addr - symbol.addr >= symbol.len_bytes {
            return None;
        }
        let mut names = self.names.clone()?;
        names.skip(usize::try_from(symbol.name).ok()?).ok()?;
        let name = names.read_null_terminated_slice().ok()?;
        let name = name.to_string_lossy().ok()?;
        Some(demangle_auto(Cow::Borrowed(&name), None).into_owned())
    }
}

/// The debug information of a file that has some.
fn lines(image: &Image, elf: &Elf<'_>) -> Option<Context<Reader>> {
    if image.section(elf, SectionId::DebugInfo.name()).is_empty() {
        return None;
    }
    let load = |id: SectionId| Ok::<_, gimli::Error>(image.section(elf, id.name()));
    Context::from_dwarf(gimli::Dwarf::load(load).ok()?).ok()
}

/// The functions of a file's symbol table, by address, and the names that they refer to. A stripped file has only the
/// ones that it exports.
fn symbols(image: &Image, elf: &Elf<'_>) -> (Vec<Symbol>, Reader) {
    let endian = object::LittleEndian;
    let table = if elf.elf_symbol_table().is_empty() {
        elf.elf_dynamic_symbol_table()
    } else {
        elf.elf_symbol_table()
    };
    let sections = elf.elf_section_table();
    let section_end = |index, symbol| {
        let section = table.symbol_section(endian, symbol, index).ok()??;
        let section = sections.section(section).ok()?;
        section.sh_addr(endian).checked_add(section.sh_size(endian))
    };
    let mut symbols: Vec<Symbol> = table
        .enumerate()
        .filter(|(_, symbol)| {
            matches!(
                symbol.st_type(),
                elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE
            )
        })
        .filter_map(|(index, symbol)| {
            let addr = symbol.st_value(endian);
            // One without a length reaches to the next one, at most to the end of its section. Undefined ones have none.
            let end = section_end(index, symbol)?;
            let len_bytes = match symbol.st_size(endian) {
                0 => end.checked_sub(addr)?,
                len_bytes => len_bytes,
            };
            Some(Symbol {
                addr,
                len_bytes,
                name: symbol.st_name(endian),
            })
        })
        .collect();
    // Of several at one address the shortest is the function, the others are marks.
    symbols.sort_by_key(|symbol| (symbol.addr, Reverse(symbol.len_bytes)));
    let names = sections
        .section(table.string_section())
        .ok()
        .and_then(|section| section.file_range(endian));
    (symbols, image.part(names.unwrap_or((0, 0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::{maps, modules};
    use core::hint::black_box;

    const MARKED_LINE: u32 = line!() + 3;

    #[inline(never)]
    fn marked(number: u32) -> u32 {
        black_box(number) + 1
    }

    fn module_of(addr: usize) -> Module {
        let modules = modules::of(&maps::read().unwrap());
        *modules::find_in(&modules, addr).unwrap()
    }

    /// The functions at an address of this process.
    fn functions(addr: usize) -> Vec<Function> {
        let module = module_of(addr);
        let file = Symbols::default().of(&module);
        file.functions((addr - module.bias) as u64)
    }

    #[test]
    fn a_function_is_known_by_name_file_and_line() {
        let addr = (marked as fn(u32) -> u32 as *const ()).addr();
        let functions = functions(addr);
        let outermost = functions.last().unwrap();
        assert_eq!(
            outermost.name.as_deref(),
            Some(concat!(module_path!(), "::marked"))
        );
        assert!(
            outermost.file.as_ref().unwrap().ends_with(file!()),
            "{outermost:?}"
        );
        // Optimised code begins with the body.
        let lines = [Some(MARKED_LINE), Some(MARKED_LINE + 1)];
        assert!(lines.contains(&outermost.line), "{outermost:?}");
        assert!(!outermost.is_inlined);
    }

    /// The C library of a distribution has symbols, and debug information at most apart from it.
    #[test]
    fn without_debug_information_the_symbol_names_the_function() {
        let addr = (libc::getenv as unsafe extern "C" fn(_) -> _ as *const ()).addr();
        let name = functions(addr).pop().unwrap().name;
        assert_eq!(name.as_deref(), Some("getenv"));
    }

    /// `_init` has no length; its section, `.init`, is some dozens of bytes long.
    #[test]
    fn a_symbol_without_a_length_ends_with_its_section() {
        let module = module_of((marked as fn(u32) -> u32 as *const ()).addr());
        let image = Image::of(&module).unwrap();
        let (symbols, _) = symbols(&image, &image.elf().unwrap());
        let code = marked as fn(u32) -> u32 as *const ();
        let stated = (code.addr() - module.bias) as u64;
        assert!(symbols.is_sorted_by_key(|symbol| symbol.addr));
        assert!(symbols.iter().any(|symbol| symbol.addr == stated));
        let image_end = (module.end - module.bias) as u64;
        for symbol in &symbols {
            assert!(symbol.addr + symbol.len_bytes <= image_end, "{symbol:?}");
        }
    }

    #[test]
    fn a_symbol_ends_where_its_length_says() {
        let image = Image::owned(b"\0first\0second\0".to_vec());
        let symbol = |addr, len_bytes, name| Symbol {
            addr,
            len_bytes,
            name,
        };
        let file = ModuleFile {
            symbols: vec![symbol(0x10, 0x10, 1), symbol(0x30, 0x70, 7)],
            names: Some(image.part((0, 14))),
            ..ModuleFile::default()
        };
        let name = |addr| file.functions(addr)[0].name.clone();
        assert_eq!(name(0x0f), None);
        assert_eq!(name(0x10).as_deref(), Some("first"));
        assert_eq!(name(0x1f).as_deref(), Some("first"));
        assert_eq!(name(0x20), None);
        assert_eq!(name(0x9f).as_deref(), Some("second"));
        assert_eq!(name(0xa0), None);
    }

    #[test]
    fn names_are_demangled_without_a_hash() {
        let names = [
            "_ZN4core3ptr5write17h0123456789abcdefE",
            "_RNvC1a1b",
            "_ZN1a1bEv",
            "plain",
        ];
        let mut all = Vec::new();
        let mut symbols = Vec::new();
        for (name, addr) in names.into_iter().zip(1..) {
            let start = u32::try_from(all.len()).unwrap();
            symbols.push(Symbol {
                addr,
                len_bytes: 1,
                name: start,
            });
            all.extend_from_slice(name.as_bytes());
            all.push(0);
        }
        let len_bytes = all.len() as u64;
        let file = ModuleFile {
            symbols,
            names: Some(Image::owned(all).part((0, len_bytes))),
            ..ModuleFile::default()
        };
        let name = |addr| file.functions(addr)[0].name.clone().unwrap();
        assert_eq!(
            [1, 2, 3, 4].map(name),
            ["core::ptr::write", "a::b", "a::b()", "plain"]
        );
    }

    #[test]
    fn a_module_without_a_file_has_unknown_functions() {
        let module = Module {
            path: b"/nonexistent",
            ..module_of((marked as fn(u32) -> u32 as *const ()).addr())
        };
        let functions = Symbols::default().of(&module).functions(0x1000);
        assert_eq!(functions, [Function::default()]);
    }

    #[test]
    fn a_file_is_opened_once() {
        let module = module_of((marked as fn(u32) -> u32 as *const ()).addr());
        let mut symbols = Symbols::default();
        let (one, two) = (symbols.of(&module), symbols.of(&module));
        assert!(Rc::ptr_eq(&one, &two));
    }
}
