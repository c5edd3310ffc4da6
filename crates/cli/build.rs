//! Builds what travels inside the program: the kernel image of `pkeys boot`, the audit library of `pkeys guard`.
//!
//! Neither can be a dependency, so a second cargo builds each, and a copy goes into `OUT_DIR`. What cannot be built is no
//! reason to go without the other commands: the build warns, and the command says why it has nothing to run.

use core::error::Error;
use std::env;
use std::path::PathBuf;

#[path = "build/guard.rs"]
mod guard;
#[path = "build/image.rs"]
mod image;
#[path = "build/nested.rs"]
mod nested;

type Result<T> = core::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let variable = |name| env::var_os(name).ok_or_else(|| format!("no {name}"));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    let target = nested::folder(&out);
    image::embed(&package, &out, &target)?;
    guard::embed(&package, &out, &target)
}
