//! Finds QEMU, or gets it.
//!
//! In this order: the one on `PATH`; the one unpacked here before; on Debian or Ubuntu, as root, the distribution's,
//! installed, or unpacked into `target/` where an installation would remove something; else the exact command to run.

use super::apt::{self, Apt, Plan};
use anyhow::{Context, Result, bail};
use pkeys_launch::Qemu;
use pkeys_launch::qemu::{PACKAGE, PROGRAM, on_path};
use std::fs;
use std::path::Path;

/// Finds QEMU; where there is none, gets it into `dir` or the system.
pub(crate) fn find_or_install(dir: &Path, note: &dyn Fn(&str)) -> Result<Qemu> {
    let unpacked = dir.join("qemu");
    let missing = match Qemu::find(Some(&unpacked)) {
        Ok(qemu) => return Ok(qemu),
        Err(missing) => missing,
    };
    let Some(apt) = Apt::find().filter(Apt::is_root) else {
        bail!(missing);
    };
    let plan = apt.simulate(PACKAGE)?;
    if plan.removes.is_empty() {
        note(&format!("installing {PACKAGE} with apt-get"));
        apt.install(PACKAGE)?;
        let program = on_path(PROGRAM)
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
