//! The image's cases, run or listed.
//!
//! The kernel's lines become rows as they come. At the end lines and status together give the verdict; where the boot did not
//! come to its end, the one line that says so names how far it came and what the kernel or the emulator said last.

use core::ops::ControlFlow;
use std::process::ExitCode;

use pkeys_launch::{End, Machine, Said, Stream, Symbols, Verdict, boot};
use serde::Serialize;

use super::noise::tame;
use super::screen::{Screen, rounded};
use super::{Args, image};
use crate::failure::{Doing, Failure};

/// The number of the JSON objects' form. It changes when a field changes its meaning or goes; new fields may come.
const SCHEMA: u32 = 1;

/// The last JSON object.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    kind: &'static str,
    schema: u32,
    command: &'static str,
    version: &'static str,
    /// Every case that was asked for has run and passed.
    is_pass: bool,
    passed: u64,
    failed: u64,
    /// What was wrong beside failed cases.
    trouble: Option<&'a str>,
    guest_cpu: &'a str,
    cpus: u32,
    /// The kernel's command line.
    append: &'a str,
    seconds: f64,
    /// What the kernel said beside its cases: warnings, or the report of its end.
    console: &'a [String],
}

/// Runs the cases, or lists them.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut machine = args.machine();
    if args.list {
        machine.append.push_str(" list");
    } else if let Some(name) = &args.test {
        machine.append.push_str(" test=");
        machine.append.push_str(name);
    }
    let command = machine
        .command(&args.qemu()?, &image::kernel()?)
        .doing("cannot start QEMU")?;
    let name = command.get_program().display().to_string();
    let mut heard = Heard::new(args.json);
    let mut result = Ok(());
    let booted = boot(command, args.time_limit, &mut |stream, line| {
        result = heard.line(stream, line);
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result?;
    let end = booted.doing(format!("cannot start {name}"))?;
    heard.finish(args, &machine, end)
}

/// What was heard of a boot.
#[derive(Debug)]
struct Heard {
    screen: Screen,
    verdict: Verdict,
    /// What the kernel said before its first case: why it refused, if it did.
    before: Vec<String>,
    /// The name is none of a case.
    no_case: Option<String>,
    /// The emulator's last words.
    emulator: Option<String>,
    /// The kernel's functions.
    symbols: Symbols,
}

impl Heard {
    fn new(is_json: bool) -> Self {
        Self {
            screen: Screen::new(is_json),
            verdict: Verdict::default(),
            before: Vec::new(),
            no_case: None,
            emulator: None,
            symbols: image::symbols(),
        }
    }

    /// Takes a line in.
    fn line(&mut self, stream: Stream, line: &str) -> Result<(), Failure> {
        if stream == Stream::Emulator {
            self.emulator = Some(tame(line).into_owned());
            return Ok(());
        }
        let named = self.symbols.name_in(line).into_owned();
        let line = named.as_str();
        let said = Said::parse(line);
        self.verdict.take(&said);
        match said {
            Said::Plan { nr_cases, .. } => {
                self.screen.begin(nr_cases);
                self.tell_before()
            }
            Said::Ok(name) => self.screen.case(name, None),
            Said::Failed { name, why } => self.screen.case(name, Some(why)),
            Said::Case { name, is_deadly } => self.screen.name(name, is_deadly),
            Said::Sum { .. } => Ok(()),
            Said::NoCase(text) => {
                self.no_case = Some(tame(text).into_owned());
                Ok(())
            }
            Said::Program(_) | Said::Kernel(_) | Said::Other(_)
                if self.verdict.plan.is_some() || self.before.len() > 1 =>
            {
                self.tell_before()?;
                self.screen.other(line)
            }
            Said::Program(_) | Said::Kernel(_) | Said::Other(_) => {
                self.before.push(line.to_owned());
                Ok(())
            }
        }
    }

    /// Shows what was held back in case the kernel refused.
    fn tell_before(&mut self) -> Result<(), Failure> {
        for line in core::mem::take(&mut self.before) {
            self.screen.other(&line)?;
        }
        Ok(())
    }

    /// Says what came of it.
    fn finish(mut self, args: &Args, machine: &Machine<'_>, end: End) -> Result<ExitCode, Failure> {
        if let (End::Refused, Some(text)) = (end, self.no_case.take()) {
            return Err(Failure::Usage(text));
        }
        let trouble = if args.list {
            self.verdict.list_trouble(&end)
        } else {
            self.verdict.trouble(&end)
        };
        let mut trouble = trouble.map(|trouble| trouble.to_string());
        let came_up = self.verdict.plan.map(|(cpus, _)| cpus);
        if let (None, Some(cpus)) = (
            &trouble,
            came_up.filter(|cpus| *cpus != u64::from(args.smp)),
        ) {
            trouble = Some(format!("{cpus} of {} CPUs came up", args.smp));
        }
        let trouble = trouble.map(|trouble| self.reason(args, end, trouble));
        self.tell_before()?;
        self.screen.finish();
        let (passed, failed) = (self.verdict.passed, self.verdict.failed);
        if args.json && !args.list {
            self.screen.json(&Summary {
                kind: "summary",
                schema: SCHEMA,
                command: "boot",
                version: env!("CARGO_PKG_VERSION"),
                is_pass: trouble.is_none() && failed == 0,
                passed,
                failed,
                trouble: trouble.as_deref(),
                guest_cpu: &args.guest_cpu,
                cpus: args.smp,
                append: &machine.append,
                seconds: rounded(self.screen.elapsed()),
                console: self.screen.others(),
            })?;
        } else if trouble.is_none() && !args.list {
            self.screen.sum(passed, failed)?;
        }
        match trouble {
            Some(trouble) => Err(Failure::Failed(trouble)),
            None if failed > 0 => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// The trouble in one line, with what is known of its cause.
    fn reason(&mut self, args: &Args, end: End, trouble: String) -> String {
        match end {
            End::Refused if self.before.len() == 1 => {
                let why = self.before.remove(0);
                let why = tame(why.strip_prefix("pkeys: ").unwrap_or(&why)).into_owned();
                format!("{end}: {why}")
            }
            End::TimeLimit => format!("{trouble} (--time-limit {})", args.time_limit.as_secs_f64()),
            _ if end.is_the_images_own() => trouble,
            _ => match &self.emulator {
                Some(words) => format!("{trouble}; it says: {words}"),
                None => trouble,
            },
        }
    }
}
