//! The program that is to be started: where it is, what really runs, and whether it can be guarded.
//!
//! A script is run by its interpreter, which is what is guarded. `env(1)` as interpreter would execute the real one in its own
//! place, unguarded: so it is looked up here as `env` would.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf::{EM_X86_64, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadCache, ReadRef};

use crate::guard::Refusal;

/// The loader of glibc.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// How many interpreters may stand in front of each other, as in the kernel (`BINPRM_MAX_RECURSION`).
const MAX_SCRIPTS: usize = 5;

/// The set-user-ID and set-group-ID bits.
const SET_ID: u32 = 0o6000;

/// How much of a script's first line counts (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: u64 = 256;

/// A program that can be guarded.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// What it is called as.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds what a command line runs, and checks it.
    pub(super) fn find(command: &[OsString]) -> Result<Self, Refusal> {
        let (name, arguments) = command
            .split_first()
            .ok_or_else(|| Refusal::Usage("no program".to_owned()))?;
        let mut program = Self {
            path: look_up(name)?,
            name: name.clone(),
            arguments: arguments.to_vec(),
        };
        for _ in 0..MAX_SCRIPTS {
            let Some(line) = script(&program.path)? else {
                program.check()?;
                return Ok(program);
            };
            program = program.interpreted(&line)?;
        }
        Err(Refusal::NotExecutable(format!(
            "{}: too many interpreters in front of each other",
            program.path.display()
        )))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command
    }

    /// What runs a script with that first line.
    fn interpreted(self, line: &[u8]) -> Result<Self, Refusal> {
        let line = line.trim_ascii();
        let end = line
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(line.len());
        let (interpreter, rest) = line.split_at(end);
        let rest = rest.trim_ascii();
        let mut arguments = Vec::new();
        let is_env = interpreter.ends_with(b"/env");
        let (path, name) = if is_env {
            let (program, rest) = env(rest).ok_or_else(|| {
                let text = format!(
                    "{}: its first line uses env(1) in a way that is not understood",
                    self.path.display()
                );
                Refusal::NotGuarded(text)
            })?;
            arguments.extend(rest);
            (look_up(&program)?, program)
        } else {
            if !rest.is_empty() {
                arguments.push(OsString::from_vec(rest.to_vec()));
            }
            let interpreter = OsStr::from_bytes(interpreter).to_owned();
            (look_up(&interpreter)?, interpreter)
        };
        arguments.push(self.path.into_os_string());
        arguments.extend(self.arguments);
        Ok(Self {
            path,
            name,
            arguments,
        })
    }

    /// Whether the loader would load an audit library into it.
    fn check(&self) -> Result<(), Refusal> {
        let shown = self.path.display();
        let not_guarded = |why: &str| Err(Refusal::NotGuarded(format!("{shown} {why}")));
        let metadata = fs::metadata(&self.path)
            .map_err(|error| Refusal::NotExecutable(format!("{shown}: {error}")))?;
        if metadata.permissions().mode() & SET_ID != 0 {
            return not_guarded(
                "is set-user-ID or set-group-ID: the loader takes no audit library from its caller",
            );
        }
        if has_capabilities(&self.path) {
            return not_guarded(
                "has file capabilities: the loader takes no audit library from its caller",
            );
        }
        let file = File::open(&self.path)
            .map_err(|error| Refusal::NotExecutable(format!("{shown}: {error}")))?;
        // Read where it is looked at: whole programs have megabytes, and this is waited for at each start.
        match loader(&ReadCache::new(file)) {
            Kind::NoElf => Err(Refusal::NotExecutable(format!(
                "{shown} is no ELF program and no script"
            ))),
            Kind::OtherMachine => not_guarded("is no program for x86-64 with 64 bits"),
            Kind::Static => {
                not_guarded("is statically linked: no loader runs that could load an audit library")
            }
            Kind::Loader(loader) if loader.rsplit('/').next() == Some(LOADER) => Ok(()),
            Kind::Loader(loader) => {
                not_guarded(&format!("is run by {loader}, which is not glibc's loader"))
            }
        }
    }
}

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    NoElf,
    OtherMachine,
    Static,
    /// A program that this loader runs.
    Loader(String),
}

fn loader<'file>(file: impl ReadRef<'file>) -> Kind {
    if file.read_bytes_at(0, 4) != Ok(b"\x7fELF") {
        return Kind::NoElf;
    }
    let Ok(header) = FileHeader64::<LittleEndian>::parse(file) else {
        return Kind::OtherMachine;
    };
    let Ok(endian) = header.endian() else {
        return Kind::OtherMachine;
    };
    if header.e_machine(endian) != EM_X86_64 {
        return Kind::OtherMachine;
    }
    let segments = header.program_headers(endian, file).unwrap_or(&[]);
    let interpreter = segments
        .iter()
        .find(|segment| segment.p_type(endian) == PT_INTERP);
    match interpreter.and_then(|segment| segment.data(endian, file).ok()) {
        Some(path) => {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            Kind::Loader(String::from_utf8_lossy(path).into_owned())
        }
        None => Kind::Static,
    }
}

/// The program and the arguments after `env`: a name, or `-S` and more.
fn env(rest: &[u8]) -> Option<(OsString, Vec<OsString>)> {
    let text = core::str::from_utf8(rest).ok()?;
    let mut words: Vec<&str> = match text.strip_prefix("-S") {
        Some(split) => split.split_ascii_whitespace().collect(),
        None => vec![text],
    };
    if words.is_empty()
        || words
            .iter()
            .any(|word| word.is_empty() || word.contains(['=', '"', '\'', '\\', '$']))
    {
        return None;
    }
    let program = words.remove(0);
    if program.starts_with('-') || program.contains(' ') {
        return None;
    }
    Some((
        program.into(),
        words.into_iter().map(OsString::from).collect(),
    ))
}

/// A script's first line behind `#!`; `None` for anything else.
fn script(path: &Path) -> Result<Option<Vec<u8>>, Refusal> {
    let failed = |error| Refusal::NotExecutable(format!("{}: {error}", path.display()));
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FIRST_LINE_BYTES)
        .read_to_end(&mut start)
        .map_err(failed)?;
    let Some(line) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(line.len());
    Ok(Some(line[..end].to_vec()))
}

/// The file that a name means: itself with a slash in it, else the first that can be executed along `PATH`.
fn look_up(name: &OsStr) -> Result<PathBuf, Refusal> {
    let shown = name.display();
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match fs::metadata(&path) {
            Err(error) => Err(Refusal::NotFound(format!("{shown}: {error}"))),
            Ok(metadata) if metadata.is_dir() => {
                Err(Refusal::NotExecutable(format!("{shown} is a folder")))
            }
            Ok(metadata) if !is_executable(&metadata) => {
                Err(Refusal::NotExecutable(format!("{shown} is not executable")))
            }
            Ok(_) => Ok(path),
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut is_there = false;
    for folder in std::env::split_paths(&folders) {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && is_executable(&metadata) => return Ok(path),
            Ok(metadata) => is_there |= metadata.is_file(),
            Err(_) => {}
        }
    }
    if is_there {
        Err(Refusal::NotExecutable(format!("{shown} is not executable")))
    } else {
        Err(Refusal::NotFound(format!("{shown} is nowhere along PATH")))
    }
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0
}

/// Whether a file has capabilities (`capabilities(7)`).
#[allow(unsafe_code, reason = "getxattr(2)")]
fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: two strings that end with a zero; without a buffer only the length is asked for.
    let len = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            core::ptr::null_mut(),
            0,
        )
    };
    len > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_loader_is_read() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert!(matches!(loader(&*own), Kind::Loader(path) if path.ends_with(LOADER)));
        assert_eq!(loader(&b"#!/bin/sh"[..]), Kind::NoElf);
        assert_eq!(loader(&b"\x7fELF"[..]), Kind::OtherMachine);
        let mut other = own.clone();
        other[18] = 183;
        assert_eq!(loader(&*other), Kind::OtherMachine);
    }

    #[test]
    fn env_is_understood_or_refused() {
        let read = |text: &str| env(text.as_bytes());
        assert_eq!(read("python3"), Some(("python3".into(), vec![])));
        assert_eq!(
            read("-S python3 -u"),
            Some(("python3".into(), vec!["-u".into()]))
        );
        for text in [
            "",
            "-i python3",
            "A=1 python3",
            "-S",
            "python3 -u",
            "-S 'a b'",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
