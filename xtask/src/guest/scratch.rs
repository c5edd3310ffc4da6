//! Names for files that live as long as one run, and an end for those that a killed run has left.

use anyhow::{Context, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// How such a name ends.
const END: &str = "cpio";

/// Tells the runs of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name in `folder` that no other run has: `NAME-PROCESS-NUMBER.cpio`. What runs have left that are gone is removed.
pub(super) fn file(folder: &Path, name: Option<&OsStr>) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if owner(&path).is_some_and(|owner| !is_alive(owner)) {
            // Another run may be at the same.
            fs::remove_file(&path).ok();
        }
    }
    let name = name.unwrap_or(OsStr::new("program")).to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(folder.join(format!("{name}-{}-{number}.{END}", process::id())))
}

/// The process whose file this is, from its name; `None` for other files.
fn owner(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(END)?.strip_suffix('.')?;
    let mut parts = stem.rsplit('-');
    parts.next()?.parse::<u64>().ok()?;
    parts.next()?.parse().ok()
}

/// Whether a process of that number is there.
fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::{file, owner};
    use std::fs;
    use std::path::Path;
    use std::process;

    #[test]
    fn names_differ_and_only_what_is_left_behind_goes() {
        let dir = tempfile::tempdir().unwrap();
        // No process has so high a number (`proc(5)`, `pid_max`).
        let left = dir.path().join("p-4194305-0.cpio");
        let other = dir.path().join("tests.cpio");
        for path in [&left, &other] {
            fs::write(path, "").unwrap();
        }
        let one = file(dir.path(), Some("a-b".as_ref())).unwrap();
        assert!(!left.exists() && other.exists());
        fs::write(&one, "").unwrap();
        let two = file(dir.path(), Some("a-b".as_ref())).unwrap();
        assert_ne!(one, two);
        assert!(one.exists());
        assert_eq!(owner(&one), Some(process::id()));
    }

    #[test]
    fn other_files_belong_to_nobody() {
        for name in ["tests.cpio", "a-1.cpio", "a-1-2", "a-x-2.cpio", "key"] {
            assert_eq!(owner(Path::new(name)), None, "{name}");
        }
        assert_eq!(owner(Path::new("/x/a-12-3.cpio")), Some(12));
    }
}
