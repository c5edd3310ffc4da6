//! Finds QEMU, or gets it.
//!
//! In this order: the one on `PATH`; the one unpacked here before; on Debian or Ubuntu, as root, the distribution's,
//! installed, or unpacked into `target/` where an installation would remove something; else the exact command to run.

use super::apt::{self, Apt, Plan};
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";

/// Debian's and Ubuntu's package.
const PACKAGE: &str = "qemu-system-x86";

/// Other systems: their package manager, and the whole command.
const ELSEWHERE: [(&str, &str); 4] = [
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Qemu {
    /// Installed, with everything where it expects it.
    Installed(PathBuf),
    /// Unpacked below this folder, which it does not know of.
    Unpacked(PathBuf),
}

impl Qemu {
    /// The command that starts it, without arguments of ours.
    pub(crate) fn command(&self) -> Command {
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

/// The library folders of an unpacked QEMU, as the loader wants them.
fn libraries(root: &Path) -> OsString {
    let folders = LIBRARIES.map(|folder| root.join(folder));
    // A folder with a colon in its name cannot be given; the loader then says which library it misses.
    env::join_paths(folders).unwrap_or_default()
}

/// Finds QEMU; where there is none, gets it into `dir` or the system.
pub(crate) fn find_or_install(dir: &Path, note: &dyn Fn(&str)) -> Result<Qemu> {
    let unpacked = dir.join("qemu");
    if let Some(program) = apt::on_path(PROGRAM) {
        return Ok(Qemu::Installed(program));
    }
    if unpacked.is_dir() {
        return Ok(Qemu::Unpacked(unpacked));
    }
    let apt = match Apt::find() {
        Some(apt) if apt.is_root() => apt,
        Some(_) => bail!(missing(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86"
        )),
        None => bail!(missing(command_elsewhere())),
    };
    let plan = apt.simulate(PACKAGE)?;
    if plan.removes.is_empty() {
        note(&format!("installing {PACKAGE} with apt-get"));
        apt.install(PACKAGE)?;
        let program = apt::on_path(PROGRAM)
            .with_context(|| format!("{PACKAGE} is installed and has no {PROGRAM}"))?;
        return Ok(Qemu::Installed(program));
    }
    note(&format!(
        "installing {PACKAGE} would remove {}: unpacking it into {} instead",
        plan.removes.join(", "),
        unpacked.display()
    ));
    unpack(&apt, &plan, dir, &unpacked)?;
    Ok(Qemu::Unpacked(unpacked))
}

/// Downloads what `plan` would install and unpacks it; `to` appears when all of it is there.
fn unpack(apt: &Apt, plan: &Plan, dir: &Path, to: &Path) -> Result<()> {
    let packages = dir.join("qemu-packages");
    let parts = dir.join("qemu-parts");
    for old in [&packages, &parts] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
        }
    }
    fs::create_dir_all(&parts).with_context(|| parts.display().to_string())?;
    for package in apt.download(&plan.installs, &packages)? {
        apt::unpack(&package, &parts)?;
    }
    fs::remove_dir_all(&packages)?;
    fs::rename(&parts, to).with_context(|| to.display().to_string())
}

/// The command for a system without apt.
fn command_elsewhere() -> &'static str {
    ELSEWHERE
        .iter()
        .find(|(manager, _)| apt::on_path(manager).is_some())
        .map_or(
            "(install qemu-system-x86_64 with this system's package manager)",
            |(_, command)| command,
        )
}

/// What to tell a user who has to install it.
fn missing(command: &str) -> String {
    format!("{PROGRAM} is not installed. Run\n\n    {command}\n\nand start again.")
}

#[cfg(test)]
mod tests {
    use super::Qemu;
    use std::path::PathBuf;

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
}
