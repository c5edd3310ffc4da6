//! The tier `guest` of `cargo xtask test`: the process tier's tests, debug and release, in one boot.

use super::Options;
use super::batch::{Batch, PROGRAM_LIMIT, arguments, variables};
use super::build::{self, Built, Profile};
use crate::test::Report;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use anyhow::Result;
use guest_init::jobs::Job;
use std::path::PathBuf;

/// Builds the tests, boots the guest, and counts what they report.
pub(crate) fn tier(
    workspace: &Workspace,
    options: &Options,
    filter: Option<&str>,
    screen: &Screen,
) -> Result<Report> {
    let doing = |what: &str| screen.doing(what);
    let batch = Batch::prepare(workspace, options, screen, "tests")?;
    let mut built = Built::default();
    for profile in Profile::ALL {
        built.add(build::tests(workspace, profile, &doing)?);
    }
    let variables = variables(options);
    let jobs: Vec<Job> = built
        .tests
        .iter()
        .map(|test| Job {
            name: test.name.clone(),
            limit: PROGRAM_LIMIT.min(options.time_limit),
            program: test.guest_path(),
            args: arguments(filter),
            env: variables.clone(),
            has_input: false,
        })
        .collect();
    batch.run(None, programs(&built), &jobs)
}

/// Where everything is in the guest, and here.
fn programs(built: &Built) -> Vec<(String, PathBuf)> {
    let tests = built
        .tests
        .iter()
        .map(|test| (test.guest_path(), test.file.clone()));
    // A test knows such a program by the path that cargo gave it when it was compiled.
    let helpers = built
        .helpers
        .iter()
        .map(|file| (file.display().to_string(), file.clone()));
    tests.chain(helpers).collect()
}
