//! The findings as a table for people: a line each, what it is, what it says, what follows.

use std::io::{self, Write};

use pkeys::KeyRegister;

use super::Findings;
use super::calls::Answer;
use super::traps::Verdict;
use crate::style::Tone::{self, Bad, Good, Plain, Quiet, Strong, Warning};
use crate::style::{width, wrap};

/// The width of the first column, behind the margin.
const NAME: usize = 19;

/// The width of the second column. What is wider pushes the third to the right.
const VALUE: usize = 11;

/// Mappings that a process may have where nobody changed it (`DEFAULT_MAX_MAP_COUNT`).
const USUAL_MAX_MAP_COUNT: u64 = 65_530;

/// Prints the table.
pub(super) fn print(findings: &Findings) -> io::Result<()> {
    let mut table = Table {
        out: io::stdout().lock(),
    };
    table.answer(findings)?;
    table.cpu(findings)?;
    table.calls(findings)?;
    table.traps(findings)?;
    table.surroundings(findings)?;
    table.out.flush()
}

struct Table<W> {
    out: W,
}

impl<W: Write> Table<W> {
    /// The line that most people came for.
    fn answer(&mut self, findings: &Findings) -> io::Result<()> {
        let Some(missing) = &findings.missing else {
            return self.text(
                Good,
                "protection keys are usable: a domain is protected by a key",
            );
        };
        self.text(Bad, &missing.reason)?;
        self.text(
            Plain,
            "domains are refused here, or fall back on mprotect(2) where a program asks",
        )
    }

    fn cpu(&mut self, findings: &Findings) -> io::Result<()> {
        let cpu = &findings.cpu;
        self.heading("CPU")?;
        let place = if cpu.is_virtual {
            "seen through a hypervisor"
        } else {
            ""
        };
        self.row("model", (Plain, &cpu.model), place)?;
        self.row("PKU", needed(cpu.pku), "keys for user pages")?;
        self.row("OSPKE", needed(cpu.ospke), "turned on by the kernel")?;
        let saved = "PKRU's place in a saved state, in bytes";
        match cpu.xsave_pkru_offset {
            Some(offset) => self.row("XSAVE component 9", (Good, &offset.to_string()), saved)?,
            None => self.row("XSAVE component 9", (Bad, "no"), saved)?,
        }
        self.row(
            "PKS",
            (Plain, if cpu.pks { "yes" } else { "no" }),
            "keys for supervisor pages, for kernels",
        )?;
        self.init_pkru(findings.init_pkru.as_deref())
    }

    fn init_pkru(&mut self, value: Option<&str>) -> io::Result<()> {
        const NAME: &str = "init_pkru";
        let usual = format!("{:#010x}", KeyRegister::LINUX_INIT.bits());
        match value {
            Some(value) if value == usual => {
                self.row(NAME, (Good, value), "keys 1 to 15 start closed")
            }
            Some(value) => {
                let remark = format!("usual is {usual}: keys 1 to 15 closed");
                self.row(NAME, (Warning, value), &remark)
            }
            None => self.row(NAME, (Plain, "-"), "PKRU cannot be read"),
        }
    }

    fn calls(&mut self, findings: &Findings) -> io::Result<()> {
        let calls = &findings.calls;
        self.heading(&format!("Kernel {}", findings.kernel.release))?;
        let keys = format!("{} of {} keys are free", calls.keys_free, calls.keys_in_all);
        self.call("pkey_alloc(2)", &calls.pkey_alloc, &keys)?;
        self.call(
            "pkey_mprotect(2)",
            &calls.pkey_mprotect,
            "gives pages a key",
        )?;
        self.call("pkey_free(2)", &calls.pkey_free, "gives a key back")
    }

    fn call(&mut self, name: &str, answer: &Answer, remark: &str) -> io::Result<()> {
        match answer.error.as_deref() {
            None => self.row(name, (Good, "answers"), remark),
            Some(error) => self.row(name, (Bad, error), meaning(error)),
        }
    }

    fn traps(&mut self, findings: &Findings) -> io::Result<()> {
        for trap in &findings.kernel.traps {
            let value = match trap.verdict {
                Verdict::Good => (Good, "ok"),
                Verdict::Absent => (Plain, "no"),
                Verdict::Beware => (Warning, "beware"),
                Verdict::Unknown => (Warning, "?"),
            };
            self.row(trap.topic, value, trap.text)?;
        }
        Ok(())
    }

    fn surroundings(&mut self, findings: &Findings) -> io::Result<()> {
        let (settings, process) = (&findings.settings, &findings.process);
        self.heading("Settings and restrictions")?;
        if let Some(count) = settings.max_map_count {
            let tone = if count < USUAL_MAX_MAP_COUNT {
                Warning
            } else {
                Plain
            };
            self.row(
                "vm.max_map_count",
                (tone, &count.to_string()),
                "mappings at most: a region is one",
            )?;
        }
        let huge = settings.transparent_hugepage.as_deref();
        let (tone, remark) = match huge {
            Some("always" | "madvise") => (Plain, "regions of 2 MiB and more get them"),
            Some(_) => (Warning, "changing a large region's key takes longer"),
            None => (Plain, "the kernel has none"),
        };
        self.row("huge pages", (tone, huge.unwrap_or("no")), remark)?;
        let remark = "a filter may refuse the key calls";
        match process.seccomp {
            Some("none") => self.row("seccomp", (Plain, "none"), "no filter on system calls")?,
            Some(mode) => self.row("seccomp", (Warning, mode), remark)?,
            None => self.row("seccomp", (Plain, "-"), "unknown")?,
        }
        let privileges = process
            .no_new_privs
            .map_or("-", |is_set| if is_set { "yes" } else { "no" });
        self.row(
            "no_new_privs",
            (Plain, privileges),
            "whether execve(2) can give no rights",
        )?;
        let scope = settings
            .yama_ptrace_scope
            .map_or("-".to_owned(), |scope| scope.to_string());
        let remark = match settings.yama_ptrace_scope {
            Some(0) | None => "the user's processes can write past keys",
            Some(1) => "a parent process can write past keys",
            Some(_) => "an administrator can write past keys",
        };
        self.row("ptrace_scope", (Plain, &scope), remark)
    }

    fn heading(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{}", Strong.paint(text))
    }

    fn row(&mut self, name: &str, (tone, value): (Tone, &str), remark: &str) -> io::Result<()> {
        let value_width = if remark.is_empty() {
            0
        } else {
            VALUE.max(value.chars().count())
        };
        let padding = value_width.saturating_sub(value.chars().count());
        let line = format!(
            "  {name:NAME$} {}{:padding$}  {}",
            tone.paint(value),
            "",
            Quiet.paint(remark)
        );
        writeln!(self.out, "{}", line.trim_end())
    }

    fn text(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        wrap(text, width())
            .iter()
            .try_for_each(|line| writeln!(self.out, "{}", tone.paint(line)))
    }
}

fn needed(is_there: bool) -> (Tone, &'static str) {
    if is_there { (Good, "yes") } else { (Bad, "no") }
}

/// What an error of a key call means.
fn meaning(error: &str) -> &'static str {
    match error {
        "EPERM" | "EACCES" => "a sandbox refuses the call",
        "ENOSYS" => "no such call, or a sandbox hides it",
        "EINVAL" | "ENOSPC" => "the kernel has no keys to give",
        _ => "the kernel refuses the call",
    }
}
