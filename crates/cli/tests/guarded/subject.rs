//! The subjects: a program with the library that is guarded in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs;

/// A program that does real work with a library.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// The library, as the loader knows it.
    pub(crate) library: &'static str,
    /// Arguments of `pkeys guard` beside the library.
    pub(crate) options: &'static [&'static str],
    /// The command line: `{programs}` stands for the folder of programs, `{place}` for a new path, `{from}` for where a stray write is
    /// to come from.
    line: &'static str,
    /// Variables, with the same words in them.
    env: &'static [(&'static str, &'static str)],
    /// The call that allocates what the stray write hits; `None` for what the library has mapped.
    pub(crate) allocated_in: Option<&'static str>,
}

/// All of them.
pub(crate) const ALL: [Subject; 7] = [
    Subject {
        name: "python_with_sqlite3",
        library: "libsqlite3.so.0",
        options: &["--profile", "sqlite"],
        line: "python3 {programs}/app.py {place}",
        env: VANDAL,
        allocated_in: Some("sqlite3_open_v2"),
    },
    Subject {
        name: "sqlite3_shell",
        library: "libsqlite3.so.0",
        options: &["--profile", "sqlite"],
        line: "sqlite3 -batch -init {programs}/work.sql {place} VACUUM",
        env: VANDAL,
        allocated_in: Some("sqlite3_open_v2"),
    },
    Subject {
        name: "threads_on_sqlite",
        library: "libsqlite3.so.0",
        options: &[],
        line: "{programs}/orders {from} {place}",
        env: &[],
        allocated_in: Some("sqlite3_open"),
    },
    Subject {
        name: "libxml2",
        library: "libxml2.so.2",
        options: &[],
        line: "{programs}/shelves {from}",
        env: &[],
        allocated_in: Some("xmlReadMemory"),
    },
    Subject {
        name: "lmdb",
        library: "liblmdb.so.0",
        options: &[],
        line: "{programs}/boxes {from} {place}",
        env: &[],
        allocated_in: Some("mdb_env_create"),
    },
    Subject {
        name: "lmdb_in_its_file",
        library: "liblmdb.so.0",
        options: &["--mmap"],
        line: "{programs}/boxes nowhere {place} writemap {from}",
        env: &[],
        allocated_in: None,
    },
    Subject {
        name: "leveldb",
        library: "libleveldb.so.1d",
        options: &[],
        line: "{programs}/counter {from} {place}",
        env: &[],
        allocated_in: Some("leveldb::DB::Open"),
    },
];

/// Wild code that is loaded into a program which is left as it is.
const VANDAL: &[(&str, &str)] = &[("LD_PRELOAD", "{programs}/vandal.so"), ("VANDAL", "{from}")];

/// No stray write.
pub(crate) const WORK: &str = "work";

/// Where a stray write can come from.
pub(crate) const PLACES: [&str; 3] = ["main", "thread", "handler"];

/// A path that nobody has used.
#[derive(Debug)]
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        Self {
            _folder: folder,
            path,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Subject {
    /// The command line, and its variables.
    fn words(&self, from: &str, place: &Place) -> (Vec<String>, Vec<(&'static str, String)>) {
        let programs = programs::folder().unwrap();
        let fill = |word: &str| {
            word.replace("{programs}", programs.to_str().unwrap())
                .replace("{place}", place.path().to_str().unwrap())
                .replace("{from}", from)
        };
        let line = self.line.split(' ').map(fill).collect();
        let env = self.env.iter().map(|(name, value)| (*name, fill(value)));
        (line, env.collect())
    }

    /// Running it as it is.
    pub(crate) fn plain(&self, from: &str, place: &Place) -> Command {
        let (line, env) = self.words(from, place);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).envs(env);
        command
    }

    /// Running it with the library guarded.
    pub(crate) fn guarded(&self, from: &str, place: &Place, more: &[&str]) -> Command {
        let (line, env) = self.words(from, place);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkeys"));
        command
            .args(["guard", "--report-wait", "60", "--lib", self.library])
            .args(self.options)
            .args(more)
            .arg("--")
            .args(line)
            .envs(env);
        command
    }
}
