//! Builds what travels inside the program: the kernel image of `pkeys boot`, the audit library of `pkeys guard`.
//!
//! Neither can be a dependency, so a second cargo builds each, and a copy goes into `OUT_DIR`. It inherits nothing that was meant for the program:
//! flags, targets, profiles, clippy's wrapper. What cannot be built is no reason to go without the other commands: the build
//! warns, and the command says why it has nothing to run.

use core::error::Error;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

#[path = "build/guard.rs"]
mod guard;
#[path = "build/image.rs"]
mod image;

type Result<T> = core::result::Result<T, Box<dyn Error>>;

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

fn main() -> Result<()> {
    let variable = |name| env::var_os(name).ok_or_else(|| format!("no {name}"));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    let nested = nested(&out);
    image::embed(&package, &out, &nested)?;
    guard::embed(&package, &out, &nested)
}

/// Where the other cargos build: one folder for all profiles and targets of this package, as they build the same for each.
/// Cargo marks the folder that it builds in; without a mark it is `OUT_DIR`.
fn nested(out: &Path) -> PathBuf {
    let is_marked = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    let target = out.ancestors().filter(is_marked).last();
    target.unwrap_or(out).join("embedded")
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
