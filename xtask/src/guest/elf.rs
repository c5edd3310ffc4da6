//! The one question that is put to a program before it is sent into a guest: which loader does it ask for?

/// How a program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By itself.
    Static,
    /// By this dynamic loader.
    Dynamic(String),
    /// By this program, which `#!` names.
    Script(String),
    /// Not at all on 64-bit Linux.
    Foreign,
}

/// The header of an ELF file that names the loader.
const PT_INTERP: u64 = 3;

/// What kind of program `bytes` is.
pub(super) fn kind(bytes: &[u8]) -> Kind {
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        return match line.split_whitespace().next() {
            Some(program) => Kind::Script(program.to_owned()),
            None => Kind::Foreign,
        };
    }
    elf_kind(bytes).unwrap_or(Kind::Foreign)
}

/// The same of a 64-bit ELF file; `None` for anything else and for headers that point outside the file.
fn elf_kind(elf: &[u8]) -> Option<Kind> {
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        let parts = bytes.iter().rev();
        Some(parts.fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, entry_len, entries) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut loader = None;
    for entry in 0..entries {
        let at = usize::try_from(table.checked_add(entry * entry_len)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            let from = usize::try_from(number(at.checked_add(8)?, 8)?).ok()?;
            let name = elf.get(from..)?.split(|byte| *byte == 0).next()?;
            loader = Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    Some(loader.map_or(Kind::Static, Kind::Dynamic))
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};
    use std::{env, fs};

    #[test]
    fn this_test_itself_asks_for_a_loader() {
        let bytes = fs::read(env::current_exe().unwrap()).unwrap();
        let Kind::Dynamic(loader) = kind(&bytes) else {
            panic!("not a dynamic program");
        };
        assert!(loader.contains("/ld-") && fs::metadata(&loader).is_ok());
    }

    #[test]
    fn headers_are_read() {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64 + 2 * 56, 0);
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        assert_eq!(kind(&elf), Kind::Static);
        elf[64 + 56] = 3;
        elf[64 + 56 + 8] = 176;
        elf.extend(b"/lib64/ld.so\0more");
        assert_eq!(kind(&elf), Kind::Dynamic("/lib64/ld.so".into()));
    }

    #[test]
    fn scripts_name_their_program() {
        let script = |text: &str| kind(text.as_bytes());
        assert_eq!(script("#!/bin/sh\necho"), Kind::Script("/bin/sh".into()));
        assert_eq!(script("#! /bin/sh -e"), Kind::Script("/bin/sh".into()));
        assert_eq!(script("#!\n"), Kind::Foreign);
    }

    #[test]
    fn other_files_are_foreign() {
        assert_eq!(kind(b""), Kind::Foreign);
        assert_eq!(kind(b"text"), Kind::Foreign);
        // A header that points outside the file.
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0xff);
        assert_eq!(kind(&elf), Kind::Foreign);
    }
}
