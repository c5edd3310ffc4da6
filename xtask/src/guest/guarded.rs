//! The tier `guarded` of `cargo xtask test`: `pkeys guard` on programs and libraries as the distribution ships them.
//!
//! Its tests are dynamic programs, which run in a Linux guest with a root of packages. Nothing is installed on this machine:
//! the packages are unpacked, those with headers into a root of their own, from which the tests' own programs are built here
//! by the machine's compiler. The tests know how ([`BUILD`]).

use super::Options;
use super::batch::{Batch, PROGRAM_LIMIT, arguments, variables};
use super::build::Profile;
use super::contents::Contents;
use super::packages::remake;
use super::program::PATH;
use super::root::Root;
use crate::test::Report;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use crate::{artifacts, capture};
use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, TargetKind};
use guest_init::jobs::Job;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the guest has. The shells are for the tests of the launcher.
const PACKAGES: [&str; 7] = [
    "coreutils",
    "dash",
    "libleveldb1d",
    "liblmdb0",
    "libxml2",
    "python3",
    "sqlite3",
];

/// What the tests' programs are built with.
const HEADERS: [&str; 4] = [
    "libleveldb-dev",
    "liblmdb-dev",
    "libsqlite3-dev",
    "libxml2-dev",
];

/// The tests: package, name, and whether they build programs first.
const TESTS: [(&str, &str, bool); 3] = [
    ("pkeys-guard", "programs", true),
    ("pkeys-cli", "guard", false),
    ("pkeys-cli", "guarded", true),
];

/// Tells a test to build its programs into a folder, and do nothing else.
const BUILD: &str = "PKEYS_TEST_BUILD";

/// Tells it where headers and libraries are.
const HEADERS_IN: &str = "PKEYS_TEST_PACKAGES";

/// Where the folders of programs are in the guest.
const PROGRAMS_IN: &str = "/programs";

/// The profile whose tests build their programs.
const BUILDER: Profile = Profile::Release;

/// Tells a test where its programs are.
const PROGRAMS: &str = "PKEYS_TEST_PROGRAMS";

/// The audit library as cargo names it, which tests look for beside themselves.
const AUDIT_LIBRARY: &str = "libpkeys_guard.so";

/// A test program.
struct Test {
    name: String,
    profile: Profile,
    file: PathBuf,
    /// Where it is in the guest.
    guest: PathBuf,
    /// The folder of its programs, where it has any: the same for every profile.
    programs: Option<String>,
}

/// Builds the tests and their programs, boots the guest, and counts what the tests report.
pub(crate) fn tier(
    workspace: &Workspace,
    options: &Options,
    filter: Option<&str>,
    screen: &Screen,
) -> Result<Report> {
    let doing = |what: &str| screen.doing(what);
    let note = |text: &str| screen.note(&format!("guarded: {text}"));
    let batch = Batch::prepare(workspace, options, screen, "guarded")?;
    doing("looking for packages");
    let mut contents = Contents::of_packages(workspace, &PACKAGES.map(str::to_owned), &note)?;
    let headers = Root::find_or_make(&workspace.guest_dir(), &HEADERS.map(str::to_owned), &note)?;
    let mut tests = Vec::new();
    for profile in Profile::ALL {
        let artifacts = build_tests(workspace, profile, &doing)?;
        for artifact in &artifacts {
            put_beside(&mut contents, artifact, profile)?;
        }
        tests.extend(choose(workspace, &artifacts, profile)?);
    }
    let programs = workspace.guest_dir().join("programs");
    remake(&programs)?;
    for test in &tests {
        doing(&format!("the programs of {}", test.name));
        test.build_programs(&programs, &headers.tree())?;
        contents.put(&test.file, &test.guest)?;
    }
    contents.put(&programs, Path::new(PROGRAMS_IN))?;
    contents.put_all_libraries()?;
    let jobs: Vec<Job> = tests
        .iter()
        .map(|test| test.job(options, filter))
        .collect::<Result<_>>()?;
    let base = contents.archive();
    batch.run(base.as_deref(), contents.files()?, &jobs)
}

/// Builds the tests, as the tiers `debug` and `release` do.
fn build_tests(
    workspace: &Workspace,
    profile: Profile,
    doing: &dyn Fn(&str),
) -> Result<Vec<Artifact>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-run"]);
    let mut packages: Vec<&str> = TESTS.iter().map(|(package, _, _)| *package).collect();
    packages.dedup();
    cargo.args(
        packages
            .iter()
            .map(|package| format!("--package={package}")),
    );
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    artifacts::build(cargo, doing)
}

/// Puts in what tests look for beside themselves, the audit library, and the command, which they know by its path on this
/// machine.
fn put_beside(contents: &mut Contents, artifact: &Artifact, profile: Profile) -> Result<()> {
    for file in &artifact.filenames {
        if file.file_name() == Some(AUDIT_LIBRARY) {
            contents.put(file.as_std_path(), &folder(profile).join(AUDIT_LIBRARY))?;
        }
    }
    let is_command = artifact.target.is_kind(TargetKind::Bin) && !artifact.profile.test;
    if let Some(file) = artifact.executable.as_ref().filter(|_| is_command) {
        contents.put(file.as_std_path(), file.as_std_path())?;
    }
    Ok(())
}

/// Where tests are in the guest.
fn folder(profile: Profile) -> PathBuf {
    Path::new("/program").join(profile.name())
}

/// The tests among what cargo has built, in order.
fn choose(workspace: &Workspace, artifacts: &[Artifact], profile: Profile) -> Result<Vec<Test>> {
    let find = |(package, name, has_programs): (&str, &str, bool)| {
        let manifest = workspace
            .metadata
            .packages
            .iter()
            .find(|found| found.name.as_str() == package)
            .map(|found| &found.manifest_path);
        let found = artifacts.iter().find(|artifact| {
            artifact.target.is_test()
                && artifact.target.name == name
                && Some(&artifact.manifest_path) == manifest
        });
        let file = found.and_then(|artifact| artifact.executable.clone());
        let file = file.with_context(|| format!("cargo built no test {name} of {package}"))?;
        let own = format!("{package}-{name}");
        Ok(Test {
            name: format!("{} {package} tests/{name}", profile.name()),
            profile,
            guest: folder(profile).join(&own),
            file: file.into(),
            programs: has_programs.then_some(own),
        })
    };
    TESTS.into_iter().map(find).collect()
}

impl Test {
    /// Has the test build its programs. What it builds does not depend on the profile: one of them does it.
    fn build_programs(&self, folder: &Path, headers: &Path) -> Result<()> {
        let Some(programs) = self.programs.as_ref().filter(|_| self.profile == BUILDER) else {
            return Ok(());
        };
        let mut command = Command::new(&self.file);
        command
            .env(BUILD, folder.join(programs))
            .env(HEADERS_IN, headers);
        let done = capture::run(command, None, &mut |_| {})?;
        if !done.is_success() {
            bail!("the programs of {}:\n{}", self.name, done.output);
        }
        Ok(())
    }

    fn job(&self, options: &Options, filter: Option<&str>) -> Result<Job> {
        let mut env = variables(options);
        if let Some(programs) = &self.programs {
            env.push((PROGRAMS.into(), format!("{PROGRAMS_IN}/{programs}")));
        }
        env.push(("PATH".into(), PATH.into()));
        Ok(Job {
            name: self.name.clone(),
            limit: PROGRAM_LIMIT.min(options.time_limit),
            program: self.guest.to_str().context("the test's name")?.to_owned(),
            args: arguments(filter),
            env,
            has_input: false,
        })
    }
}
