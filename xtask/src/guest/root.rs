//! A root of Debian or Ubuntu packages for the guest: unpacked and packed once, kept in `target/guest/roots`.
//!
//! No script of a package runs, so that nothing needs root and nothing on this machine changes. What such scripts would have
//! done is not there: no `/etc/alternatives`, no loader cache, no users but root and nobody.
//!
//! A root belongs to a list of packages, a release, and the C library of this machine: programs that are built here have to
//! run in it. It is made under another name and renamed when it is whole, so that an interrupted run leaves nothing that
//! looks finished; a lock keeps two runs from making the same. It is used from then on, however old its packages become:
//! deleting its folder gets newer ones.
//!
//! An archive is what boots: the small kernels have the file systems and disks that could be mounted instead as modules
//! only, which would have to be found, unpacked and loaded. 100 MB of archive cost about a second.

use super::apt::{self, Apt};
use super::cpio::Archive;
use super::packages::{Store, remake};
use super::{python, tree};
use crate::capture;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// Raised when the same packages would give another root.
const LAYOUT: u32 = 1;

/// How the name of a root ends that is not whole yet.
const UNFINISHED: &str = "new";

/// What every root has: the C library, for programs of this machine.
const ALWAYS: &str = "libc6";

/// Folders that are links, in every release of the last years.
const MERGED: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];

/// Left out: what no program needs to run. A root is in memory whole.
const LEFT_OUT: [&str; 14] = [
    "./usr/share/doc/*",
    "./usr/share/doc-base/*",
    "./usr/share/man/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
    "./usr/share/bug/*",
    "./usr/share/locale/*",
    "./usr/share/i18n/*",
    "./usr/share/icons/*",
    "./usr/share/pixmaps/*",
    "./usr/lib/python3*/test/*",
    "./usr/lib/python3*/idlelib/*",
    "./usr/lib/python3*/ensurepip/*",
    "./usr/lib/python3*/*/tests/*",
];

/// The users and groups that there are, and what belongs to whom.
const ACCOUNTS: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
];

/// A root that is whole.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Finds the root of these packages in the guest's folder, or makes it.
    pub(super) fn find_or_make(dir: &Path, names: &[String], note: &dyn Fn(&str)) -> Result<Self> {
        for name in names {
            if !is_package_name(name) {
                bail!("{name:?} is not the name of a package");
            }
        }
        if Apt::find().is_none() {
            bail!("a root of packages needs apt-get and dpkg-deb, and this machine lacks them");
        }
        let mut names = names.to_vec();
        names.push(ALWAYS.into());
        names.sort();
        names.dedup();
        let key = key(&names);
        let roots = dir.join("roots");
        fs::create_dir_all(&roots).with_context(|| roots.display().to_string())?;
        let folder = roots.join(format!("{:016x}", fnv1a(key.as_bytes())));
        let root = Self { folder };
        if root.is_of(&key) {
            return Ok(root);
        }
        let lock = roots.join("lock");
        let lock = File::create(&lock).with_context(|| lock.display().to_string())?;
        if lock.try_lock().is_err() {
            note("another run is making a root: waiting for it");
            lock.lock().context("the lock of the guest's roots")?;
        }
        remove_unfinished(&roots);
        // Somebody else may have made it by now.
        if !root.is_of(&key) {
            note(&format!("making a root of {}", names.join(", ")));
            root.make(dir, &names, &key, note)
                .with_context(|| format!("the guest's root of {}", names.join(", ")))?;
        }
        Ok(root)
    }

    /// What is in it, as a folder on this machine.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// The same as an archive.
    pub(super) fn archive(&self) -> PathBuf {
        self.folder.join("root.cpio")
    }

    /// Whether it is there, and made of what `key` says.
    fn is_of(&self, key: &str) -> bool {
        fs::read_to_string(self.folder.join("key")).is_ok_and(|found| found == key)
            && self.archive().is_file()
            && self.tree().is_dir()
    }

    /// Makes it, under another name at first.
    fn make(&self, dir: &Path, names: &[String], key: &str, note: &dyn Fn(&str)) -> Result<()> {
        let new = Self {
            folder: self
                .folder
                .with_extension(format!("{}.{UNFINISHED}", process::id())),
        };
        remake(&new.tree())?;
        let tree = new.tree();
        let packages = Store::new(dir).fetch(names, note)?;
        lay_out(&tree)?;
        for (_, file) in &packages {
            apt::unpack_without(file, &LEFT_OUT, &tree)?;
        }
        complete(&tree)?;
        python::compile(&tree, note)?;
        let archive = new.archive();
        pack(&tree, &archive).with_context(|| archive.display().to_string())?;
        let versions: Vec<String> = packages.iter().map(|(one, _)| format!("{one}\n")).collect();
        fs::write(new.folder.join("packages"), versions.concat())?;
        fs::write(new.folder.join("key"), key)?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::rename(&new.folder, &self.folder)?;
        note(&format!(
            "the root is kept in {}; delete that folder to get newer packages",
            self.folder.display()
        ));
        Ok(())
    }
}

/// Removes what interrupted runs have left; for who holds the lock. A program that such a run had started may still be at
/// work in there: then the rest goes the next time.
fn remove_unfinished(roots: &Path) {
    for entry in fs::read_dir(roots).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == UNFINISHED) {
            fs::remove_dir_all(&path).ok();
        }
    }
}

/// Links that packages expect to find.
fn lay_out(tree: &Path) -> Result<()> {
    for (link, target) in MERGED {
        fs::create_dir_all(tree.join(target))?;
        symlink(target, tree.join(link)).with_context(|| format!("/{link}"))?;
    }
    Ok(())
}

/// What no package brings.
fn complete(tree: &Path) -> Result<()> {
    fs::create_dir_all(tree.join("etc"))?;
    for (path, text) in ACCOUNTS {
        let path = tree.join(path);
        if !path.exists() {
            fs::write(path, text)?;
        }
    }
    Ok(())
}

/// Packs a folder.
fn pack(tree: &Path, to: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(to)?));
    tree::add_contents(&mut archive, "", tree)?;
    archive.finish()?;
    Ok(())
}

/// Everything that a root depends on, as text.
fn key(names: &[String]) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| os_release_field(&release, name).unwrap_or("?").to_owned();
    let [id, version] = ["ID", "VERSION_ID"].map(field);
    format!(
        "layout {LAYOUT}\nrelease {id} {version}\nC library {}\n{}\n",
        libc_version(),
        names.join("\n")
    )
}

/// A field of `/etc/os-release` (os-release(5)), without its quotes.
fn os_release_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']))
}

/// The version of this machine's C library, as a package.
fn libc_version() -> String {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Version}", "libc6:amd64"]);
    match capture::run(query, None, &mut |_| {}) {
        Ok(done) if done.is_success() => done.output.trim().to_owned(),
        _ => "?".into(),
    }
}

/// Whether a name is one that apt-get takes for a package, with or without `=VERSION`, and for nothing else.
fn is_package_name(text: &str) -> bool {
    let (name, version) = text.split_once('=').unwrap_or((text, "0"));
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let is_of_version = |c: char| c.is_ascii_alphanumeric() || "+-.:~".contains(c);
    starts_well
        && name.chars().all(is_plain)
        // apt-get takes that for the wish to remove a package.
        && !name.ends_with('-')
        && !version.is_empty()
        && version.chars().all(is_of_version)
}

/// A hash that stays the same from one version of this program to the next: FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        Root, fnv1a, is_package_name, key, lay_out, os_release_field, pack, remove_unfinished,
    };
    use std::fs;

    #[test]
    fn names_that_apt_would_take_for_something_else_are_refused() {
        for good in [
            "python3",
            "g++",
            "libstdc++6",
            "libc6=2.36-9+deb12u1",
            "0ad",
        ] {
            assert!(is_package_name(good), "{good}");
        }
        for bad in [
            "",
            "-y",
            "python3-",
            "Python3",
            "./file.deb",
            "a b",
            "a/bookworm",
            "a=",
            "a=1 2",
            "a*",
        ] {
            assert!(!is_package_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_root_is_known_by_all_that_it_depends_on() {
        let [one, two] = [["python3"], ["sqlite3"]].map(|names| key(&names.map(str::to_owned)));
        assert_ne!(one, two);
        assert!(one.contains("\nrelease ") && one.ends_with("\npython3\n"));
        // Published values of the hash.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os_release_field(text, "ID"), Some("debian"));
        assert_eq!(os_release_field(text, "VERSION_ID"), Some("12"));
        assert_eq!(os_release_field(text, "NAME"), None);
    }

    #[test]
    fn a_root_without_its_key_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root {
            folder: dir.path().join("r"),
        };
        assert!(!root.is_of("key"));
        fs::create_dir_all(root.tree()).unwrap();
        fs::write(root.archive(), "").unwrap();
        assert!(!root.is_of("key"));
        fs::write(root.folder.join("key"), "key").unwrap();
        assert!(root.is_of("key"));
        // Another list with the same hash.
        assert!(!root.is_of("other key"));
        fs::remove_file(root.archive()).unwrap();
        assert!(!root.is_of("key"));
    }

    #[test]
    fn what_an_interrupted_run_has_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0123.new/tree", "0123/tree", "4567.new"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("lock"), "").unwrap();
        remove_unfinished(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        assert!(!left("0123.new") && !left("4567.new"));
        assert!(left("0123/tree") && left("lock"));
    }

    #[test]
    fn a_name_that_is_none_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["--help".to_owned()];
        let err = Root::find_or_make(dir.path(), &names, &|_| {}).unwrap_err();
        assert_eq!(err.to_string(), "\"--help\" is not the name of a package");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_laid_out_tree_packs_links_and_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        lay_out(&tree).unwrap();
        fs::write(tree.join("lib/x"), "through the link").unwrap();
        let archive = dir.path().join("root.cpio");
        pack(&tree, &archive).unwrap();
        let bytes = fs::read(archive).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("usr/lib/x\0") && !text.contains("\0lib/x\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
