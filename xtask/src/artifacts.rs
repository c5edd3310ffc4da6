//! What cargo builds, by the files.
//!
//! A program that is run several times in one comparison is built once and started by its path: `cargo run` would build
//! it anew where a source file has changed in the meantime, and compare two different programs.

use crate::capture;
use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message};
use std::path::PathBuf;
use std::process::Command;

/// Builds a program of a package in release mode and gives its file. `doing` hears what the compiler is at.
pub(crate) fn program(
    mut cargo: Command,
    package: &str,
    name: &str,
    doing: &dyn Fn(&str),
) -> Result<PathBuf> {
    cargo.args(["build", "--release", "--package", package, "--bin", name]);
    build(cargo, doing)?
        .into_iter()
        .filter(|artifact| artifact.target.name == name)
        .find_map(|artifact| artifact.executable)
        .map(Into::into)
        .with_context(|| format!("cargo built no {name}"))
}

/// Runs cargo and gives what it built; the error holds what the compiler said.
pub(crate) fn build(mut cargo: Command, doing: &dyn Fn(&str)) -> Result<Vec<Artifact>> {
    cargo.arg("--message-format=json-render-diagnostics");
    let mut json = String::new();
    let mut said = String::new();
    let done = capture::run(cargo, None, &mut |line| {
        let out = if line.starts_with('{') {
            &mut json
        } else {
            doing(line.trim());
            &mut said
        };
        out.push_str(line);
        out.push('\n');
    })
    .context("cargo")?;
    if !done.is_success() {
        bail!("building failed:\n{said}");
    }
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(json.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message.context("reading cargo's messages")? {
            artifacts.push(artifact);
        }
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::program;
    use crate::workspace::Workspace;

    #[test]
    fn what_cargo_says_is_in_the_error() {
        let workspace = Workspace::find().unwrap();
        let err = program(workspace.cargo(), "no-such-package", "p", &|_| {}).unwrap_err();
        assert!(err.to_string().contains("`no-such-package`"), "{err}");
    }
}
