//! The shared libraries that a program of this machine needs, as its own loader finds them: ldd(1).
//!
//! ldd starts the program's loader, which lists instead of starting. What a program opens later (dlopen(3)) is not listed.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    /// The name by which it is looked for, or an absolute path.
    pub(super) name: String,
    /// Where it is on this machine; `None` where it was not found.
    pub(super) file: Option<PathBuf>,
}

/// What `program` needs; nothing for a static program.
pub(super) fn needed(program: &Path) -> Result<Vec<Needed>> {
    let mut ldd = Command::new("ldd");
    ldd.env("LC_ALL", "C").arg(program).stdin(Stdio::null());
    let done = ldd.output().context("ldd")?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() && !complaint.contains("not a dynamic executable") {
        let line = complaint.lines().last().unwrap_or("it failed").trim();
        bail!("ldd {}: {line}", program.display());
    }
    Ok(parse(&String::from_utf8_lossy(&done.stdout)))
}

/// Reads what ldd prints: `NAME => FILE (ADDRESS)`, `NAME => not found`, `FILE (ADDRESS)`. The kernel's own library has
/// neither a file nor a slash.
fn parse(text: &str) -> Vec<Needed> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let without_address = line.rsplit_once(" (").map_or(line, |(start, _)| start);
        match without_address.split_once(" => ") {
            Some((name, "not found")) => found.push(Needed {
                name: name.into(),
                file: None,
            }),
            Some((name, file)) => found.push(Needed {
                name: name.into(),
                file: Some(file.into()),
            }),
            None if line.starts_with('/') => found.push(Needed {
                name: without_address.into(),
                file: Some(without_address.into()),
            }),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Needed, needed, parse};
    use std::env;
    use std::path::Path;

    fn library(name: &str, file: Option<&str>) -> Needed {
        Needed {
            name: name.into(),
            file: file.map(Into::into),
        }
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n\
            \tlibgone.so => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f10)\n\
            \t/home/a (b)/libx.so (0x00007f20)\n";
        let expected = [
            library("libc.so.6", Some("/lib/x86_64-linux-gnu/libc.so.6")),
            library("libgone.so", None),
            library(
                "/lib64/ld-linux-x86-64.so.2",
                Some("/lib64/ld-linux-x86-64.so.2"),
            ),
            library("/home/a (b)/libx.so", Some("/home/a (b)/libx.so")),
        ];
        assert_eq!(parse(text), expected);
        assert_eq!(parse("\tstatically linked\n"), []);
    }

    #[test]
    fn this_test_needs_a_c_library_and_a_text_needs_nothing() {
        let libraries = needed(&env::current_exe().unwrap()).unwrap();
        let libc = libraries.iter().find(|one| one.name == "libc.so.6");
        assert!(
            libc.and_then(|one| one.file.as_ref())
                .is_some_and(|file| file.is_file())
        );
        assert_eq!(needed(Path::new("/etc/passwd")).unwrap(), []);
        let err = needed(Path::new("/nonexistent/program")).unwrap_err();
        assert!(err.to_string().starts_with("ldd /nonexistent"), "{err}");
    }
}
