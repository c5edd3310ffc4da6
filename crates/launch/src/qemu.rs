//! Where QEMU is.
//!
//! On `PATH`, or below a folder that the caller names: one that a distribution's packages were unpacked into, without
//! installing them, will do. Where there is none, the error names the package and the command that installs it.

use core::fmt;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Debian's and Ubuntu's package.
pub const PACKAGE: &str = "qemu-system-x86";

/// Package managers, and the whole command of each. The first that is there is the system's.
const INSTALL: [(&str, &str); 5] = [
    (
        "apt-get",
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86",
    ),
    ("dnf", "sudo dnf install -y qemu-system-x86-core"),
    ("pacman", "sudo pacman -S --noconfirm qemu-system-x86"),
    ("zypper", "sudo zypper install -y qemu-x86"),
    ("apk", "sudo apk add qemu-system-x86_64"),
];

/// Where libraries are in an unpacked package.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Where firmware is in an unpacked package.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

/// A QEMU that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Qemu {
    /// Installed, with everything where it expects it.
    Installed(PathBuf),
    /// Unpacked below this folder, which it does not know of.
    Unpacked(PathBuf),
}

impl Qemu {
    /// The one on `PATH`; if there is none, the one in `folder`, where the packages were unpacked or the program is.
    ///
    /// # Errors
    ///
    /// [`NoQemu`] where neither has it.
    pub fn find(folder: Option<&Path>) -> Result<Self, NoQemu> {
        if let Some(program) = on_path(PROGRAM) {
            return Ok(Self::Installed(program));
        }
        folder.and_then(Self::below).ok_or_else(|| NoQemu {
            folder: folder.map(Path::to_owned),
            install: install_command(),
        })
    }

    /// The one in a folder.
    #[must_use]
    pub fn below(folder: &Path) -> Option<Self> {
        if folder.join("usr/bin").join(PROGRAM).is_file() {
            return Some(Self::Unpacked(folder.to_owned()));
        }
        let program = folder.join(PROGRAM);
        program.is_file().then_some(Self::Installed(program))
    }

    /// The command that starts it, without arguments of ours.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Installed(program) => Command::new(program),
            Self::Unpacked(root) => {
                let mut qemu = Command::new(root.join("usr/bin").join(PROGRAM));
                qemu.env("LD_LIBRARY_PATH", libraries(root));
                // The emulator itself is a loadable module in Debian's build.
                qemu.env("QEMU_MODULE_DIR", root.join(LIBRARIES[0]).join("qemu"));
                for folder in FIRMWARE {
                    qemu.arg("-L").arg(root.join(folder));
                }
                qemu
            }
        }
    }
}

/// There is no QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoQemu {
    /// The folder that was looked in, beside `PATH`.
    pub folder: Option<PathBuf>,
    /// The command that installs it here; `None` where no known package manager is.
    pub install: Option<&'static str>,
}

impl fmt::Display for NoQemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {PROGRAM} on PATH")?;
        if let Some(folder) = &self.folder {
            write!(f, " or in {}", folder.display())?;
        }
        write!(f, "; the package is {PACKAGE} on Debian and Ubuntu")?;
        match self.install {
            Some(command) => write!(f, "; run: {command}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for NoQemu {}

/// The library folders of an unpacked QEMU, as the loader wants them.
fn libraries(root: &Path) -> OsString {
    let folders = LIBRARIES.map(|folder| root.join(folder));
    // A folder with a colon in its name cannot be given; the loader then says which library it misses.
    env::join_paths(folders).unwrap_or_default()
}

/// Where a program is, among the folders of `PATH`.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The command that installs QEMU on this system.
fn install_command() -> Option<&'static str> {
    INSTALL
        .iter()
        .find(|(manager, _)| on_path(manager).is_some())
        .map(|(_, command)| *command)
}

#[cfg(test)]
mod tests {
    use super::{NoQemu, PROGRAM, Qemu, on_path};
    use std::fs;
    use std::path::{Path, PathBuf};

    #[test]
    fn an_unpacked_qemu_is_told_where_its_parts_are() {
        let command = Qemu::Unpacked(PathBuf::from("/q")).command();
        assert_eq!(command.get_program(), "/q/usr/bin/qemu-system-x86_64");
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(
            args[..4],
            ["-L", "/q/usr/share/qemu", "-L", "/q/usr/share/seabios"]
        );
        let path = command
            .get_envs()
            .find(|(key, _)| *key == "LD_LIBRARY_PATH")
            .and_then(|(_, value)| value);
        assert_eq!(
            path.unwrap(),
            "/q/usr/lib/x86_64-linux-gnu:/q/lib/x86_64-linux-gnu"
        );
    }

    #[test]
    fn an_installed_qemu_is_started_as_it_is() {
        let command = Qemu::Installed(PathBuf::from("/usr/bin/q")).command();
        assert_eq!(command.get_args().count() + command.get_envs().count(), 0);
    }

    #[test]
    fn a_folder_has_the_program_itself_or_unpacked_packages() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(Qemu::below(root), None);
        let program = root.join(PROGRAM);
        fs::write(&program, "").unwrap();
        assert_eq!(Qemu::below(root), Some(Qemu::Installed(program)));
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin").join(PROGRAM), "").unwrap();
        assert_eq!(Qemu::below(root), Some(Qemu::Unpacked(root.to_owned())));
        assert_eq!(Qemu::below(Path::new("/nonexistent")), None);
    }

    #[test]
    fn what_is_missing_is_said_with_the_package() {
        let missing = NoQemu {
            folder: Some("/q".into()),
            install: None,
        };
        assert_eq!(
            missing.to_string(),
            "there is no qemu-system-x86_64 on PATH or in /q; the package is qemu-system-x86 on Debian and Ubuntu"
        );
        let missing = NoQemu {
            folder: None,
            install: Some("get it"),
        };
        assert!(missing.to_string().ends_with("; run: get it"), "{missing}");
    }

    #[test]
    fn programs_are_looked_up_on_the_path() {
        assert!(on_path("sh").is_some());
        assert_eq!(on_path("no-such-program-anywhere"), None);
    }
}
