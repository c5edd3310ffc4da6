//! Builds the kernel image, which travels inside the program for `pkeys boot`.
//!
//! The image is a workspace of its own with flags of its own (`image/.cargo/config.toml`). So cargo runs in the image's folder;
//! and the flags are handed to it by name, because a table `[target.*]` in the user's own configuration would hide those of
//! the image's file, while what cargo reads from the environment comes before any file.
//!
//! Nothing is built anew unless a file changes that the image was made of, which the compiler lists.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::{Result, is_handed_on};

/// The package, and its program.
const PACKAGE: &str = "pkeys-image";

/// Lines of an error that are shown.
const MAX_LINES: usize = 12;

/// Builds the image and puts it where the program includes it from; without one, the reason.
pub(super) fn embed(package: &Path, out: &Path, nested: &Path) -> Result<()> {
    let embedded = out.join(PACKAGE);
    let trouble = match build(&package.join("../../image"), &nested.join("image")) {
        Ok(built) => {
            fs::copy(built, &embedded)?;
            String::new()
        }
        Err(error) => {
            fs::write(&embedded, "")?;
            // A file that there is not counts as changed: the next build tries again.
            println!("cargo::rerun-if-changed={}", out.join("absent").display());
            warn(&error.to_string())
        }
    };
    println!("cargo::rustc-env=PKEYS_IMAGE_TROUBLE={trouble}");
    Ok(())
}

/// Warns of an error and gives its first line.
fn warn(error: &str) -> String {
    println!("cargo::warning=the kernel image was not built, so `pkeys boot` will not run:");
    for line in error.lines().take(MAX_LINES) {
        println!("cargo::warning={line}");
    }
    error.lines().next().unwrap_or_default().to_owned()
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
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| !is_handed_on(name)) {
        cargo.env_remove(name);
    }
    let done = cargo
        .args(["build", "--release", "--locked", "--bin", PACKAGE])
        // Line tables are for a debugger, which does not look into this file; the table of symbols stays, for reports.
        .args(["--config", "profile.release.debug=false"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(image)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let from = said.find("error").unwrap_or_default();
        return Err(said[from..].trim().into());
    }
    let built = target.join("release").join(PACKAGE);
    watch(image, &built.with_extension("d"))?;
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

/// Tells cargo to come again when a file changes that the image was made of: those that the compiler lists, and the manifests
/// above them.
fn watch(image: &Path, listed: &Path) -> Result<()> {
    let list = fs::read_to_string(listed)?;
    // `PROGRAM: FILE FILE ..`, a blank within a name behind a backslash.
    let (_, files) = list
        .split_once(": ")
        .ok_or("a list of files without files")?;
    let files = files.trim().replace("\\ ", "\0");
    let mut watched: Vec<PathBuf> = files
        .split(' ')
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .collect();
    let manifests = watched.iter().flat_map(|file| file.ancestors().skip(1));
    let manifests: Vec<PathBuf> = manifests
        .map(|folder| folder.join("Cargo.toml"))
        .filter(|manifest| manifest.is_file())
        .collect();
    watched.extend(manifests);
    watched.extend([image.join("Cargo.lock"), image.join(".cargo/config.toml")]);
    watched.sort();
    watched.dedup();
    for file in watched {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    Ok(())
}
