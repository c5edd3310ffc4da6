//! Builds the audit library of `pkeys guard`, which travels inside the program.
//!
//! Cargo has no stable way to depend on another package's shared object. Where the library cannot be built the program does
//! without, and `pkeys guard` says so.

use std::path::{Path, PathBuf};

use super::{Result, nested};

/// The file that is made of the package.
const FILE: &str = "libpkeys_guard.so";

/// Builds the library and puts it where the program includes it from.
pub(super) fn embed(package: &Path, out: &Path, target: &Path) -> Result<()> {
    let built = build(package, &target.join("guard"));
    let what = "the audit library was not built, so `pkeys guard` will not run";
    nested::embed(built, &out.join(FILE), what)?;
    Ok(())
}

/// Builds the library and gives its file.
fn build(package: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = nested::cargo("rustc", &package.join("../guard"), target);
    // Small: each start copies the file, and maps it twice. What comes from elsewhere renders reports, and is in no hurry.
    cargo
        .args(["--crate-type", "cdylib"])
        .args(["--config", "profile.release.strip=\"symbols\""])
        .args(["--config", "profile.release.lto=\"fat\""])
        .args(["--config", "profile.release.codegen-units=1"])
        .args(["--config", "profile.release.package.\"*\".opt-level=\"s\""]);
    nested::run(cargo)?;
    let built = target.join("release").join(FILE);
    nested::watch(&built, [package.join("../../Cargo.lock")])?;
    Ok(built)
}
