//! One program in a guest, for whoever needs one: its lines as they come, and how it ended.
//!
//! The guest's console carries what the program prints on both of its streams, and nothing tells them apart.

use super::console::Console;
use super::contents::Contents;
use super::initrd::Initrd;
use super::machine::{End, Machine};
use super::{Options, build, scratch};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use core::ops::ControlFlow;
use core::time::Duration;
use guest_init::events::Outcome;
use guest_init::jobs::Job;
use std::fs;
use std::path::{Path, PathBuf};

/// Its environment: folders that are there, and nothing that would decorate lines, for its output is a terminal.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("HOME", "/tmp"),
    ("TMPDIR", "/tmp"),
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
];

/// Where programs are in a root of packages.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// The program's path in the guest.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Variables beside those that every program has, or instead of them.
    pub(crate) env: Vec<(String, String)>,
    /// What it reads; `None` for nothing.
    pub(crate) stdin: Option<Vec<u8>>,
}

/// Everything that a boot needs but the program.
#[derive(Debug)]
pub(crate) struct Guest {
    machine: Machine,
    init: PathBuf,
    folder: PathBuf,
    limit: Duration,
}

/// How a program has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself, or by a signal.
    Itself(Outcome),
    /// The guest was killed at its time limit; where it was then.
    TimeLimit(String),
    /// Whoever read its lines had seen enough.
    Stopped,
}

impl Guest {
    /// Finds or gets what is needed. `note` hears what is got, `doing` what the compiler is at.
    pub(crate) fn prepare(
        workspace: &Workspace,
        options: &Options,
        note: &dyn Fn(&str),
        doing: &dyn Fn(&str),
    ) -> Result<Self> {
        Ok(Self {
            machine: options.machine(workspace, note)?,
            init: build::init(workspace, doing)?,
            folder: workspace.guest_dir(),
            limit: options.time_limit,
        })
    }

    /// A guest with one CPU: for a program whose threads go in lock step. An idle CPU costs time under emulation.
    pub(crate) fn with_one_cpu(mut self) -> Self {
        self.machine.nr_cpus = 1;
        self
    }

    /// Boots, runs a static program and gives how it ended; `on_line` sees what it prints, and may break off.
    pub(crate) fn run(
        &self,
        program: &Path,
        args: &[String],
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Ended> {
        let mut contents = Contents::default();
        let call = Call {
            program: contents.program(program, false)?,
            args: args.to_vec(),
            ..Call::default()
        };
        self.run_in(&contents, &call, on_line)
    }

    /// The same of a program in a guest with these contents.
    pub(crate) fn run_in(
        &self,
        contents: &Contents,
        call: &Call,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Ended> {
        let inside = call.program.to_str().context("the program's name")?;
        let job = Job {
            name: inside.to_owned(),
            limit: self.limit,
            program: inside.to_owned(),
            args: call.args.clone(),
            env: call.environment(contents),
            has_input: call.stdin.is_some(),
        };
        let base = contents.archive();
        let initrd = Initrd {
            base: base.as_deref(),
            init: &self.init,
            programs: contents.files()?,
            stdin: call.stdin.as_deref(),
            jobs: &[job],
        };
        let path = scratch::file(&self.folder, call.program.file_name())?;
        let len_bytes = initrd.write(&path)?;
        let mut lines = Lines::default();
        let run = self
            .machine
            .run(&path, len_bytes, &mut |line| lines.take(line, on_line));
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        let (end, output) = run?;
        ended(&lines.console, end, &output)
    }
}

impl Call {
    /// The program's whole environment: ours, and then what was asked for.
    fn environment(&self, contents: &Contents) -> Vec<(String, String)> {
        let path = contents.has_root().then_some(("PATH", PATH));
        let ours = ENVIRONMENT.into_iter().chain(path);
        ours.filter(|(key, _)| self.env.iter().all(|(other, _)| key != other))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .chain(self.env.iter().cloned())
            .collect()
    }
}

/// How the program ended, from how the machine did; an error where the guest itself was at fault.
fn ended(console: &Console, end: End, output: &str) -> Result<Ended> {
    match (end, console.trouble(end)) {
        (End::Stopped, _) => Ok(Ended::Stopped),
        (End::TimeLimit, Some(trouble)) => Ok(Ended::TimeLimit(trouble)),
        (_, Some(trouble)) => bail!("{trouble}. Its console:\n{output}"),
        (_, None) => {
            let outcome = console.last_outcome();
            Ok(Ended::Itself(outcome.context("the program never ran")?))
        }
    }
}

/// Picks the program's lines out of the console's.
#[derive(Debug, Default)]
struct Lines {
    console: Console,
    /// Empty lines that may be the program's.
    blank: usize,
}

impl Lines {
    /// Takes a line of the console and hands on what the program has printed.
    fn take(
        &mut self,
        line: &str,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.console.line(line) {
            self.blank = 0;
        } else if line.is_empty() {
            // The first process puts an empty line before its own: those are not the program's.
            self.blank += 1;
        } else {
            for _ in 0..core::mem::take(&mut self.blank) {
                on_line("")?;
            }
            on_line(line)?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Contents, Ended, Lines, ended};
    use crate::guest::machine::End;
    use core::ops::ControlFlow;
    use guest_init::events::Outcome;

    const CONSOLE: &str = "SeaBIOS\n\n#guest# ready keys 6.12\n\n#guest# begin /program/p\na\n\nb\n\n\
        #guest# end exit 3\n\n#guest# done\n";

    /// The program's lines until one that is `last`.
    fn read(console: &str, last: &str) -> (Lines, Vec<String>) {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for line in console.lines() {
            let next = lines.take(line, &mut |line| {
                seen.push(line.to_owned());
                if line == last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if next.is_break() {
                break;
            }
        }
        (lines, seen)
    }

    #[test]
    fn only_the_program_is_heard() {
        let (lines, seen) = read(CONSOLE, "never");
        assert_eq!(seen, ["a", "", "b"]);
        let ended = ended(&lines.console, End::Failed, "").unwrap();
        assert!(
            matches!(ended, Ended::Itself(Outcome::Exit(3))),
            "{ended:?}"
        );
    }

    #[test]
    fn a_variable_that_is_asked_for_replaces_ours() {
        let variable = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let call = Call {
            env: vec![variable("HOME", "/x"), variable("A", "b")],
            ..Call::default()
        };
        let all = call.environment(&Contents::default());
        let homes: Vec<_> = all.iter().filter(|(key, _)| key == "HOME").collect();
        assert_eq!(homes, [&variable("HOME", "/x")]);
        assert!(all.contains(&variable("A", "b")) && all.contains(&variable("TMPDIR", "/tmp")));
    }

    #[test]
    fn a_reader_breaks_off_and_a_guest_that_dies_is_an_error() {
        let (lines, seen) = read(CONSOLE, "a");
        assert_eq!(seen, ["a"]);
        let stopped = ended(&lines.console, End::Stopped, "").unwrap();
        assert!(matches!(stopped, Ended::Stopped), "{stopped:?}");
        let late = ended(&lines.console, End::TimeLimit, "").unwrap();
        assert!(
            matches!(&late, Ended::TimeLimit(why) if why.contains("/program/p")),
            "{late:?}"
        );
        let died = ended(&lines.console, End::Status(Some(0)), "its last words").unwrap_err();
        assert!(died.to_string().ends_with("its last words"), "{died}");
    }
}
