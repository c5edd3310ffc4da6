//! `docs/KERNEL-ABI.md` says what is so: the numbers of its calls, and its C functions for user space, which are compiled
//! and asked about every key in every kind of map.

use core::cell::Cell;
use core::fmt::Write as _;
use core::sync::atomic::AtomicU32;
use std::fs;
use std::path::Path;
use std::process::Command;

use pkeys_core::{KeyRegister, Pkey};
use pkeys_kernel::abi::nr;
use pkeys_kernel::keys::user::{self, KeyPage};
use pkeys_kernel::keys::{InitPkru, PkruRegister};

const DOCUMENT: &str = include_str!("../../../docs/KERNEL-ABI.md");

/// What the document leaves to the program: the page, and the instructions.
const BEFORE: &str = r"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
static uint32_t page[2];
static uint32_t pkru;
static uint32_t rdpkru(void) { return pkru; }
static void wrpkru(uint32_t to) { pkru = to; }
";

/// Asks both functions, with the lines of standard input as map and register.
const AFTER: &str = r#"
int main(void)
{
    unsigned map, start;
    while (scanf("%u %u", &map, &start) == 2) {
        page[0] = map;
        page[1] = 1;
        for (int pkey = -2; pkey < 18; pkey++)
            for (unsigned long flags = 0; flags < 2; flags++)
                for (unsigned long rights = 0; rights < 5; rights++) {
                    pkru = start;
                    int got = pkey_get(pkey, flags);
                    int set = pkey_set(pkey, rights, flags);
                    printf("%d %d %u\n", got, set, pkru);
                }
    }
    return 0;
}
"#;

/// Maps with few, many and all keys, with and without an execute-only key; and registers.
const PAGES: [(u32, u32); 6] = [
    (0x0000_0001, 0x5555_5554),
    (0x0002_0003, 0x5555_5554),
    (0x0000_FFFF, 0x1B1B_1B1B),
    (0x8000_FFFF, 0xFFFF_FFFF),
    (0x0001_00A1, 0),
    (0, 0x1234_5678),
];

/// A register in memory.
struct Register(Cell<KeyRegister>);

impl PkruRegister for Register {
    fn read(&self) -> KeyRegister {
        self.0.get()
    }

    fn write(&self, pkru: KeyRegister) {
        self.0.set(pkru);
    }
}

/// What the C program has to print.
fn expected() -> String {
    let mut lines = String::new();
    for (map, pkru) in PAGES {
        let page = KeyPage {
            map: AtomicU32::new(map),
            version: KeyPage::VERSION.into(),
        };
        for pkey in -2..18 {
            for (flags, rights) in (0..2).flat_map(|flags| (0..5).map(move |r| (flags, r))) {
                let register = Register(Cell::new(KeyRegister::from_bits(pkru)));
                let got = user::pkey_get(&page, &register, pkey, flags);
                let set = user::pkey_set(&page, &register, pkey, rights, flags);
                let got = got.map_or_else(|e| -e.number(), |bits| bits.bits().cast_signed());
                let set = set.map_or_else(|e| -e.number(), |()| 0);
                let line = writeln!(lines, "{got} {set} {}", register.read().bits());
                line.expect("a string takes everything");
            }
        }
    }
    lines
}

#[test]
fn the_functions_for_user_space_answer_as_the_library_does() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("user_side.c"), folder.join("user_side"));
    let (_, functions) = DOCUMENT
        .split_once("```c\nstatic int usable")
        .expect("the functions");
    let (functions, _) = functions.split_once("```").expect("their end");
    let text = format!("{BEFORE}static int usable{functions}{AFTER}");
    fs::write(&source, text).expect("a file");
    let status = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .args([&program, &source])
        .status()
        .expect("a C compiler, which Rust links with");
    assert!(status.success());

    let input = folder.join("user_side.in");
    let lines: String = PAGES.map(|(map, pkru)| format!("{map} {pkru}\n")).concat();
    fs::write(&input, lines).expect("a file");
    let output = Command::new(&program)
        .stdin(fs::File::open(&input).expect("the file"))
        .output()
        .expect("the program");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("numbers");
    assert!(printed.lines().eq(expected().lines()));
    assert_eq!(printed.lines().count(), PAGES.len() * 20 * 2 * 5);
}

#[test]
fn numbers_are_those_of_the_calls() {
    for (name, number) in [
        ("pkey_mprotect", nr::PKEY_MPROTECT),
        ("pkey_alloc", nr::PKEY_ALLOC),
        ("pkey_free", nr::PKEY_FREE),
    ] {
        let row = format!("| `{name}` | {number} | Linux |");
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    for (name, number) in [
        ("pkey_get", nr::PKEY_GET),
        ("pkey_set", nr::PKEY_SET),
        ("pkey_page", nr::PKEY_PAGE),
    ] {
        let row = format!("| `{name}` | {number:#x} | this library |");
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    let init = InitPkru::DEFAULT.register();
    assert!(DOCUMENT.contains(&format!("`init_pkru` is {init} ")));
    assert_eq!(init.get(Pkey::DEFAULT).bits(), 0);
}

/// Every call that has a number is told of, and nothing else is in the table of calls.
#[test]
fn every_call_is_told_of() {
    const NUMBERS: &str = include_str!("../src/abi/nr.rs");
    let lines = NUMBERS.lines().map(str::trim);
    let named = lines.filter_map(|line| line.strip_prefix("/// `")?.split_once("(2)`"));
    let known: Vec<&str> = named.map(|(name, _)| name).collect();
    assert!(known.len() > 80);
    let word = |name: &str| DOCUMENT.contains(&format!("`{name}`"));
    let missing: Vec<&&str> = known.iter().filter(|name| !word(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let (_, table) = DOCUMENT.split_once("| about | calls |").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    for name in table.split('`').skip(1).step_by(2) {
        assert!(known.contains(&name), "{name}");
    }
}
