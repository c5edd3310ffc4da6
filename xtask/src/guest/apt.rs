//! Debian's and Ubuntu's packages: what an installation would do, and packages without installing them.
//!
//! A package of the user's is never removed. Every installation is simulated first, and done with `--no-remove`; where
//! the simulation removes something, the packages are downloaded and unpacked instead, which changes nothing but
//! `target/`.

use crate::capture;
use anyhow::{Context, Result, bail};
use core::fmt;
use pkeys_launch::qemu::on_path;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// A package with the version that an installation would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    name: String,
    version: String,
}

impl Package {
    /// A name and a version.
    pub(super) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How this version, and no other, is asked for.
    pub(super) fn exactly(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The name that apt-get gives the file it downloads.
    pub(super) fn file_name(&self, architecture: &str) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{architecture}.deb", self.name)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// What an installation would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Installed or upgraded.
    pub(super) installs: Vec<Package>,
    /// The names of what would go.
    pub(super) removes: Vec<String>,
}

impl Plan {
    /// Reads what `apt-get install --simulate` prints: `Inst NAME [OLD] (NEW ORIGIN [ARCH])` and `Remv NAME [OLD]`.
    pub(super) fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Inst ") {
                let name = rest.split_whitespace().next();
                let version = rest
                    .split_once('(')
                    .and_then(|(_, rest)| rest.split_whitespace().next());
                if let (Some(name), Some(version)) = (name, version) {
                    let version = version.trim_end_matches(')');
                    plan.installs.push(Package::new(name, version));
                }
            } else if let Some(rest) = line.strip_prefix("Remv ") {
                plan.removes
                    .extend(rest.split_whitespace().next().map(str::to_owned));
            }
        }
        plan
    }
}

/// The system's apt.
#[derive(Debug)]
pub(super) struct Apt {
    is_root: bool,
}

impl Apt {
    /// `None` on a system without apt-get and dpkg-deb.
    pub(super) fn find() -> Option<Self> {
        on_path("apt-get")?;
        on_path("dpkg-deb")?;
        // SAFETY: takes nothing and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        Some(Self { is_root })
    }

    /// Whether packages can be installed.
    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    /// What installing `package` would do.
    pub(super) fn simulate(&self, package: &str) -> Result<Plan> {
        let args = [
            "install",
            "--simulate",
            "--yes",
            "--no-install-recommends",
            package,
        ];
        let text = self.with_lists(|| apt_get(&args, None))?;
        Ok(Plan::parse(&text))
    }

    /// Installs `package`, unless something would have to go.
    pub(super) fn install(&self, package: &str) -> Result<()> {
        let args = [
            "install",
            "--yes",
            "--no-remove",
            "--no-install-recommends",
            package,
        ];
        self.with_lists(|| apt_get(&args, None)).map(drop)
    }

    /// Downloads packages into a new folder and gives the files.
    pub(super) fn download(&self, packages: &[Package], into: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(into).with_context(|| into.display().to_string())?;
        let mut args = vec!["download".to_owned()];
        args.extend(packages.iter().map(Package::exactly));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.with_lists(|| apt_get(&args, Some(into)))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(into)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// The newest version of a package, and the names it depends on; `None` where the lists do not have it.
    pub(super) fn show(&self, package: &str) -> Option<(Package, Vec<String>)> {
        let text = self.with_lists(|| {
            let mut apt_cache = command("apt-cache");
            apt_cache.args(["show", "--no-all-versions", package]);
            output(apt_cache)
        });
        parse_show(&text.ok()?)
    }

    /// The names of all packages that start with `prefix`, of which the lists have a version.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        let found = self.with_lists(|| {
            let mut apt_cache = command("apt-cache");
            apt_cache.args(["search", "--names-only", &format!("^{prefix}")]);
            let text = output(apt_cache)?;
            if text.is_empty() {
                // Nothing found is no error to apt-cache, and may be for want of lists.
                bail!("no package is named {prefix}*");
            }
            Ok(text)
        });
        parse_search(&found.unwrap_or_default())
    }

    /// Does something; where it fails and the package lists can be renewed, renews them and tries again: they may be
    /// missing, as in a fresh container, or name versions that are gone from the mirror.
    fn with_lists(&self, action: impl Fn() -> Result<String>) -> Result<String> {
        match action() {
            Err(_) if self.is_root => {
                apt_get(&["update"], None)?;
                action()
            }
            result => result,
        }
    }
}

/// Unpacks a package into a folder; nothing is installed and no script of the package runs.
pub(super) fn unpack(package: &Path, into: &Path) -> Result<()> {
    let mut dpkg = command("dpkg-deb");
    dpkg.arg("-x").args([package, into]);
    output(dpkg).map(drop)
}

/// Unpacks what matches one of `patterns`, and nothing else; nothing need match.
pub(super) fn unpack_some(package: &Path, patterns: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| into.display().to_string())?;
    let mut tar = command("tar");
    tar.args(["--extract", "--file=-", "--wildcards", "--directory"])
        .arg(into)
        .args(patterns);
    // tar ends with an error for a pattern that matches nothing, so its status says nothing: the caller looks.
    through_tar(package, tar).map(drop)
}

/// Unpacks a package but for what matches one of `patterns`, into a folder in which links may stand for folders.
pub(super) fn unpack_without(package: &Path, patterns: &[&str], into: &Path) -> Result<()> {
    let mut tar = command("tar");
    tar.args(["--extract", "--file=-", "--keep-directory-symlink"])
        .args(["--preserve-permissions", "--no-same-owner"])
        .args(["--wildcards", "--wildcards-match-slash", "--anchored"])
        .args(
            patterns
                .iter()
                .map(|pattern| format!("--exclude={pattern}")),
        )
        .arg("--directory")
        .arg(into);
    let unpacked = through_tar(package, tar)?;
    if !unpacked.success() {
        bail!("tar {}: {unpacked}", package.display());
    }
    Ok(())
}

/// Hands a package's files to tar, and gives tar's status.
fn through_tar(package: &Path, mut tar: Command) -> Result<ExitStatus> {
    let mut dpkg = command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("dpkg-deb")?;
    let archive = dpkg.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = tar.stdin(archive).stderr(Stdio::null()).status();
    let packed = dpkg.wait().context("dpkg-deb")?;
    let unpacked = unpacked.context("tar")?;
    if !packed.success() {
        bail!("dpkg-deb {}: {packed}", package.display());
    }
    Ok(unpacked)
}

/// Reads what `apt-cache show` prints about one version of one package.
fn parse_show(text: &str) -> Option<(Package, Vec<String>)> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let package = Package::new(field("Package")?, field("Version")?);
    let depends = field("Depends").unwrap_or_default();
    let names = depends
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    Some((package, names))
}

/// Reads what `apt-cache search` prints: `NAME - DESCRIPTION`.
fn parse_search(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once(" - "))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

/// Runs apt-get in a folder and gives what it printed.
pub(super) fn apt_get(args: &[&str], folder: Option<&Path>) -> Result<String> {
    let mut apt = command("apt-get");
    // Somebody else's apt may be at work: wait for it.
    apt.args(["-o", "DPkg::Lock::Timeout=120"]).args(args);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    if let Some(folder) = folder {
        apt.current_dir(folder);
    }
    output(apt)
}

/// A program whose output is read, so in nobody's language.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    command
}

/// Runs a program to its end; the error holds all that it printed.
fn output(command: Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let done = capture::run(command, None, &mut |_| {}).with_context(|| name.clone())?;
    if !done.is_success() {
        bail!("{name} failed:\n{}", done.output);
    }
    Ok(done.output)
}

#[cfg(test)]
mod tests {
    use super::{Package, Plan, parse_search, parse_show};

    #[test]
    fn a_simulation_that_removes_is_seen() {
        let text = "\
Reading package lists...
The following packages will be REMOVED:
  qemu-utils
0 upgraded, 2 newly installed, 1 to remove and 132 not upgraded.
Remv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]
Inst seabios (1.16.2-1 Debian:12.15/oldstable [all])
Inst libc6 [2.36-8] (2.36-9 Debian:12.15/oldstable, Debian-Security:12 [amd64]) []
Conf seabios (1.16.2-1 Debian:12.15/oldstable [all])
";
        assert_eq!(
            Plan::parse(text),
            Plan {
                installs: vec![
                    Package::new("seabios", "1.16.2-1"),
                    Package::new("libc6", "2.36-9")
                ],
                removes: vec!["qemu-utils".into()],
            }
        );
    }

    #[test]
    fn a_package_that_is_there_plans_nothing() {
        let text = "qemu-system-x86 is already the newest version (1:7.2).\n\
            0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\nInst\nRemv\nInst x\n";
        assert_eq!(Plan::parse(text), Plan::default());
    }

    #[test]
    fn dependencies_are_read_without_versions_and_alternatives_apart() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\n\
            Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), a | b\n\
            Description: Linux\n Depends: nothing\n";
        let (found, depends) = parse_show(text).unwrap();
        assert_eq!(found, Package::new("linux-image-cloud-amd64", "6.1.192-2"));
        assert_eq!(depends, ["linux-image-6.1.0-56-cloud-amd64", "a", "b"]);
        assert_eq!(parse_show("Package: x\n"), None);
        assert_eq!(parse_show(""), None);
    }

    #[test]
    fn names_are_found_before_their_descriptions() {
        let text = "linux-image-6.12-cloud-amd64 - Linux for x86-64 cloud (meta-package)\n\
            N: a note\nlinux-image-amd64 - Linux - 64-bit\n";
        let names = ["linux-image-6.12-cloud-amd64", "linux-image-amd64"];
        assert_eq!(parse_search(text), names);
    }
}
