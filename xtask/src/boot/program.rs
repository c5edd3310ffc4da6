//! A program in ring 3 of the image: named on the command line, and brought by QEMU as a file.

use super::machine::{Bench, End, Machine};
use anyhow::{Result, ensure};
use core::time::Duration;
use pkeys_launch::{Said, said::Outcome};
use std::path::Path;

/// What a program is run with.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// The file: a static program for Linux.
    pub(crate) file: &'a Path,
    /// What it is called.
    pub(crate) name: &'a str,
    /// Its arguments.
    pub(crate) args: &'a [String],
    /// Its environment, `NAME=VALUE` each.
    pub(crate) env: &'a [&'a str],
    /// QEMU's CPU model.
    pub(crate) cpu: &'a str,
    /// How many CPUs there are.
    pub(crate) nr_cpus: u32,
    /// How much memory.
    pub(crate) memory_mib: u32,
}

impl Job<'_> {
    /// The kernel's command line.
    fn append(&self) -> Result<String> {
        let mut append = format!("cpus={} exec=/bin/{}", self.nr_cpus, self.name);
        let words = self.args.iter().map(|arg| ("arg", arg.as_str()));
        for (kind, word) in words.chain(self.env.iter().map(|word| ("env", *word))) {
            // Others could be encoded, and nobody needs them.
            let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
            ensure!(word.bytes().all(is_plain), "{word:?}: not a plain word");
            append.push_str(&format!(" {kind}={word}"));
        }
        Ok(append)
    }
}

/// Runs a program and gives how it ended, and how the machine did. `on_line` sees what it prints, and what the kernel says
/// beside it.
pub(super) fn run(
    bench: &Bench,
    job: &Job<'_>,
    limit: Duration,
    on_line: &mut dyn FnMut(&str),
) -> Result<(Option<Outcome>, End)> {
    let machine = Machine {
        cpu: job.cpu,
        nr_cpus: job.nr_cpus,
        memory_mib: job.memory_mib,
        append: job.append()?,
        module: Some(job.file.to_path_buf()),
        ..Machine::default()
    };
    let mut outcome = None;
    let (end, _) = bench.boot(&machine, limit, &mut |line| match Said::parse(line) {
        Said::Program(ended) => outcome = Some(ended),
        _ => on_line(line),
    })?;
    // Who dies after the program's end has not told the truth about it.
    let is_sound = matches!(end, End::Passed | End::Failed);
    Ok((outcome.filter(|_| is_sound), end))
}

#[cfg(test)]
mod tests {
    use super::Job;
    use std::path::Path;

    #[test]
    fn words_of_the_command_line_are_plain() {
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let job = |args: &[String]| {
            Job {
                file: Path::new("/f"),
                name: "p",
                args,
                env: &["A=b"],
                cpu: "max",
                nr_cpus: 2,
                memory_mib: 128,
            }
            .append()
        };
        assert_eq!(
            job(&args(&["--on", "linux"])).unwrap(),
            "cpus=2 exec=/bin/p arg=--on arg=linux env=A=b"
        );
        for bad in ["a b", "100%", "\u{e9}"] {
            let err = job(&args(&[bad])).unwrap_err();
            assert_eq!(err.to_string(), format!("{bad:?}: not a plain word"));
        }
    }
}
