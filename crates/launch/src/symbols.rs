//! The names of functions, for the addresses that the kernel says when it stops.
//!
//! A kernel that has just been stopped by a stray access names addresses: that takes no table, no memory and no lock. The
//! table is in the ELF file that was started, and so the names are added here, to the lines that have addresses of code in
//! a known place:
//!
//! ```text
//! pkeys: stray write to 0x.. at 0xffffffff8015f934: key 1 of "dax", ..    the guilty instruction
//!  at          0xffffffff8015f934                                          the same, above the callers
//!  called from 0xffffffff8015f87a
//! ```
//!
//! Most boots say no address, and the table has thousands of names: it is made at the first line that has one.

use core::cell::LazyCell;
use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use object::{Object, ObjectSymbol, SymbolKind};

/// A function: first address, address behind the last, name.
type Function = (u64, u64, String);

/// The functions of an ELF file, by address.
#[derive(Debug)]
pub struct Symbols {
    /// In order.
    functions: LazyCell<Vec<Function>, Box<dyn FnOnce() -> Vec<Function>>>,
}

impl Symbols {
    /// Those of a file in memory; none, if it is no ELF file or has no table of symbols.
    #[must_use]
    pub fn of(elf: &'static [u8]) -> Self {
        Self::made_by(move || functions(elf))
    }

    /// Those of a file, which is read when the first is asked for; none, if it cannot be read.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        Self::made_by(move || functions(&fs::read(path).unwrap_or_default()))
    }

    fn made_by(make: impl FnOnce() -> Vec<Function> + 'static) -> Self {
        Self {
            functions: LazyCell::new(Box::new(make)),
        }
    }

    /// The function that has the instruction at an address.
    #[must_use]
    pub fn function(&self, addr: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|(start, ..)| *start <= addr);
        let (_, end, name) = self.functions.get(behind.checked_sub(1)?)?;
        (addr < *end).then_some(name)
    }

    /// A line of the kernel's, with the names that belong to it.
    #[must_use]
    pub fn name_in<'l>(&self, line: &'l str) -> Cow<'l, str> {
        self.named(line).map_or(Cow::Borrowed(line), Cow::Owned)
    }

    fn named(&self, line: &str) -> Option<String> {
        if let Some(at) = line.strip_prefix(" at ") {
            let name = self.function(address(at.trim())?)?;
            return Some(format!("{line} {name}"));
        }
        if let Some(at) = line.strip_prefix(" called from ") {
            // The call is before the address at which its caller goes on.
            let name = self.function(address(at.trim())?.checked_sub(1)?)?;
            return Some(format!("{line} {name}"));
        }
        let report = line.strip_prefix("pkeys: ")?;
        let (before, rest) = report.split_once(" at 0x")?;
        let (digits, _) = rest.split_once(": key ")?;
        let name = self.function(u64::from_str_radix(digits, 16).ok()?)?;
        let rest = &rest[digits.len()..];
        Some(format!("pkeys: {before} at 0x{digits} ({name}){rest}"))
    }
}

/// The functions of an ELF file, in order.
fn functions(elf: &[u8]) -> Vec<Function> {
    let Ok(file) = object::File::parse(elf) else {
        return Vec::new();
    };
    let functions = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .filter_map(|symbol| {
            let name = rustc_demangle::demangle(symbol.name().ok()?);
            let end = symbol.address().checked_add(symbol.size())?;
            Some((symbol.address(), end, format!("{name:#}")))
        });
    let mut functions: Vec<_> = functions.collect();
    functions.sort();
    functions
}

/// An address as the kernel writes it.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::Symbols;
    use core::cell::Cell;
    use std::env;
    use std::rc::Rc;

    fn symbols() -> Symbols {
        let function = |start, end, name: &str| (start, end, name.to_owned());
        Symbols::made_by(move || vec![function(0x10, 0x20, "a"), function(0x30, 0x40, "b::c")])
    }

    #[test]
    fn an_address_is_in_the_function_around_it() {
        let symbols = symbols();
        for (addr, name) in [
            (0xF, None),
            (0x10, Some("a")),
            (0x1F, Some("a")),
            (0x20, None),
            (0x3F, Some("b::c")),
            (u64::MAX, None),
        ] {
            assert_eq!(symbols.function(addr), name, "{addr:#x}");
        }
    }

    #[test]
    fn lines_with_addresses_of_code_get_names() {
        let symbols = symbols();
        for (line, named) in [
            (
                " at          0x0000000000000030",
                " at          0x0000000000000030 b::c",
            ),
            (
                " called from 0x0000000000000020",
                " called from 0x0000000000000020 a",
            ),
            (
                "pkeys: stray write to 0x12 at 0x38: key 1 of \"x\", strict",
                "pkeys: stray write to 0x12 at 0x38 (b::c): key 1 of \"x\", strict",
            ),
            // Nothing is known of these.
            (
                " called from 0x0000000000000010",
                " called from 0x0000000000000010",
            ),
            (
                "pkeys: page fault at 0x38: not present",
                "pkeys: page fault at 0x38: not present",
            ),
            ("ok at-0x38", "ok at-0x38"),
            (" at ", " at "),
        ] {
            assert_eq!(symbols.name_in(line), named);
        }
        assert!(Symbols::of(b"no ELF file").functions.is_empty());
    }

    #[test]
    fn the_table_is_made_at_the_first_address() {
        let nr_made = Rc::new(Cell::new(0));
        let inner = Rc::clone(&nr_made);
        let symbols = Symbols::made_by(move || {
            inner.set(inner.get() + 1);
            Vec::new()
        });
        for (line, expected) in [
            ("ok a", 0),
            ("pkeys: 2 CPUs, 39 cases", 0),
            (" at nothing", 0),
            (" called from 0x0000000000000010", 1),
            (" at          0x0000000000000010", 1),
        ] {
            assert_eq!(symbols.name_in(line), line);
            assert_eq!(nr_made.get(), expected, "{line}");
        }
    }

    /// A function that is one in every build.
    #[inline(never)]
    fn landmark(value: u32) -> u32 {
        core::hint::black_box(value)
    }

    #[test]
    fn a_program_knows_its_own_functions() {
        assert_eq!(landmark(3), 3);
        let symbols = Symbols::of_file(env::current_exe().unwrap());
        let named = |(.., name): &&(u64, u64, String)| name.ends_with("tests::landmark");
        let (start, ..) = symbols.functions.iter().find(named).unwrap();
        let found = symbols.function(*start).unwrap();
        assert!(found.ends_with("tests::landmark"), "{found}");
    }
}
