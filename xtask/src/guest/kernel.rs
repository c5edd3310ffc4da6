//! Gets a Linux kernel for the guest: the distribution's, unpacked and never installed.
//!
//! Tests about alternate signal stacks behind a key need Linux 6.12 or newer, and Debian 12 has one beside its default
//! of 6.1. So the newest package of at least that version is taken where the lists have one, and else the
//! distribution's default, whatever its version.
//!
//! A package may be empty and depend on the one with today's version in its name; Debian's newest splits off the image
//! once more. So the dependencies are followed to the last package of the chain.
//!
//! What was unpacked once is used from then on, however old it becomes: deleting its folder gets a new one.

use super::apt::{self, Apt, Package};
use anyhow::{Context, Result, bail};
use core::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel is kept, in the guest's folder. Another name than that of the folder in which a default kernel of
/// any version was kept once, which must not be taken for this one.
const FOLDER: &str = "linux";

/// The version from which on the guest's kernel can run every test.
const WANTED: [u32; 2] = [6, 12];

/// How the name of a package with a kernel starts.
const PREFIX: &str = "linux-image-";

/// Kernels that run under QEMU, the smallest first, as package names end: Debian's for virtual machines, Ubuntu's,
/// Debian's general.
const FLAVOURS: [&str; 3] = ["cloud-amd64", "generic", "amd64"];

/// Packages that lead to the default kernel, the smallest first.
const DEFAULTS: [&str; 4] = [
    "linux-image-cloud-amd64",
    "linux-image-virtual",
    "linux-image-generic",
    "linux-image-amd64",
];

/// How a package on the way to the file may start.
const ON_THE_WAY: [&str; 2] = [PREFIX, "linux-binary-"];

/// Where the file may be in a package.
const PATTERNS: [&str; 2] = ["./boot/vmlinuz-*", "./usr/lib/modules/*/vmlinuz"];

/// Finds the kernel unpacked before, or downloads one.
pub(super) fn find_or_download(dir: &Path, note: &dyn Fn(&str)) -> Result<PathBuf> {
    let folder = dir.join(FOLDER);
    let kernel = folder.join("vmlinuz");
    if kernel.is_file() {
        return Ok(kernel);
    }
    let Some(apt) = Apt::find() else {
        bail!(
            "there is no apt-get to get a kernel for the guest with: name one, for example\n\n    \
             cargo xtask test --guest-kernel /boot/vmlinuz-$(uname -r)"
        );
    };
    let work = dir.join("linux-parts");
    let files = download(&apt, &work, note)?;
    for file in files {
        apt::unpack_some(&file, &PATTERNS, &work)?;
    }
    let found = find_file(&work)?.context("the downloaded package has no kernel in it")?;
    fs::create_dir_all(&folder)?;
    fs::rename(&found, &kernel).with_context(|| kernel.display().to_string())?;
    fs::remove_dir_all(&work)?;
    note(&format!(
        "the kernel is kept in {}; delete that folder to get a newer one",
        folder.display()
    ));
    Ok(kernel)
}

/// Downloads the best package into a new folder.
fn download(apt: &Apt, work: &Path, note: &dyn Fn(&str)) -> Result<Vec<PathBuf>> {
    let mut tried = None;
    loop {
        let names = apt.names(PREFIX);
        let package = choose(&names, |name| apt.show(name)).with_context(|| {
            format!(
                "the package lists have none of {}. Run\n\n    sudo apt-get update\n\nand start again.",
                DEFAULTS.join(", ")
            )
        })?;
        note(&format!("downloading {package}, a kernel for the guest"));
        if is_too_old(&package) {
            let [major, minor] = WANTED;
            note(&format!(
                "the package lists have no Linux {major}.{minor} or newer: what needs it is skipped"
            ));
        }
        if work.exists() {
            fs::remove_dir_all(work).with_context(|| work.display().to_string())?;
        }
        match apt.download(core::slice::from_ref(&package), work) {
            // The lists were old and have been renewed: they may name another version now.
            Err(_) if tried.as_ref() != Some(&package) => tried = Some(package),
            result => return result,
        }
    }
}

/// The package with the best kernel, from the names that the lists have.
fn choose(
    names: &[String],
    show: impl Fn(&str) -> Option<(Package, Vec<String>)>,
) -> Option<Package> {
    let mut wanted: Vec<(Candidate, &str)> = names
        .iter()
        .filter_map(|name| Some((Candidate::parse(name)?, name.as_str())))
        .filter(|(candidate, _)| candidate.version.0.as_slice() >= WANTED.as_slice())
        .collect();
    wanted.sort();
    let starts = wanted.into_iter().map(|(_, name)| name).chain(DEFAULTS);
    last_of_chain(starts, show)
}

/// Whether a package is known to hold a kernel before [`WANTED`].
fn is_too_old(package: &Package) -> bool {
    Candidate::parse(package.name())
        .is_some_and(|candidate| candidate.version.0.as_slice() < WANTED.as_slice())
}

/// What the name of a package with a kernel says. The order is that of preference, the best first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Its place among [`FLAVOURS`].
    flavour: usize,
    /// The version's numbers: `6.12.117+deb12` is 6, 12, 117, and `6.1.0-56` is 6, 1, 0, 56.
    version: Reverse<Vec<u32>>,
    /// Whether it is the build without a signature for Secure Boot: the same kernel.
    is_unsigned: bool,
}

impl Candidate {
    /// Reads a name; `None` for what is no kernel of a known flavour with a version: debugging symbols, real-time kernels,
    /// headers, packages without a version.
    fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX)?;
        // Debian says so at the end, Ubuntu at the start.
        let signed = name.strip_suffix("-unsigned");
        let signed = signed.or_else(|| name.strip_prefix("unsigned-"));
        let full = signed.unwrap_or(name);
        let (flavour, version) = FLAVOURS.iter().enumerate().find_map(|(rank, flavour)| {
            Some((rank, full.strip_suffix(flavour)?.strip_suffix('-')?))
        })?;
        let mut numbers = Vec::new();
        for part in version.split('-') {
            // Numbers with points, then what the distribution adds to them: `+deb12`, `~bpo`.
            let end = part.find(|c: char| !c.is_ascii_digit() && c != '.');
            let digits = part[..end.unwrap_or(part.len())].trim_end_matches('.');
            for number in digits.split('.') {
                numbers.push(number.parse().ok()?);
            }
        }
        Some(Self {
            flavour,
            version: Reverse(numbers),
            is_unsigned: signed.is_some(),
        })
    }
}

/// Follows the dependencies from the first of `starts` that there is.
fn last_of_chain<'a>(
    mut starts: impl Iterator<Item = &'a str>,
    show: impl Fn(&str) -> Option<(Package, Vec<String>)>,
) -> Option<Package> {
    let (mut package, mut depends) = starts.find_map(&show)?;
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
    use super::{Candidate, Package, Reverse, choose, find_file, is_too_old};
    use std::fs;

    /// A package list of names and what they depend on; the first is chosen from the names alone.
    fn chosen(list: &[(&str, &[&str])]) -> Option<String> {
        let names: Vec<String> = list.iter().map(|(name, _)| (*name).to_owned()).collect();
        let package = choose(&names, |name| {
            let (name, depends) = list.iter().find(|(known, _)| *known == name)?;
            let depends = depends.iter().map(|name| (*name).to_owned()).collect();
            Some((Package::new(name, "1"), depends))
        });
        package.map(|package| package.name().to_owned())
    }

    #[test]
    fn the_chain_is_followed_to_its_end() {
        let debian: &[(&str, &[&str])] = &[
            ("linux-image-amd64", &["linux-image-6.1-amd64"]),
            ("linux-image-cloud-amd64", &["linux-image-6.1-cloud"]),
            ("linux-image-6.1-cloud", &["kmod", "linux-base"]),
        ];
        assert_eq!(chosen(debian).unwrap(), "linux-image-6.1-cloud");
        let split: &[(&str, &[&str])] = &[
            ("linux-image-virtual", &["linux-image-7.2"]),
            ("linux-image-7.2", &["kmod", "linux-binary-7.2"]),
            ("linux-binary-7.2", &[]),
        ];
        assert_eq!(chosen(split).unwrap(), "linux-binary-7.2");
        let circle: &[(&str, &[&str])] = &[
            ("linux-image-generic", &["linux-image-x"]),
            ("linux-image-x", &["linux-image-generic"]),
        ];
        assert!(chosen(circle).is_some());
        assert_eq!(chosen(&[("linux-doc", &[])]), None);
    }

    #[test]
    fn a_newer_small_kernel_comes_before_the_default() {
        // Debian 12.
        let names = [
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.107+deb12-amd64",
            "linux-image-6.12.107+deb12-rt-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64-dbg",
            "linux-headers-6.12.107+deb12-cloud-amd64",
        ];
        let list: Vec<(&str, &[&str])> = names.iter().map(|name| (*name, &[] as &[_])).collect();
        let expected = "linux-image-6.12.100+deb12-cloud-amd64";
        assert_eq!(chosen(&list).unwrap(), expected);
        // Ubuntu, whose default is too old; its newer kernel has no cloud flavour.
        let ubuntu: &[(&str, &[&str])] = &[
            ("linux-image-virtual", &["linux-image-6.8.0-31-generic"]),
            ("linux-image-6.8.0-31-generic", &[]),
            ("linux-image-unsigned-6.14.0-24-generic", &[]),
            ("linux-image-6.14.0-24-generic", &[]),
            ("linux-image-6.14.0-24-lowlatency", &[]),
        ];
        assert_eq!(chosen(ubuntu).unwrap(), "linux-image-6.14.0-24-generic");
        assert_eq!(chosen(&ubuntu[..2]).unwrap(), ubuntu[1].0);
        // Empty packages lead on from here, too.
        let meta: &[(&str, &[&str])] = &[
            (
                "linux-image-6.19-amd64",
                &["linux-image-6.19.2+deb14-amd64"],
            ),
            ("linux-image-6.19.2+deb14-amd64", &["linux-binary-6.19.2"]),
            ("linux-binary-6.19.2", &[]),
        ];
        assert_eq!(chosen(meta).unwrap(), "linux-binary-6.19.2");
    }

    #[test]
    fn a_name_without_a_package_is_passed_over() {
        let names = [
            "linux-image-6.20-cloud-amd64",
            "linux-image-6.12-cloud-amd64-unsigned",
        ];
        let names = names.map(str::to_owned);
        let only = |name: &str| {
            let is_there = name.ends_with("-unsigned");
            is_there.then(|| (Package::new(name, "1"), Vec::new()))
        };
        assert_eq!(choose(&names, only).unwrap().name(), names[1]);
    }

    #[test]
    fn names_are_read() {
        let cases: [(&str, usize, &[u32], bool); 6] = [
            ("6.12.117+deb12-cloud-amd64", 0, &[6, 12, 117], false),
            (
                "6.12.117+deb12-cloud-amd64-unsigned",
                0,
                &[6, 12, 117],
                true,
            ),
            ("6.1.0-56-amd64", 2, &[6, 1, 0, 56], false),
            ("unsigned-6.14.0-24-generic", 1, &[6, 14, 0, 24], true),
            ("6.12-cloud-amd64", 0, &[6, 12], false),
            ("6.1.0-0.deb11.5-cloud-amd64", 0, &[6, 1, 0, 0], false),
        ];
        for (name, flavour, version, is_unsigned) in cases {
            let expected = Candidate {
                flavour,
                version: Reverse(version.to_vec()),
                is_unsigned,
            };
            let read = Candidate::parse(&format!("linux-image-{name}"));
            assert_eq!(read, Some(expected), "{name}");
        }
        for other in [
            "linux-image-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.12-rt-amd64",
            "linux-image-6.12.117+deb12-rt-amd64-unsigned",
            "linux-image-6.12-cloud-amd64-dbg",
            "linux-image-6.12-amd64-signed-template",
            "linux-image-6.12-arm64",
            "linux-headers-6.12-amd64",
            "linux-image--amd64",
            "linux-image-6.12",
        ] {
            assert_eq!(Candidate::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_default_that_is_too_old_is_known() {
        for (name, expected) in [
            ("linux-image-6.1.0-56-cloud-amd64", true),
            ("linux-image-6.8.0-31-generic", true),
            ("linux-image-6.12-cloud-amd64", false),
            ("linux-image-7.0-amd64", false),
            // Nothing is known of it.
            ("linux-binary-6.1", false),
        ] {
            assert_eq!(is_too_old(&Package::new(name, "1")), expected, "{name}");
        }
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
