//! The tier `boot` of `cargo xtask test`: every case on two machines and in every mode, what must be refused or must end the kernel, the
//! red zone, the catalogue in ring 3, and the command `pkeys boot` as it is installed.

use super::cases::Cases;
use super::machine::{Bench, DEFAULT_CPU, End, Machine};
use super::{bench, c_program, ends, red_zone};
use crate::conform::run_in_image;
use crate::test::Report;
use crate::test::results::Counts;
use crate::test::screen::Screen;
use crate::test::tap::Tap;
use crate::workspace::Workspace;
use crate::{artifacts, capture};
use anyhow::{Context, Result};
use core::time::Duration;
use pkeys_launch::{Qemu, said::Outcome};
use std::process::Command;

/// The machines that every case runs on: everything the emulator has, on four CPUs; the oldest CPU model with what is needed
/// and no more.
const MACHINES: [(&str, u32); 2] = [(DEFAULT_CPU, 4), ("qemu64,+pku,+pks,+xsave", 1)];

/// The modes that let an access through; that strict does not is shown by the cases that end the kernel.
const MODES: [&str; 3] = ["relaxed", "silent", "off"];

/// How long one boot may take. They take a second or less where nothing else runs.
const LIMIT: Duration = Duration::from_secs(60);

/// The tier: each case on each machine is a test, and so is each end and the look through the image.
pub(crate) fn tier(workspace: &Workspace, screen: &Screen) -> Result<Report> {
    let note = |text: &str| screen.note(&format!("boot: {text}"));
    let bench = bench(workspace, &note, &|what| screen.doing(what))?;
    let mut report = Report::default();
    screen.doing("looking for red zones");
    let found = red_zone::functions(&bench.image)?;
    add_red_zone(&mut report, found.as_deref());
    for (cpu, nr_cpus) in MACHINES {
        every_case(&bench, cpu, nr_cpus, "", screen, &mut report)?;
    }
    for mode in MODES {
        let words = format!(" pks={mode} pks_stray={mode}");
        every_case(&bench, DEFAULT_CPU, 2, &words, screen, &mut report)?;
    }
    for wanted in ends::all() {
        screen.doing(format!("waiting for {:?}", wanted.says));
        let (end, output) = bench.boot(&wanted.machine, LIMIT, &mut |_| {})?;
        let trouble = wanted.trouble(end, &output);
        add(&mut report, trouble.as_deref(), &output);
    }
    list(&bench, screen, &mut report)?;
    screen.doing("a program of plain C");
    let trouble = c_program::trouble(workspace, &bench, LIMIT)?;
    add(&mut report, trouble.as_deref(), "");
    catalogue(workspace, screen, &mut report)?;
    command(workspace, &bench, screen, &mut report)?;
    Ok(report)
}

/// The list of cases: that each which ends the kernel was booted above is one test.
fn list(bench: &Bench, screen: &Screen, report: &mut Report) -> Result<()> {
    screen.doing("the list of cases");
    let machine = Machine {
        append: "list".to_owned(),
        ..Machine::default()
    };
    let (end, output) = bench.boot(&machine, LIMIT, &mut |_| {})?;
    let trouble = match end {
        End::Passed => ends::list_trouble(&output),
        end => Some(format!("list: {end}")),
    };
    add(report, trouble.as_deref(), &output);
    Ok(())
}

/// The catalogue of the keys' ABI in ring 3: each case is a test.
fn catalogue(workspace: &Workspace, screen: &Screen, report: &mut Report) -> Result<()> {
    let note = |text: &str| screen.note(&format!("boot: {text}"));
    let mut tap = Tap::default();
    let mut output = String::new();
    let args = ["--on", "linux"].map(str::to_owned);
    let ran = run_in_image(
        workspace,
        &args,
        &note,
        &|what| screen.doing(what),
        &mut |line| {
            tap.line(line);
            output.push_str(line);
            output.push('\n');
            screen.doing(format!("{} cases in ring 3", tap.seen()));
        },
    );
    let (mut counts, trouble) = tap.finish();
    let trouble = match ran {
        Ok(Outcome::Exited(0)) => trouble,
        Ok(outcome) => trouble.or(Some(format!("{outcome:?}"))),
        Err(err) => Some(err.to_string()),
    };
    if let Some(trouble) = trouble {
        if counts.failed == 0 {
            counts += Counts::failure();
        }
        remark(report, &format!("ring 3: {trouble}"));
    }
    if counts.failed > 0 {
        show(report, &output);
    }
    report.counts += counts;
    Ok(())
}

/// Runs `pkeys boot`, which carries the image inside itself: that it was built, and boots, is one test.
fn command(
    workspace: &Workspace,
    bench: &Bench,
    screen: &Screen,
    report: &mut Report,
) -> Result<()> {
    let doing = |what: &str| screen.doing(what);
    let program = artifacts::program(workspace.cargo(), "pkeys-cli", "pkeys", &doing)?;
    screen.doing("pkeys boot");
    let mut pkeys = Command::new(program);
    pkeys.args(["boot", "--json", "--smp", "2"]);
    // Otherwise it is on PATH.
    if let Qemu::Unpacked(folder) = &bench.qemu {
        pkeys.arg("--qemu").arg(folder);
    }
    let done = capture::run(pkeys, Some(LIMIT), &mut |_| {}).context("pkeys boot")?;
    let says = done.output.lines().last().unwrap_or_default();
    let is_pass = done.is_success() && says.contains("\"is_pass\":true");
    let trouble = (!is_pass).then_some("pkeys boot does not pass");
    add(report, trouble, &done.output);
    Ok(())
}

/// Boots one machine with all cases.
fn every_case(
    bench: &Bench,
    cpu: &str,
    nr_cpus: u32,
    words: &str,
    screen: &Screen,
    report: &mut Report,
) -> Result<()> {
    let machine = Machine {
        cpu,
        nr_cpus,
        append: format!("cpus={nr_cpus}{words}"),
        ..Machine::default()
    };
    let mut cases = Cases::default();
    let (end, output) = bench.boot(&machine, LIMIT, &mut |line| {
        cases.line(line);
        screen.doing(format!("{} cases on {cpu}", cases.seen()));
    })?;
    let (counts, trouble) = cases.finish(end);
    report.counts += counts;
    if let Some(trouble) = trouble {
        remark(
            report,
            &format!("-cpu {cpu} -smp {nr_cpus}{words}: {trouble}"),
        );
    }
    if counts.failed > 0 {
        show(
            report,
            &format!("-cpu {cpu} -smp {nr_cpus}{words}\n{output}"),
        );
    }
    Ok(())
}

/// Counts the look through the image: one test, left out where there is no disassembler.
fn add_red_zone(report: &mut Report, found: Option<&[String]>) {
    match found {
        None => {
            report.counts.skipped += 1;
            remark(report, "no objdump to look for red zones with");
        }
        Some([]) => report.counts += Counts::pass(),
        Some(functions) => {
            report.counts += Counts::failure();
            let names = functions.join("\n");
            show(report, &format!("data below the stack pointer:\n{names}\n"));
        }
    }
}

/// Counts one boot of [`ends`].
fn add(report: &mut Report, trouble: Option<&str>, output: &str) {
    match trouble {
        None => report.counts += Counts::pass(),
        Some(trouble) => {
            report.counts += Counts::failure();
            show(report, &format!("{trouble}\n{output}"));
        }
    }
}

/// Adds words to the tier's line.
fn remark(report: &mut Report, text: &str) {
    let remark = report.remark.get_or_insert_default();
    if !remark.is_empty() {
        remark.push_str("; ");
    }
    remark.push_str(text);
}

/// Adds to what is shown of a tier that failed.
fn show(report: &mut Report, text: &str) {
    report.output.push_str("# ");
    report.output.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::{Report, add, add_red_zone};

    #[test]
    fn what_fails_is_shown_and_what_is_left_out_is_said() {
        let mut report = Report::default();
        add_red_zone(&mut report, Some(&[]));
        add_red_zone(&mut report, None);
        add(&mut report, None, "pkeys: said\n");
        assert_eq!(report.counts.to_string(), "2 passed, 0 failed, 1 skipped");
        assert_eq!(report.output, "");
        assert!(report.remark.as_ref().unwrap().contains("objdump"));
        add_red_zone(&mut report, Some(&["memcpy".into()]));
        add(&mut report, Some("-cpu max: passed"), "pkeys: said\n");
        assert_eq!(report.counts.to_string(), "2 passed, 2 failed, 1 skipped");
        assert_eq!(
            report.output,
            "# data below the stack pointer:\nmemcpy\n# -cpu max: passed\npkeys: said\n"
        );
    }
}
