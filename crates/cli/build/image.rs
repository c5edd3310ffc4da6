//! Builds the kernel image, which travels inside the program for `pkeys boot`.
//!
//! The image is a workspace of its own with flags of its own (`image/.cargo/config.toml`). So cargo runs in the image's folder;
//! and the flags are handed to it by name, because a table `[target.*]` in the user's own configuration would hide those of
//! the image's file, while what cargo reads from the environment comes before any file.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Result, nested};

/// The package's program.
const PROGRAM: &str = "pkeys-image";

/// Builds the image and puts it where the program includes it from; without one, the reason.
pub(super) fn embed(package: &Path, out: &Path, target: &Path) -> Result<()> {
    let built = build(&package.join("../../image"), &target.join("image"));
    let what = "the kernel image was not built, so `pkeys boot` will not run";
    let trouble = nested::embed(built, &out.join(PROGRAM), what)?;
    println!(
        "cargo::rustc-env=PKEYS_IMAGE_TROUBLE={}",
        trouble.unwrap_or_default()
    );
    Ok(())
}

/// Builds the image and gives its file.
fn build(image: &Path, target: &Path) -> Result<PathBuf> {
    let image = &image
        .canonicalize()
        .map_err(|error| format!("{}: {error}", image.display()))?;
    let config = image.join(".cargo/config.toml");
    let flags = flags(
        &fs::read_to_string(&config).map_err(|error| format!("{}: {error}", config.display()))?,
    )?;
    let mut cargo = nested::cargo("build", image, target);
    cargo
        .args(["--bin", PROGRAM])
        // Line tables are for a debugger, which does not look into this file; the table of symbols stays, for reports.
        .args(["--config", "profile.release.debug=false"])
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    nested::run(cargo)?;
    let built = target.join("release").join(PROGRAM);
    nested::watch(&built, [image.join("Cargo.lock"), config])?;
    Ok(built)
}

/// The flags in the image's configuration, as cargo takes them from the environment: with a byte between them that no flag has.
fn flags(config: &str) -> Result<String> {
    let list = config
        .split_once("rustflags = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .ok_or("the image's .cargo/config.toml has no `rustflags = [..]`")?;
    let flags: Vec<&str> = list.0.split('"').skip(1).step_by(2).collect();
    Ok(flags.join("\u{1f}"))
}
