//! The tier `guest` of `cargo xtask test`: the process tier's tests, debug and release, in one boot.

use super::build::{self, Built, Profile};
use super::console::{Console, Expected};
use super::initrd::Initrd;
use super::{DEFAULT_CPU, Options};
use crate::test::Report;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use anyhow::Result;
use core::ops::ControlFlow;
use core::time::Duration;
use guest_init::jobs::Job;
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

/// After this time the guest's first process kills a program and goes on to the next.
const PROGRAM_LIMIT: Duration = Duration::from_mins(10);

/// Variables that are handed on into the guest: the tests' own.
const HANDED_ON: &str = "PKEYS_TEST_";

/// Builds the tests, boots the guest, and counts what they report.
pub(crate) fn tier(
    workspace: &Workspace,
    options: &Options,
    filter: Option<&str>,
    screen: &Screen,
) -> Result<Report> {
    let doing = |what: &str| screen.doing(what);
    doing("looking for QEMU and a kernel");
    let machine = options.machine(workspace, &|text| screen.note(&format!("guest: {text}")))?;
    let init = build::init(workspace, &doing)?;
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
    let initrd = Initrd {
        base: None,
        init: &init,
        programs: programs(&built),
        stdin: None,
        jobs: &jobs,
    };
    let path = workspace.guest_dir().join("tests.cpio");
    let len_bytes = initrd.write(&path)?;
    let booted = Instant::now();
    let mut console = Console::default();
    let (end, output) = machine.run(&path, len_bytes, &mut |line| {
        console.line(line);
        screen.doing(console.progress());
        ControlFlow::Continue(())
    })?;
    let seconds = booted.elapsed().as_secs_f32();
    // Kept also after a good run: which test took long in the guest stands nowhere else.
    fs::write(workspace.guest_dir().join("console.txt"), &output)?;
    let kernel = console.kernel().unwrap_or("?").to_owned();
    let expected = Expected {
        programs: jobs.len(),
        keys: options.expects_keys(),
    };
    let (counts, why) = console.finish(end, expected);
    let cpu = &options.guest_cpu;
    let mut remark = format!("Linux {kernel} under QEMU, -cpu {cpu}, up for {seconds:.0} s");
    for why in why {
        remark.push_str("; ");
        remark.push_str(&why);
    }
    Ok(Report {
        counts,
        remark: Some(remark),
        output,
    })
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

/// The arguments of a test binary.
fn arguments(filter: Option<&str>) -> Vec<String> {
    // As many as the guest has CPUs; the harness would find that out itself, but for a test that changes affinity.
    let threads = "--test-threads=2".to_owned();
    [threads]
        .into_iter()
        .chain(filter.map(str::to_owned))
        .collect()
}

/// The environment of a test binary.
fn variables(options: &Options) -> Vec<(String, String)> {
    let mut variables = vec![
        ("HOME".to_owned(), "/tmp".to_owned()),
        ("TMPDIR".into(), "/tmp".into()),
        // An emulator is slow: a test that waits for something may wait longer.
        ("PKEYS_TEST_IN_GUEST".into(), "1".into()),
    ];
    if options.guest_cpu != DEFAULT_CPU && options.guest_cpu.split(',').any(|part| part == "-pku") {
        variables.push(("PKEYS_TEST_NO_PKU".into(), "1".into()));
    }
    variables.extend(env::vars().filter(|(key, _)| key.starts_with(HANDED_ON)));
    variables
}
