//! A cargo within cargo: builds a package that cannot be a dependency, and has its sources watched.
//!
//! It inherits nothing that was meant for the program: flags, targets, profiles, clippy's wrapper. It builds what the lock file
//! says, as the outer one does.
//!
//! Nothing is built anew unless a file changes that the product was made of, which the compiler lists.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;

/// What cargo may know from the environment, of all that starts with `CARGO`: where it is, where crates come from, and how many
/// jobs it may have.
const HANDED_ON: [&str; 8] = [
    "CARGO",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTRY_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
];

/// What else would change what is built.
const NOT_OURS: [&str; 3] = ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"];

/// Lines of an error that are shown.
const MAX_LINES: usize = 12;

/// Where the other cargos build: one folder for all profiles and targets of this package, as they build the same for each.
/// Cargo marks the folder that it builds in; without a mark it is `OUT_DIR`.
pub(super) fn folder(out: &Path) -> PathBuf {
    let is_marked = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    let target = out.ancestors().filter(is_marked).last();
    target.unwrap_or(out).join("embedded")
}

/// The other cargo, to be run in a folder. What it is to build, and with what flags, is the caller's to say.
pub(super) fn cargo(command: &str, folder: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| !is_handed_on(name)) {
        cargo.env_remove(name);
    }
    cargo
        .args([command, "--release", "--locked", "--target-dir"])
        .arg(target)
        .current_dir(folder)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null());
    cargo
}

/// Runs the other cargo. An error is what it says, from the first one on.
pub(super) fn run(mut cargo: Command) -> Result<()> {
    let done = cargo.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let from = said.find("error").unwrap_or_default();
    Err(said[from..].trim().into())
}

/// Puts what was built where the program includes it from; without it, an empty file. Then it warns, and gives the error's first
/// line.
pub(super) fn embed(built: Result<PathBuf>, to: &Path, what: &str) -> Result<Option<String>> {
    let error = match built {
        Ok(built) => {
            fs::copy(built, to)?;
            return Ok(None);
        }
        Err(error) => error.to_string(),
    };
    fs::write(to, "")?;
    // A file that there is not counts as changed: the next build tries again.
    let absent = to.with_extension("absent");
    println!("cargo::rerun-if-changed={}", absent.display());
    println!("cargo::warning={what}:");
    for line in error.lines().take(MAX_LINES) {
        println!("cargo::warning={line}");
    }
    Ok(Some(error.lines().next().unwrap_or_default().to_owned()))
}

/// Tells cargo to come again when a file changes that a product was made of: those that the compiler lists beside it, the
/// manifests above them, and `others`.
pub(super) fn watch(built: &Path, others: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let list = fs::read_to_string(built.with_extension("d"))?;
    // `PRODUCT: FILE FILE ..`, a blank within a name behind a backslash.
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
    watched.extend(others);
    watched.sort();
    watched.dedup();
    for file in watched {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    Ok(())
}

/// Whether a variable of the environment may reach the other cargo.
fn is_handed_on(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return true;
    };
    if NOT_OURS.contains(&name) {
        return false;
    }
    !name.starts_with("CARGO")
        || HANDED_ON
            .iter()
            .any(|known| name == *known || (known.ends_with('_') && name.starts_with(known)))
}
