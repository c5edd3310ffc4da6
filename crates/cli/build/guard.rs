//! Builds the audit library of `pkeys guard`, which travels inside the program.
//!
//! Cargo has no stable way to depend on another package's shared object, so a second cargo builds it, without what
//! was meant for the program. Where it cannot be built the program does without, and `pkeys guard` says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::{Result, is_handed_on};

/// The package, and the file that is made of it.
const PACKAGE: &str = "pkeys-guard";
const FILE: &str = "libpkeys_guard.so";

/// What it is made of, from the folder of this package.
const SOURCES: [&str; 5] = [
    "../guard",
    "../pkeys",
    "../core",
    "../arch",
    "../../Cargo.toml",
];

/// Builds the library and puts it where the program includes it from.
pub(super) fn embed(package: &Path, out: &Path, nested: &Path) -> Result<()> {
    for source in SOURCES {
        for part in ["src", "Cargo.toml", ""] {
            let path = package.join(source).join(part);
            if path.is_file() || part == "src" && path.is_dir() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    let bytes = match build(package, &nested.join("guard")) {
        Ok(file) => fs::read(file)?,
        Err(error) => {
            println!(
                "cargo::warning=the audit library was not built, so `pkeys guard` will not run: {error}"
            );
            Vec::new()
        }
    };
    Ok(fs::write(out.join(FILE), bytes)?)
}

fn build(package: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| !is_handed_on(name)) {
        cargo.env_remove(name);
    }
    let done = cargo
        .args([
            "rustc",
            "--release",
            "--package",
            PACKAGE,
            "--crate-type",
            "cdylib",
        ])
        .args(["--config", "profile.release.strip=\"debuginfo\""])
        .args(["--config", "profile.release.lto=\"thin\""])
        .arg("--target-dir")
        .arg(target)
        .current_dir(package.join("../guard"))
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let from = said.find("error").unwrap_or_default();
        return Err(said[from..]
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
            .into());
    }
    Ok(target.join("release").join(FILE))
}
