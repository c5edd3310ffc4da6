//! The folder that the demo's files are in: one of its own that goes with it, or one that the caller names and keeps.

use core::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::interrupt;
use crate::failure::{Doing, Failure};

/// The files that `--keep` keeps: the database as it was made, and what became of it in each scene, with the reports.
const KEPT: [&str; 7] = [
    "orders.db",
    "unprotected.db",
    "unprotected.jsonl",
    "strict.db",
    "strict.jsonl",
    "relaxed.db",
    "relaxed.jsonl",
];

/// The demo's folder. What is not kept is removed at the end.
#[derive(Debug)]
pub(crate) struct Place {
    /// Goes with everything in it.
    scratch: TempDir,
    keep: Option<PathBuf>,
}

impl Place {
    /// Makes the folder, or finds that it cannot be written to. Files that are there already are somebody's: the demo
    /// takes none of their names.
    pub(crate) fn make(keep: Option<&Path>) -> Result<Self, Failure> {
        if let Some(keep) = keep {
            fs::create_dir_all(keep).doing(format!("cannot make the folder {}", keep.display()))?;
            reserve(keep)?;
        }
        let base = keep.map_or_else(std::env::temp_dir, Path::to_owned);
        let scratch = make_scratch(&base).doing(format!("cannot write to {}", base.display()))?;
        interrupt::remove_at_interrupt(scratch.path());
        Ok(Self {
            scratch,
            keep: keep.map(Path::to_owned),
        })
    }

    /// The path of a file that `--keep` keeps.
    pub(crate) fn kept_file(&self, name: &str) -> PathBuf {
        debug_assert!(KEPT.contains(&name), "{name} is not reserved");
        self.keep
            .as_deref()
            .unwrap_or_else(|| self.scratch.path())
            .join(name)
    }

    /// The path of a file that is never kept.
    pub(crate) fn scratch_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The folder that stays, if one does.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.keep.as_deref()
    }
}

/// Makes the files that are kept, all of them or none.
fn reserve(folder: &Path) -> Result<(), Failure> {
    let paths = KEPT.map(|name| folder.join(name));
    for (number, path) in paths.iter().enumerate() {
        if let Err(error) = File::create_new(path) {
            for made in &paths[..number] {
                // Empty, and made a moment ago: should it stay, nothing is lost.
                let _ = fs::remove_file(made);
            }
            return Err(error).doing(format!("cannot make {}", path.display()));
        }
    }
    Ok(())
}

fn make_scratch(base: &Path) -> Result<TempDir, String> {
    let made = tempfile::Builder::new()
        .prefix("pkeys-demo-")
        .tempdir_in(base);
    // The error beneath says the same without the name that was tried.
    let text = |error: io::Error| {
        error
            .source()
            .map_or_else(|| error.to_string(), |source| source.to_string())
    };
    made.map_err(text)
}

/// Copies a database that nobody has open.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).doing(format!("cannot write {}", to.display()))?;
    Ok(())
}
