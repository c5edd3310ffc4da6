//! A program of plain C in ring 3 of the image: it has to print there what it printed on Linux.
//!
//! The program and what Linux made it print stand in `image/programs`. It is compiled here, against the system's own static C
//! library, and started as it is.

use super::machine::{Bench, DEFAULT_CPU};
use super::program::{Job, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use core::time::Duration;
use pkeys_launch::said::Outcome;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The program, without its ending.
const NAME: &str = "keys";
const NR_CPUS: u32 = 2;
const MEMORY_MIB: u32 = 256;

/// What was wrong, if anything.
pub(super) fn trouble(
    workspace: &Workspace,
    bench: &Bench,
    limit: Duration,
) -> Result<Option<String>> {
    let programs = workspace.root().join("image/programs");
    let expected = fs::read_to_string(programs.join(format!("{NAME}.out")))
        .with_context(|| format!("{NAME}.out"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(NAME);
    compile(&programs.join(format!("{NAME}.c")), &file)?;
    let job = Job {
        file: &file,
        name: NAME,
        args: &[],
        env: &[],
        cpu: DEFAULT_CPU,
        nr_cpus: NR_CPUS,
        memory_mib: MEMORY_MIB,
    };
    let mut printed = String::new();
    let (outcome, end) = run(bench, &job, limit, &mut |line| {
        printed.push_str(line);
        printed.push('\n');
    })?;
    if outcome != Some(Outcome::Exited(0)) {
        return Ok(Some(format!("{NAME}.c: {outcome:?}, {end}\n{printed}")));
    }
    Ok(difference(&expected, &printed).map(|line| format!("{NAME}.c: {line}")))
}

fn compile(source: &Path, program: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O2", "-pthread", "-o"])
        .arg(program)
        .arg(source);
    let done = cc.output().context("cc")?;
    if !done.status.success() {
        bail!(
            "cc -static: {} (the static C library is in libc6-dev)",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> Option<String> {
    let (mut expected, mut found) = (expected.lines(), found.lines());
    for number in 1.. {
        match (expected.next(), found.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (linux, image) => {
                return Some(format!(
                    "line {number}: Linux {linux:?}, the image {image:?}"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        for (found, says) in [
            ("a\nc\n", "line 2: Linux Some(\"b\"), the image Some(\"c\")"),
            ("a\n", "line 2: Linux Some(\"b\"), the image None"),
            ("a\nb\nc\n", "line 3: Linux None, the image Some(\"c\")"),
        ] {
            assert_eq!(difference("a\nb\n", found).as_deref(), Some(says));
        }
    }
}
