//! Puts together the guest's only file system: the first process, the programs, and the list of what to run.
//!
//! It is not compressed: 210 MB of test binaries boot in 5 to 6 s as they are and in 7 s compressed with `gzip -1`, which
//! takes another 3 s on the host (QEMU 7.2, Linux 6.1, two cores).
//!
//! Linux unpacks several archives that follow each other, one over the other. So what does not change between two runs (a
//! root of packages) is an archive made once, which is copied in front.

use super::cpio::Archive;
use super::tree;
use anyhow::{Context, Result};
use guest_init::jobs::{self, Job};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// What goes in.
#[derive(Debug)]
pub(super) struct Initrd<'a> {
    /// An archive that comes first: a root that was packed before.
    pub(super) base: Option<&'a Path>,
    /// The first process, on this machine.
    pub(super) init: &'a Path,
    /// Programs: where they are in the guest, and on this machine.
    pub(super) programs: Vec<(String, PathBuf)>,
    /// What the programs read on their standard input, which stands at [`jobs::STDIN`].
    pub(super) stdin: Option<&'a [u8]>,
    /// What to run.
    pub(super) jobs: &'a [Job],
}

impl Initrd<'_> {
    /// Writes it to `path`; gives its length in bytes.
    pub(super) fn write(&self, path: &Path) -> Result<u64> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        if let Some(base) = self.base {
            // Its length is a multiple of four bytes, so that the next one starts where Linux looks for it.
            let copied = File::open(base).and_then(|mut base| io::copy(&mut base, &mut file));
            copied.with_context(|| base.display().to_string())?;
        }
        let mut archive = Archive::new(BufWriter::new(file));
        let mut add = |to: &str, from: &Path| -> Result<()> { tree::add(&mut archive, to, from) };
        add("/init", self.init)?;
        for (to, from) in &self.programs {
            add(to, from)?;
        }
        if let Some(input) = self.stdin {
            archive.file(jobs::STDIN, input.len() as u64, input)?;
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
            base: None,
            init: &program,
            programs: vec![("/bin/p".into(), program.clone())],
            stdin: None,
            jobs: &[],
        };
        let path = dir.path().join("new/initrd");
        let len = initrd.write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(len, bytes.len() as u64);
        assert_eq!(bytes.windows(8).filter(|w| w == b"contents").count(), 2);
    }

    #[test]
    fn a_base_stands_in_front_and_the_input_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let [base, init] = ["base", "init"].map(|name| dir.path().join(name));
        fs::write(&base, "0123").unwrap();
        fs::write(&init, "").unwrap();
        let initrd = Initrd {
            base: Some(&base),
            init: &init,
            programs: vec![],
            stdin: Some(b"the input"),
            jobs: &[],
        };
        let path = dir.path().join("initrd");
        initrd.write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"0123070701"));
        assert!(bytes.windows(9).any(|w| w == b"the input"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let initrd = Initrd {
            base: None,
            init: &dir.path().join("absent"),
            programs: vec![],
            stdin: None,
            jobs: &[],
        };
        let err = initrd.write(&dir.path().join("initrd")).unwrap_err();
        assert!(err.to_string().ends_with("absent"), "{err:#}");
    }
}
