//! The files of packages and of all that they depend on, downloaded and not installed.
//!
//! apt is asked what it would install on a machine that has nothing (`Dir::State::status=/dev/null`): that is the whole
//! closure, with alternatives chosen as apt chooses them, and without recommended packages. It is the release of this
//! machine, so its C library is that which programs built here expect. Nothing here needs root. Where the machine's package
//! lists are missing or name what is gone from the mirror, lists of our own are fetched beside the packages.

use super::apt::{self, Package, Plan};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Names of the file in which apt stores a package, by architecture.
const ARCHITECTURES: [&str; 2] = ["amd64", "all"];

/// Packages and where their files are kept.
#[derive(Debug)]
pub(super) struct Store {
    /// The folder of the packages' files.
    files: PathBuf,
    /// The folder of package lists of our own.
    lists: PathBuf,
}

impl Store {
    /// A store in the guest's folder.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            files: dir.join("packages"),
            lists: dir.join("package-lists"),
        }
    }

    /// Gets the files of the packages called `names` and of what they depend on, in the order of installation.
    pub(super) fn fetch(
        &self,
        names: &[String],
        note: &dyn Fn(&str),
    ) -> Result<Vec<(Package, PathBuf)>> {
        let first = match self.try_fetch(names, &[], note) {
            Err(first) => first,
            fetched => return fetched,
        };
        note("the package lists are missing or old: fetching lists of our own");
        let own = self.own_lists()?;
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let update = [&own[..], &["update"]].concat();
        if let Err(err) = ask_apt(&update, None) {
            bail!("{first:#}, and the lists could not be renewed: {err:#}");
        }
        self.try_fetch(names, &own, note)
    }

    /// The same with one set of lists, that which `options` say.
    fn try_fetch(
        &self,
        names: &[String],
        options: &[&str],
        note: &dyn Fn(&str),
    ) -> Result<Vec<(Package, PathBuf)>> {
        let plan = closure(names, options)?;
        self.download(&plan, options, note)?;
        let find = |package: Package| {
            let file = self.find(&package);
            let file = file.with_context(|| format!("apt-get gave no file for {package}"))?;
            Ok((package, file))
        };
        plan.into_iter().map(find).collect()
    }

    /// Downloads what is not here yet. Files appear whole, and stay: another root has many of the same packages.
    fn download(&self, plan: &[Package], options: &[&str], note: &dyn Fn(&str)) -> Result<()> {
        let missing = plan.iter().filter(|package| self.find(package).is_none());
        let missing: Vec<String> = missing.map(Package::exactly).collect();
        if missing.is_empty() {
            return Ok(());
        }
        note(&format!("downloading {} packages", missing.len()));
        // A name that nobody else has: an apt-get of a run that was killed may still write to its own.
        let partial = self.files.join(format!("partial-{}", process::id()));
        self.remove_partial();
        remake(&partial)?;
        let mut args = options.to_vec();
        args.push("download");
        args.extend(missing.iter().map(String::as_str));
        ask_apt(&args, Some(&partial))?;
        for entry in fs::read_dir(&partial)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                let to = self.files.join(path.file_name().unwrap_or_default());
                fs::rename(&path, &to).with_context(|| to.display().to_string())?;
            }
        }
        fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())
    }

    /// Removes what interrupted downloads have left: the only folders here.
    fn remove_partial(&self) {
        for entry in fs::read_dir(&self.files).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                // What does not go now goes the next time.
                fs::remove_dir_all(entry.path()).ok();
            }
        }
    }

    /// The file of a package that was downloaded before.
    fn find(&self, package: &Package) -> Option<PathBuf> {
        ARCHITECTURES
            .iter()
            .map(|architecture| self.files.join(package.file_name(architecture)))
            .find(|file| file.is_file())
    }

    /// Makes the folder for lists of our own and gives the options that have apt use it.
    fn own_lists(&self) -> Result<Vec<String>> {
        let partial = self.lists.join("partial");
        fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
        let options = [format!("Dir::State::lists={}", self.lists.display())];
        Ok(options
            .into_iter()
            .flat_map(|option| ["-o".into(), option])
            .collect())
    }
}

/// What is to be installed for `names` on a machine that has nothing.
fn closure(names: &[String], options: &[&str]) -> Result<Vec<Package>> {
    let mut args = options.to_vec();
    args.extend([
        "install",
        "--simulate",
        "--yes",
        "--no-install-recommends",
        "--",
    ]);
    args.extend(names.iter().map(String::as_str));
    Ok(Plan::parse(&ask_apt(&args, None)?).installs)
}

/// Runs apt-get as if nothing were installed; the error is one line.
fn ask_apt(args: &[&str], folder: Option<&Path>) -> Result<String> {
    // As root, apt downloads as a user of its own who may have no right to our folders. Without caches of what it has read:
    // they belong to the machine's own state.
    let empty = [
        "-o",
        "Dir::State::status=/dev/null",
        "-o",
        "Dir::Cache::pkgcache=",
        "-o",
        "Dir::Cache::srcpkgcache=",
        "-o",
        "APT::Sandbox::User=root",
    ];
    let args = [&empty, args].concat();
    apt::apt_get(&args, folder)
        .map_err(|err| anyhow::anyhow!("apt-get: {}", complaint(&format!("{err:#}"))))
}

/// What apt-get complains of, in one line: `E: ` starts its errors, which end what it prints.
fn complaint(text: &str) -> String {
    let errors: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("E: "))
        .map(str::trim)
        .collect();
    if errors.is_empty() {
        let mut lines = text.lines().rev().map(str::trim);
        let last = lines.find(|line| !line.is_empty());
        return last.unwrap_or("it failed and said nothing").to_owned();
    }
    errors.join("; ")
}

/// An empty folder, whatever was left in it.
pub(super) fn remake(folder: &Path) -> Result<()> {
    let name = || folder.display().to_string();
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(name)?;
    }
    fs::create_dir_all(folder).with_context(name)
}

#[cfg(test)]
mod tests {
    use super::{Package, Store, complaint, remake};
    use std::fs;

    #[test]
    fn a_complaint_is_one_line_of_apts_own_words() {
        let text = "apt-get failed:\nReading package lists...\nE: Unable to locate package a\n\
            W: a warning\nE: Unable to locate package b \n";
        let expected = "Unable to locate package a; Unable to locate package b";
        assert_eq!(complaint(text), expected);
        assert_eq!(complaint("x\n\n the last line\n\n"), "the last line");
        assert_eq!(complaint("\n"), "it failed and said nothing");
    }

    #[test]
    fn files_are_found_by_the_name_that_apt_gives_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let [native, any] = [("zlib1g", "1:1.2-1"), ("media-types", "10.0")]
            .map(|(name, version)| Package::new(name, version));
        assert_eq!(store.find(&native), None);
        remake(&store.files).unwrap();
        let native_file = store.files.join("zlib1g_1%3a1.2-1_amd64.deb");
        fs::write(&native_file, "").unwrap();
        let any_file = store.files.join("media-types_10.0_all.deb");
        fs::write(&any_file, "").unwrap();
        assert_eq!(store.find(&native), Some(native_file));
        assert_eq!(store.find(&any), Some(any_file));
        assert_eq!(store.find(&Package::new("zlib1g", "1.2-1")), None);
    }

    #[test]
    fn what_an_interrupted_download_has_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let (partial, whole) = (
            store.files.join("partial-1"),
            store.files.join("a_1_all.deb"),
        );
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("b_1_all.deb"), "half").unwrap();
        fs::write(&whole, "whole").unwrap();
        store.remove_partial();
        assert!(!partial.exists() && whole.exists());
    }

    #[test]
    fn a_folder_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        remake(&folder).unwrap();
        fs::write(folder.join("left"), "").unwrap();
        remake(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
