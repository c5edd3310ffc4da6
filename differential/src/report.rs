//! What is said of a difference: a test to paste, and what each side saw at the step that differs.

use core::fmt;

use pkeys_kernel::abi::Errno;

use crate::detail::Step;
use crate::op::Op;
use crate::witness::{Fact, What};

/// A difference, shrunk.
#[derive(Debug)]
pub struct Report {
    /// The run's seed.
    pub seed: u64,
    /// The batch's number.
    pub batch: u64,
    /// The steps that are left.
    pub ops: Vec<Op>,
    /// The place of the one that differs.
    pub place: usize,
    /// What Linux's side saw.
    pub linux: Vec<Step>,
    /// What the machine's side saw.
    pub machine: Vec<Step>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, batch, nr) = (self.seed, self.batch, self.ops.len());
        writeln!(
            f,
            "Linux and the machine differ: seed {seed}, batch {batch}, {nr} steps left."
        )?;
        writeln!(f, "\nAs a test for differential/tests/replay.rs:\n")?;
        writeln!(f, "#[test]\nfn seed_{seed}_batch_{batch}() {{")?;
        writeln!(f, "    let steps = [")?;
        for op in &self.ops {
            writeln!(f, "        {},", op.code())?;
        }
        writeln!(f, "    ];")?;
        let empty = Vec::new();
        let facts = |steps: &[Step]| match steps.get(self.place) {
            Some(step) => step.facts.clone(),
            None => empty.clone(),
        };
        let (linux, machine) = (facts(&self.linux), facts(&self.machine));
        writeln!(f, "    // What Linux says to the last of them.")?;
        writeln!(f, "    let linux = [")?;
        for (what, value) in &linux {
            writeln!(f, "        (What::{}, {value:#x}),", what.word())?;
        }
        writeln!(f, "    ];\n    replay(&steps, &linux);\n}}")?;
        if let Some(op) = self.ops.get(self.place) {
            writeln!(f, "\nWhat was seen of {}:\n", op.code())?;
        }
        table(f, &linux, &machine)
    }
}

/// Both sides' facts next to each other, with a mark where they differ.
fn table(f: &mut fmt::Formatter<'_>, linux: &[Fact], machine: &[Fact]) -> fmt::Result {
    writeln!(f, "  {:<44}  machine", "Linux")?;
    for index in 0..linux.len().max(machine.len()) {
        let words = |facts: &[Fact]| {
            let fact = facts.get(index);
            fact.map_or_else(|| "nothing more".to_owned(), |fact| in_words(*fact))
        };
        let (theirs, ours) = (words(linux), words(machine));
        let mark = if linux.get(index) == machine.get(index) {
            ' '
        } else {
            '>'
        };
        writeln!(f, "{mark} {theirs:<44}  {ours}")?;
    }
    Ok(())
}

/// A fact as a reader wants it.
#[must_use]
pub fn in_words((what, value): Fact) -> String {
    let signed = value.cast_signed();
    match what {
        What::Result => match i32::try_from(-signed).ok().filter(|number| *number > 0) {
            Some(number) => format!("result -{number}{}", errno(number)),
            None => format!("result {value:#x}"),
        },
        What::Errno => match i32::try_from(value) {
            Ok(number) => format!("error {number}{}", errno(number)),
            Err(_) => format!("error {value:#x}"),
        },
        What::Byte => format!("byte {value:#04x}"),
        What::Done => "done".to_owned(),
        What::Signo => format!("signal {value}"),
        What::Code => format!("si_code {signed}{}", code(signed)),
        What::Addr => format!("si_addr {value:#x}"),
        What::Pkey => format!("si_pkey {value}"),
        What::Err => format!("error code {value:#x}"),
        What::Trapno => format!("trap number {value}"),
        What::Cr2 => format!("CR2 {value:#x}"),
        What::PkruInHandler => format!("PKRU in the handler {value:#010x}"),
        What::PkruInFrame => format!("PKRU in the frame {value:#010x}"),
        What::OnAltstack => format!("on the alternate stack: {}", value != 0),
        What::Pkru => format!("PKRU {value:#010x}"),
        What::PkruAfter => format!("PKRU behind it {value:#010x}"),
        What::Runs => format!("the handler ran {value} times"),
        What::MappingProt => format!("mapping with protection {value:#x}"),
        What::MappingKey if value == u64::MAX => "without a key".to_owned(),
        What::MappingKey => format!("and key {value}"),
        What::NoMapping => "no mapping".to_owned(),
        What::Killed => format!("killed by signal {value}"),
        What::Exited => format!("ended itself with status {value}"),
        What::Skipped => "skipped".to_owned(),
        What::Peer => format!("a peer's hash {value:016x}"),
    }
}

fn errno(number: i32) -> String {
    Errno::from_number(number).map_or_else(String::new, |errno| format!(" ({errno})"))
}

/// The name of a `si_code` of SIGSEGV.
const fn code(code: i64) -> &'static str {
    match code {
        1 => " (SEGV_MAPERR)",
        2 => " (SEGV_ACCERR)",
        4 => " (SEGV_PKUERR)",
        -6 => " (SI_TKILL)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, in_words};
    use crate::detail::Step;
    use crate::op::Op;
    use crate::witness::What;

    #[test]
    fn a_report_is_a_test_and_a_table() {
        let step = |code| Step {
            summary: code,
            facts: vec![(What::Signo, 11), (What::Code, code)],
        };
        let report = Report {
            seed: 3,
            batch: 9,
            ops: vec![Op::PkeyAlloc { rights: 1 }, Op::Call { page: 2 }],
            place: 1,
            linux: vec![step(0), step(4)],
            machine: vec![step(0), step(2)],
        };
        let text = report.to_string();
        for part in [
            "fn seed_3_batch_9() {",
            "        Op::PkeyAlloc { rights: 1 },\n        Op::Call { page: 2 },\n",
            "        (What::Code, 0x4),\n",
            "  signal 11                                     signal 11\n",
            "> si_code 4 (SEGV_PKUERR)                       si_code 2 (SEGV_ACCERR)\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn results_are_named() {
        let minus = |number: i64| (-number).cast_unsigned();
        assert_eq!(
            in_words((What::Result, minus(22))),
            "result -22 (invalid argument)"
        );
        assert_eq!(in_words((What::Result, 0x1000)), "result 0x1000");
        assert_eq!(in_words((What::Result, minus(999))), "result -999");
        assert_eq!(
            in_words((What::Errno, 5)),
            "error 5 (input or output error)"
        );
    }
}
