//! Compiles the Python modules of a root, which the packages' own scripts would have done.
//!
//! Without it every start of Python compiles what it imports, and an emulated CPU takes seconds for that. The root's own
//! Python does it, started through the root's own loader, so that the version is right whatever this machine has. The
//! files are taken as they are ("unchecked"), so that times of modification do not matter.

use super::inside;
use crate::capture;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a root's libraries are, of which the loader is one.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// The loader.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Compiles what is in `tree`, if Python is. A root that could not be compiled is only slower.
pub(super) fn compile(tree: &Path, note: &dyn Fn(&str)) -> Result<()> {
    for (program, modules) in interpreters(tree)? {
        let done = capture::run(command(tree, &program, &modules), None, &mut |_| {});
        if !done.is_ok_and(|done| done.is_success()) {
            note("some Python modules could not be compiled: they are slower to import");
        }
    }
    Ok(())
}

/// The interpreters of a root and the folders of their modules: `usr/bin/python3.11`, `usr/lib/python3.11`.
fn interpreters(tree: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let folder = tree.join("usr/bin");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some(minor) = name.strip_prefix("python3.") else {
            continue;
        };
        let modules = tree.join("usr/lib").join(name.as_ref());
        if minor.bytes().all(|byte| byte.is_ascii_digit()) && modules.is_dir() {
            found.push((folder.join(name.as_ref()), modules));
        }
    }
    found.sort();
    Ok(found)
}

/// How the modules below a folder are compiled.
fn command(tree: &Path, program: &Path, modules: &Path) -> Command {
    let libraries = LIBRARIES.map(|folder| tree.join(folder).display().to_string());
    // It may be an absolute link, which leads out of the tree where it is followed here.
    let loader = Path::new(LOADER);
    let loader = inside::resolve(tree, loader).unwrap_or_else(|| loader.into());
    let mut python = Command::new(inside::on_host(tree, &loader));
    python.arg("--library-path").arg(libraries.join(":"));
    python.arg(program);
    // No `site`, no modules of this machine's user.
    python.args(["-S", "-s", "-m", "compileall", "-q"]);
    python.args(["--invalidation-mode", "unchecked-hash"]);
    // The name that a backtrace shows: the guest's.
    python.arg("-s").arg(tree).args(["-p", "/"]);
    python.arg(modules);
    let dist_packages = tree.join("usr/lib/python3/dist-packages");
    if dist_packages.is_dir() {
        python.arg(dist_packages);
    }
    python.env_clear().env("PYTHONHOME", tree.join("usr"));
    python
}

#[cfg(test)]
mod tests {
    use super::{command, compile, interpreters};
    use std::fs;

    #[test]
    fn interpreters_are_found_with_their_modules() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        assert!(compile(tree, &|text| panic!("{text}")).is_ok());
        for name in ["python3", "python3.11", "python3.12", "python3.11-config"] {
            fs::write(tree.join("usr/bin").join(name), "").unwrap();
        }
        for name in ["python3", "python3.11"] {
            fs::create_dir_all(tree.join("usr/lib").join(name)).unwrap();
        }
        let (program, modules) = (
            tree.join("usr/bin/python3.11"),
            tree.join("usr/lib/python3.11"),
        );
        assert_eq!(
            interpreters(tree).unwrap(),
            [(program.clone(), modules.clone())]
        );
        let command = command(tree, &program, &modules);
        assert!(command.get_program().to_string_lossy().contains("/lib64/"));
        assert!(command.get_args().any(|arg| arg == modules.as_os_str()));
    }

    #[test]
    fn a_python_that_does_not_start_is_said_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["usr/bin", "usr/lib/python3.11"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("usr/bin/python3.11"), "").unwrap();
        let said = core::cell::Cell::new(0);
        compile(dir.path(), &|_| said.set(said.get() + 1)).unwrap();
        assert_eq!(said.get(), 1);
    }
}
