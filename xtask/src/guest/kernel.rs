//! Gets a Linux kernel for the guest: the distribution's, unpacked and never installed.
//!
//! The package that everybody names is empty and depends on the one with today's version in its name; Debian's newest
//! splits off the image once more. So the dependencies are followed to the last package of the chain.

use super::apt::{self, Apt, Package};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Packages that lead to a kernel, the smallest first: Debian's for virtual machines, Ubuntu's, then each one's general.
const PACKAGES: [&str; 4] = [
    "linux-image-cloud-amd64",
    "linux-image-virtual",
    "linux-image-generic",
    "linux-image-amd64",
];

/// How a package on the way to the file may start.
const ON_THE_WAY: [&str; 2] = ["linux-image-", "linux-binary-"];

/// Where the file may be in a package.
const PATTERNS: [&str; 2] = ["./boot/vmlinuz-*", "./usr/lib/modules/*/vmlinuz"];

/// Finds the kernel unpacked before, or downloads one.
pub(super) fn find_or_download(dir: &Path, note: &dyn Fn(&str)) -> Result<PathBuf> {
    let kernel = dir.join("kernel/vmlinuz");
    if kernel.is_file() {
        return Ok(kernel);
    }
    let Some(apt) = Apt::find() else {
        bail!(
            "there is no apt-get to get a kernel for the guest with: name one, for example\n\n    \
             cargo xtask test --guest-kernel /boot/vmlinuz-$(uname -r)"
        );
    };
    let package = last_of_chain(|name| apt.show(name)).with_context(|| {
        format!(
            "the package lists have none of {}. Run\n\n    sudo apt-get update\n\nand start again.",
            PACKAGES.join(", ")
        )
    })?;
    note(&format!("downloading {package}, a kernel for the guest"));
    let work = dir.join("kernel-parts");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    }
    for file in apt.download(core::slice::from_ref(&package), &work)? {
        apt::unpack_some(&file, &PATTERNS, &work)?;
    }
    let found = find_file(&work)?.with_context(|| format!("{package} has no kernel in it"))?;
    fs::create_dir_all(dir.join("kernel"))?;
    fs::rename(&found, &kernel).with_context(|| kernel.display().to_string())?;
    fs::remove_dir_all(&work)?;
    Ok(kernel)
}

/// Follows the dependencies from the first package of [`PACKAGES`] that there is.
fn last_of_chain(show: impl Fn(&str) -> Option<(Package, Vec<String>)>) -> Option<Package> {
    let (mut package, mut depends) = PACKAGES.iter().find_map(|name| show(name))?;
    // No chain is this long: packages that depend on each other must not hold us.
    for _ in 0..4 {
        let next = depends
            .iter()
            .filter(|name| ON_THE_WAY.iter().any(|start| name.starts_with(start)))
            .find_map(|name| show(name));
        match next {
            Some(next) => (package, depends) = next,
            None => break,
        }
    }
    Some(package)
}

/// The file `vmlinuz*` below `dir`.
fn find_file(dir: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path)? {
                return Ok(Some(found));
            }
        } else if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{Package, find_file, last_of_chain};
    use std::fs;

    /// A package list of names and what they depend on.
    fn last(list: &[(&str, &[&str])]) -> Option<String> {
        let package = last_of_chain(|name| {
            let (name, depends) = list.iter().find(|(known, _)| *known == name)?;
            let depends = depends.iter().map(|name| (*name).to_owned()).collect();
            Some((Package::new(name, "1"), depends))
        });
        package.map(|package| package.to_string())
    }

    #[test]
    fn the_chain_is_followed_to_its_end() {
        let debian: &[(&str, &[&str])] = &[
            ("linux-image-amd64", &["linux-image-6.1-amd64"]),
            ("linux-image-cloud-amd64", &["linux-image-6.1-cloud"]),
            ("linux-image-6.1-cloud", &["kmod", "linux-base"]),
        ];
        assert_eq!(last(debian).unwrap(), "linux-image-6.1-cloud 1");
        let split: &[(&str, &[&str])] = &[
            ("linux-image-virtual", &["linux-image-7.2"]),
            ("linux-image-7.2", &["kmod", "linux-binary-7.2"]),
            ("linux-binary-7.2", &[]),
        ];
        assert_eq!(last(split).unwrap(), "linux-binary-7.2 1");
        let circle: &[(&str, &[&str])] = &[
            ("linux-image-generic", &["linux-image-x"]),
            ("linux-image-x", &["linux-image-generic"]),
        ];
        assert!(last(circle).is_some());
        assert_eq!(last(&[("linux-doc", &[])]), None);
    }

    #[test]
    fn the_file_is_found_wherever_the_package_has_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find_file(dir.path()).unwrap(), None);
        let deep = dir.path().join("usr/lib/modules/7.2");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("config"), "").unwrap();
        fs::write(deep.join("vmlinuz"), "").unwrap();
        assert_eq!(find_file(dir.path()).unwrap(), Some(deep.join("vmlinuz")));
    }
}
