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

use std::borrow::Cow;

use object::{Object, ObjectSymbol, SymbolKind};

/// The functions of an ELF file, by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// First address, address behind the last, name: in order.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Those of a file; none, if it is no ELF file or has no table of symbols.
    #[must_use]
    pub fn of(elf: &[u8]) -> Self {
        let Ok(file) = object::File::parse(elf) else {
            return Self::default();
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
        Self { functions }
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

/// An address as the kernel writes it.
fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::Symbols;
    use std::{env, fs};

    fn symbols() -> Symbols {
        let function = |start, end, name: &str| (start, end, name.to_owned());
        Symbols {
            functions: vec![function(0x10, 0x20, "a"), function(0x30, 0x40, "b::c")],
        }
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

    /// A function that is one in every build.
    #[inline(never)]
    fn landmark(value: u32) -> u32 {
        core::hint::black_box(value)
    }

    #[test]
    fn a_program_knows_its_own_functions() {
        assert_eq!(landmark(3), 3);
        let elf = fs::read(env::current_exe().unwrap()).unwrap();
        let symbols = Symbols::of(&elf);
        let named = |(.., name): &&(u64, u64, String)| name.ends_with("tests::landmark");
        let (start, ..) = symbols.functions.iter().find(named).unwrap();
        let found = symbols.function(*start).unwrap();
        assert!(found.ends_with("tests::landmark"), "{found}");
    }
}
