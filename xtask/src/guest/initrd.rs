//! Puts together the guest's only file system: the first process, the programs, and the list of what to run.
//!
//! It is not compressed: 210 MB of test binaries boot in 5 to 6 s as they are and in 7 s compressed with `gzip -1`, which
//! takes another 3 s on the host (QEMU 7.2, Linux 6.1, two cores).

use super::cpio::Archive;
use anyhow::{Context, Result};
use guest_init::jobs::{self, Job};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// What goes in.
#[derive(Debug)]
pub(super) struct Initrd<'a> {
    /// The first process, on this machine.
    pub(super) init: &'a Path,
    /// Programs: where they are in the guest, and on this machine.
    pub(super) programs: Vec<(String, PathBuf)>,
    /// What to run.
    pub(super) jobs: &'a [Job],
}

impl Initrd<'_> {
    /// Writes it to `path`; gives its length in bytes.
    pub(super) fn write(&self, path: &Path) -> Result<u64> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut archive = Archive::new(BufWriter::new(file));
        let mut add = |to: &str, from: &Path| -> Result<()> {
            let file = File::open(from).with_context(|| from.display().to_string())?;
            let len_bytes = file.metadata()?.len();
            archive
                .file(to, len_bytes, file)
                .with_context(|| from.display().to_string())
        };
        add("/init", self.init)?;
        for (to, from) in &self.programs {
            add(to, from)?;
        }
        let list = jobs::encode(self.jobs)?;
        archive.file(jobs::PATH, list.len() as u64, list.as_slice())?;
        let file = archive.finish()?;
        Ok(file.get_ref().metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Initrd;
    use std::fs;

    #[test]
    fn its_length_is_that_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "contents").unwrap();
        let initrd = Initrd {
            init: &program,
            programs: vec![("/bin/p".into(), program.clone())],
            jobs: &[],
        };
        let path = dir.path().join("new/initrd");
        let len = initrd.write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(len, bytes.len() as u64);
        assert_eq!(bytes.windows(8).filter(|w| w == b"contents").count(), 2);
    }

    #[test]
    fn a_missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let initrd = Initrd {
            init: &dir.path().join("absent"),
            programs: vec![],
            jobs: &[],
        };
        let err = initrd.write(&dir.path().join("initrd")).unwrap_err();
        assert!(err.to_string().ends_with("absent"), "{err:#}");
    }
}
