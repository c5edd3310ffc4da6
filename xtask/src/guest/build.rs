//! Builds what runs in the guest: static programs, because the guest has no libraries.
//!
//! The target is named although it is the host's own: cargo then keeps the flags away from build scripts and procedural
//! macros, which must stay dynamic. The test binaries are not stripped: a test that a fault report names file and line
//! needs the line tables.

use crate::artifacts;
use crate::workspace::Workspace;
use anyhow::Result;
use cargo_metadata::{Artifact, Package, TargetKind};
use std::path::PathBuf;
use std::process::Command;

/// The packages whose tests belong to the process tier, in the order of running. `pkeys-core` is not among them: pure
/// values are the same without keys, and its exhaustive tests take minutes where a CPU is emulated.
const PACKAGES: [&str; 3] = ["pkeys-arch", "pkeys-machine", "pkeys"];

/// Test targets that need more than a kernel: a compiler.
const LEFT_OUT: [&str; 1] = ["compile_fail"];

/// Packages of which one test target alone is about real keys.
const ONLY: [(&str, &str); 1] = [("pkeys-machine", "silicon")];

/// The only target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// How the tests are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// As `cargo test` does.
    Debug,
    /// With `--release`.
    Release,
}

impl Profile {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Debug, Self::Release];

    /// Its name, also as a folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestBinary {
    /// Profile, package, and which of its tests.
    pub(super) name: String,
    /// Its package's place in the order of running.
    rank: Option<usize>,
    /// The profile, as a folder.
    profile: Profile,
    /// The file.
    pub(super) file: PathBuf,
}

impl TestBinary {
    /// Where it is in the guest.
    pub(super) fn guest_path(&self) -> String {
        let file = self.file.file_name().unwrap_or_default();
        format!("/tests/{}/{}", self.profile.name(), file.to_string_lossy())
    }
}

/// Everything built for the tests.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// The test binaries.
    pub(super) tests: Vec<TestBinary>,
    /// Programs that tests start, which know them by the path on this machine.
    pub(super) helpers: Vec<PathBuf>,
}

impl Built {
    /// Takes what was built for another profile, too.
    pub(super) fn add(&mut self, other: Self) {
        self.tests.extend(other.tests);
        self.helpers.extend(other.helpers);
    }
}

/// Builds the first process of the guest.
pub(super) fn init(workspace: &Workspace, doing: &dyn Fn(&str)) -> Result<PathBuf> {
    program(workspace, "guest-init", "guest-init", doing)
}

/// Builds a program of a package for the guest, in release mode.
pub(crate) fn program(
    workspace: &Workspace,
    package: &str,
    name: &str,
    doing: &dyn Fn(&str),
) -> Result<PathBuf> {
    artifacts::program(cargo(workspace), package, name, doing)
}

/// Builds the tests of the process tier.
pub(super) fn tests(
    workspace: &Workspace,
    profile: Profile,
    doing: &dyn Fn(&str),
) -> Result<Built> {
    let mut cargo = cargo(workspace);
    cargo.args(["test", "--no-run"]);
    cargo.args(PACKAGES.map(|package| format!("--package={package}")));
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let built = artifacts::build(cargo, doing)?;
    Ok(choose(built, profile, &workspace.metadata.packages))
}

/// Cargo, building static programs into a folder of their own.
fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = workspace.plain_cargo(&workspace.guest_dir().join("build"));
    cargo
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("CARGO_BUILD_TARGET", TARGET);
    cargo
}

/// Chooses test binaries, in order, and the programs that go with them.
fn choose(artifacts: Vec<Artifact>, profile: Profile, packages: &[Package]) -> Built {
    let mut built = Built::default();
    for artifact in artifacts {
        let Some(file) = artifact.executable else {
            continue;
        };
        let target = &artifact.target;
        let file = PathBuf::from(file);
        if artifact.profile.test {
            if LEFT_OUT.contains(&target.name.as_str()) {
                continue;
            }
            let package = packages
                .iter()
                .find(|package| package.manifest_path == artifact.manifest_path)
                .map_or("?", |package| package.name.as_str());
            if ONLY
                .iter()
                .any(|(name, only)| *name == package && *only != target.name)
            {
                continue;
            }
            let tests = if target.is_test() {
                format!("tests/{}", target.name)
            } else {
                "unit tests".into()
            };
            built.tests.push(TestBinary {
                name: format!("{} {package} {tests}", profile.name()),
                rank: PACKAGES.iter().position(|name| *name == package),
                profile,
                file,
            });
        } else if target.is_kind(TargetKind::Bin) {
            built.helpers.push(file);
        }
    }
    built
        .tests
        .sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
    built
}

#[cfg(test)]
mod tests {
    use super::{Profile, choose};
    use crate::workspace::Workspace;
    use cargo_metadata::{Artifact, Message};

    /// One of cargo's messages, cut to what its format demands.
    fn artifact(folder: &str, kind: &str, target: &str, is_test: bool, file: &str) -> Artifact {
        let file = if file.is_empty() {
            "null".to_owned()
        } else {
            format!("{file:?}")
        };
        let root = Workspace::find().unwrap().root().display().to_string();
        let json = format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///w#{folder}@0.1.0",
            "manifest_path":"{root}/crates/{folder}/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["bin"],
            "name":"{target}","src_path":"/w/x.rs","edition":"2024","doc":true,"doctest":false,"test":true}},
            "profile":{{"opt_level":"0","debuginfo":1,"debug_assertions":true,"overflow_checks":true,
            "test":{is_test}}},"features":[],"filenames":[],"executable":{file},"fresh":true}}"#
        )
        .replace('\n', " ");
        match Message::parse_stream(json.as_bytes()).next() {
            Some(Ok(Message::CompilerArtifact(artifact))) => artifact,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tests_and_their_helpers_are_chosen_in_order() {
        let built = choose(
            vec![
                artifact("arch", "lib", "pkeys_arch", false, ""),
                artifact("arch", "lib", "pkeys_arch", true, "/b/pkeys_arch-1"),
                artifact("pkeys", "lib", "pkeys", true, "/b/pkeys-4"),
                artifact("pkeys", "test", "fault", true, "/b/fault-2"),
                artifact("pkeys", "test", "compile_fail", true, "/b/compile_fail-3"),
                artifact("pkeys", "bin", "helper", false, "/b/helper"),
                artifact("pkeys", "example", "shop", false, "/b/examples/shop"),
            ],
            Profile::Release,
            &Workspace::find().unwrap().metadata.packages,
        );
        let names: Vec<_> = built.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "release pkeys-arch unit tests",
                "release pkeys tests/fault",
                "release pkeys unit tests",
            ]
        );
        assert_eq!(built.tests[1].guest_path(), "/tests/release/fault-2");
        assert_eq!(built.helpers, ["/b/helper"].map(std::path::PathBuf::from));
    }
}
