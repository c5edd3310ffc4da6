//! What is in a guest beside its first process: a root of packages, if any, and files of this machine.
//!
//! Every path is followed through the root's links before something is put there, so that `/lib/x.so` lands where the root's
//! `/lib` leads. A file that is put in comes before one of the root.

use super::elf::{self, Kind};
use super::root::Root;
use super::{inside, libs};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where a program that is put in for being run stands.
const PROGRAMS: &str = "/program";

/// Folders that something else is mounted on, and what the first process is and reads.
const TAKEN: [&str; 5] = ["/proc", "/sys", "/dev", "/init", "/tests"];

/// Where the C library is on most machines, and so the loader looks.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Folders in which a loader looks by itself.
const SEARCHED: [&str; 5] = [
    "/lib/x86_64-linux-gnu",
    LIBRARIES,
    "/lib64",
    "/usr/lib64",
    "/usr/lib",
];

/// Enough of a file to tell what kind of program it is: headers stand at its start.
const HEAD_LEN_BYTES: u64 = 1 << 16;

/// Root and files.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    root: Option<Root>,
    /// By their paths in the guest.
    files: BTreeMap<PathBuf, PathBuf>,
}

impl Contents {
    /// A root of these packages and all that they depend on; `note` hears what is got for it.
    pub(crate) fn of_packages(
        workspace: &Workspace,
        names: &[String],
        note: &dyn Fn(&str),
    ) -> Result<Self> {
        Ok(Self {
            root: Some(Root::find_or_make(&workspace.guest_dir(), names, note)?),
            files: BTreeMap::new(),
        })
    }

    /// Puts a file or folder of this machine at an absolute path of the guest.
    pub(crate) fn put(&mut self, host: &Path, guest: &Path) -> Result<()> {
        if !host.exists() {
            bail!("{}: there is no such file here", host.display());
        }
        if !guest.is_absolute() || TAKEN.iter().any(|folder| guest.starts_with(folder)) {
            bail!("{}: nothing can be put there in a guest", guest.display());
        }
        let place = inside::resolve_place(&self.tree(), guest);
        let place = place.with_context(|| format!("{}: not a path for a file", guest.display()))?;
        self.files.insert(place, host.to_owned());
        Ok(())
    }

    /// Puts in the shared libraries that a program or library of this machine needs and that are not in the guest yet.
    pub(crate) fn put_libraries_of(&mut self, host: &Path) -> Result<()> {
        let needed = libs::needed(host)?;
        // Whatever the loader is, it looks where the C library is.
        let c_library = needed.iter().find(|one| one.name.starts_with("libc.so"));
        let folder = c_library
            .and_then(|one| one.file.as_deref()?.parent())
            .unwrap_or(Path::new(LIBRARIES))
            .to_owned();
        for one in &needed {
            let is_path = one.name.contains('/');
            let is_there = if is_path {
                self.has(Path::new(&one.name))
            } else {
                let mut folders = SEARCHED.iter().map(Path::new).chain([folder.as_path()]);
                folders.any(|folder| self.has(&folder.join(&one.name)))
            };
            if is_there {
                continue;
            }
            let Some(file) = &one.file else {
                bail!(
                    "{} needs {}, which is not on this machine",
                    host.display(),
                    one.name
                );
            };
            // A name that is a path replaces the folder.
            self.put(file, &folder.join(&one.name))?;
        }
        Ok(())
    }

    /// The path in the guest of the program called `name`: one that is there, or else a file of this machine, which is put
    /// in. Refuses what the guest could not start.
    pub(crate) fn program(&mut self, name: &Path, with_libraries: bool) -> Result<PathBuf> {
        if name.is_absolute() && self.has(name) {
            return Ok(name.to_owned());
        }
        if !name.is_file() {
            let place = if self.root.is_some() {
                "neither in the guest's root nor on this machine"
            } else {
                "there is no such program on this machine"
            };
            bail!("{}: {place}", name.display());
        }
        let file_name = name.file_name().context("the program has no name")?;
        let guest = Path::new(PROGRAMS).join(file_name);
        self.put(name, &guest)?;
        if with_libraries {
            self.put_libraries_of(name)?;
        }
        self.check_start(name)?;
        Ok(guest)
    }

    /// Puts in the libraries of everything that was put in so far.
    pub(crate) fn put_all_libraries(&mut self) -> Result<()> {
        let hosts: Vec<PathBuf> = self.files.values().cloned().collect();
        hosts
            .iter()
            .filter(|host| host.is_file())
            .try_for_each(|host| self.put_libraries_of(host))
    }

    /// Whether the guest has what starts this program of this machine.
    fn check_start(&self, host: &Path) -> Result<()> {
        let name = host.display();
        let mut head = Vec::new();
        File::open(host)
            .and_then(|file| file.take(HEAD_LEN_BYTES).read_to_end(&mut head))
            .with_context(|| name.to_string())?;
        match elf::kind(&head) {
            Kind::Static => Ok(()),
            Kind::Foreign => bail!("{name}: not a program for 64-bit Linux"),
            Kind::Dynamic(loader) if !self.has(Path::new(&loader)) => bail!(
                "{name}: dynamically linked, and the guest has no {loader}: add --with-libs or --packages, or build it \
                 with RUSTFLAGS=-Ctarget-feature=+crt-static and --target"
            ),
            Kind::Script(program) if !self.has(Path::new(&program)) => {
                bail!("{name}: a script for {program}, which the guest does not have")
            }
            Kind::Dynamic(_) | Kind::Script(_) => Ok(()),
        }
    }

    /// Whether a path of the guest leads to a file.
    fn has(&self, guest: &Path) -> bool {
        let tree = self.tree();
        let Some(found) = inside::resolve(&tree, guest) else {
            return false;
        };
        let place = inside::resolve_place(&tree, guest);
        self.files.contains_key(&found)
            || place.is_some_and(|place| self.files.contains_key(&place))
            || self.is_below_a_folder(&found)
            || inside::on_host(&tree, &found).is_file()
    }

    /// Whether a path leads to a file in a folder that was put in.
    fn is_below_a_folder(&self, guest: &Path) -> bool {
        guest.ancestors().skip(1).any(|above| {
            let host = self.files.get(above);
            let rest = guest.strip_prefix(above);
            host.zip(rest.ok())
                .is_some_and(|(host, rest)| host.join(rest).is_file())
        })
    }

    /// The root's files on this machine; without a root, a folder that is not there.
    pub(crate) fn tree(&self) -> PathBuf {
        let none = || PathBuf::from("/nonexistent");
        self.root.as_ref().map_or_else(none, Root::tree)
    }

    /// Whether there is a root of packages.
    pub(super) fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The root as an archive.
    pub(super) fn archive(&self) -> Option<PathBuf> {
        self.root.as_ref().map(Root::archive)
    }

    /// The files: where they are in the guest, and here.
    pub(super) fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.with_context(|| format!("{}: the name is not UTF-8", path.display()))
        };
        self.files
            .iter()
            .map(|(guest, host)| Ok((text(guest)?, host.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Contents, LIBRARIES};
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// The error's text.
    fn refused<T: core::fmt::Debug>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_dynamic_program_needs_its_loader() {
        let this = env::current_exe().unwrap();
        let mut contents = Contents::default();
        let err = refused(contents.program(&this, false));
        assert!(
            err.contains("dynamically linked") && !err.contains('\n'),
            "{err}"
        );
        let mut contents = Contents::default();
        let guest = contents.program(&this, true).unwrap();
        assert_eq!(guest.parent(), Some(Path::new("/program")));
        let files = contents.files().unwrap();
        assert!(
            files.iter().any(|(guest, _)| guest.ends_with("/libc.so.6")),
            "{files:?}"
        );
    }

    #[test]
    fn a_program_that_was_put_in_is_found_there() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/program/sh\n").unwrap();
        let mut contents = Contents::default();
        assert!(refused(contents.program(&script, false)).contains("a script for /program/sh"));
        contents.put(&script, Path::new("/program/sh")).unwrap();
        contents.program(&script, false).unwrap();
        contents.put(dir.path(), Path::new("/folder")).unwrap();
        let inside = Path::new("/folder/script");
        assert_eq!(contents.program(inside, false).unwrap(), inside);
        let missing = Path::new("/folder/missing");
        assert!(refused(contents.program(missing, false)).contains("no such program"));
    }

    #[test]
    fn places_that_are_none_are_refused() {
        let mut contents = Contents::default();
        let here = Path::new("Cargo.toml");
        for bad in ["/proc/x", "/sys", "/dev/null", "/init", "relative", "/"] {
            refused(contents.put(here, Path::new(bad)));
        }
        let err = refused(contents.put(Path::new("/nonexistent"), Path::new("/x")));
        assert_eq!(err, "/nonexistent: there is no such file here");
        assert_eq!(contents.files().unwrap(), []);
    }

    #[test]
    fn libraries_that_are_there_are_not_put_in_again() {
        let this = env::current_exe().unwrap();
        let own = PathBuf::from(LIBRARIES).join("libc.so.6");
        let mut contents = Contents::default();
        contents.put(Path::new("Cargo.toml"), &own).unwrap();
        contents.put_libraries_of(&this).unwrap();
        let files = contents.files().unwrap();
        let libcs = files
            .iter()
            .filter(|(guest, _)| guest.ends_with("/libc.so.6"));
        assert_eq!(libcs.count(), 1, "{files:?}");
    }
}
