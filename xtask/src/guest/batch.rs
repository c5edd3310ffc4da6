//! Test programs in one boot: each reports as a test program does, and the guest must account for all of them.

use super::console::{Console, Expected};
use super::initrd::Initrd;
use super::machine::Machine;
use super::{Options, build};
use crate::test::Report;
use crate::test::screen::Screen;
use crate::workspace::Workspace;
use anyhow::Result;
use core::ops::ControlFlow;
use core::time::Duration;
use guest_init::jobs::Job;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

/// After this time the guest's first process kills a program and goes on to the next.
pub(super) const PROGRAM_LIMIT: Duration = Duration::from_mins(10);

/// Variables that are handed on into the guest: the tests' own.
const HANDED_ON: &str = "PKEYS_TEST_";

/// Everything that a batch needs but its programs.
pub(super) struct Batch<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    screen: &'a Screen,
    name: &'static str,
    machine: Machine,
    init: PathBuf,
}

impl<'a> Batch<'a> {
    /// Finds or gets a machine and a first process. `name` is what the initrd is called in the guest's folder, and, with another ending,
    /// what the guest has printed.
    pub(super) fn prepare(
        workspace: &'a Workspace,
        options: &'a Options,
        screen: &'a Screen,
        name: &'static str,
    ) -> Result<Self> {
        screen.doing("looking for QEMU and a kernel");
        let note = |text: &str| screen.note(&format!("guest: {text}"));
        Ok(Self {
            workspace,
            options,
            screen,
            name,
            machine: options.machine(workspace, &note)?,
            init: build::init(workspace, &|what| screen.doing(what))?,
        })
    }

    /// Boots the guest, with an archive in front where there is one, and counts what the jobs report. Programs are given by
    /// where they are in the guest, and here.
    pub(super) fn run(
        &self,
        base: Option<&Path>,
        programs: Vec<(String, PathBuf)>,
        jobs: &[Job],
    ) -> Result<Report> {
        let initrd = Initrd {
            base,
            init: &self.init,
            programs,
            stdin: None,
            jobs,
        };
        let folder = self.workspace.guest_dir();
        let path = folder.join(self.name).with_extension("cpio");
        let len_bytes = initrd.write(&path)?;
        let booted = Instant::now();
        let mut console = Console::default();
        let (end, output) = self.machine.run(&path, len_bytes, &mut |line| {
            console.line(line);
            self.screen.doing(console.progress());
            ControlFlow::Continue(())
        })?;
        let seconds = booted.elapsed().as_secs_f32();
        // Kept also after a good run: which test took long in the guest stands nowhere else.
        fs::write(folder.join(self.name).with_extension("txt"), &output)?;
        let kernel = console.kernel().unwrap_or("?").to_owned();
        let expected = Expected {
            programs: jobs.len(),
            keys: self.options.expects_keys(),
        };
        let (counts, why) = console.finish(end, expected);
        let cpu = &self.options.guest_cpu;
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
}

/// The arguments of a test program.
pub(super) fn arguments(filter: Option<&str>) -> Vec<String> {
    // As many as the guest has CPUs; the harness would find that out itself, but for a test that changes affinity.
    let threads = "--test-threads=2".to_owned();
    [threads]
        .into_iter()
        .chain(filter.map(str::to_owned))
        .collect()
}

/// The environment of a test program.
pub(super) fn variables(options: &Options) -> Vec<(String, String)> {
    let mut variables = vec![
        ("HOME".to_owned(), "/tmp".to_owned()),
        ("TMPDIR".into(), "/tmp".into()),
        // An emulator is slow: a test that waits for something may wait longer.
        ("PKEYS_TEST_IN_GUEST".into(), "1".into()),
    ];
    if options.guest_cpu.split(',').any(|part| part == "-pku") {
        variables.push(("PKEYS_TEST_NO_PKU".into(), "1".into()));
    }
    variables.extend(env::vars().filter(|(key, _)| key.starts_with(HANDED_ON)));
    variables
}
