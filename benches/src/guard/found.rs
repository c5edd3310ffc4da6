//! Which programs there are: `pkeys` beside this one, and a `python3` whose `sqlite3` uses the shared library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guard::{LIBRARY, Program};

/// Prints where the shared library of SQLite was mapped from, or nothing.
const MAPPED: &str = "import sqlite3
print(next((line.split()[-1] for line in open('/proc/self/maps') if 'libsqlite3.so.0' in line), ''))";

/// The programs.
#[derive(Debug)]
pub(super) struct Found {
    /// The launcher.
    pub(super) pkeys: PathBuf,
    python: PathBuf,
}

impl Found {
    /// Looks for them; otherwise says what is missing.
    pub(super) fn look() -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let pkeys = own.with_file_name("pkeys");
        if !pkeys.is_file() {
            let text = "no pkeys beside this program: cargo build --release --package pkeys-cli";
            return Err(text.to_owned());
        }
        // The distribution's first: others are seldom built with the shared library, or are scripts that start one.
        let python = ["/usr/bin/python3", "/usr/local/bin/python3", "/bin/python3"]
            .into_iter()
            .map(Path::new)
            .find(|python| uses_library(python));
        let Some(python) = python else {
            return Err(format!(
                "no python3 in /usr/bin whose sqlite3 uses {LIBRARY}: install python3 and libsqlite3-0 (Debian), or python3 and sqlite-libs (Fedora)"
            ));
        };
        Ok(Self {
            pkeys,
            python: python.to_owned(),
        })
    }

    /// A script and its arguments. Nothing of the user's surroundings has a part in it.
    pub(super) fn python(&self, script: &[&str]) -> Program {
        let python = self.python.as_os_str().to_owned();
        let words = ["-I", "-S", "-c"].iter().chain(script);
        Program::new(core::iter::once(python).chain(words.map(Into::into)))
    }
}

fn uses_library(python: &Path) -> bool {
    let output = Command::new(python)
        .args(["-I", "-S", "-c", MAPPED])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.contains(&b'/'))
}
