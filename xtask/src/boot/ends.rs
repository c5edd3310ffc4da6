//! Machines and command lines that the image refuses, options that change what it does, and cases that must end it: each
//! with its status and its words.
//!
//! A case that ends the kernel cannot stand among the others: each has a boot for itself, and fails when it returns.

use super::machine::{End, Machine};
use pkeys_launch::Said;

/// What a boot has to come to.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The machine and its command line.
    pub(super) machine: Machine<'static>,
    /// Its end.
    pub(super) end: End,
    /// What it says.
    pub(super) says: &'static str,
}

impl Wanted {
    /// Why a boot is not what was wanted; `None` when it is.
    pub(super) fn trouble(&self, end: End, output: &str) -> Option<String> {
        let boot = format!("-cpu {} {}", self.machine.cpu, self.machine.append);
        let boot = boot.trim_end();
        if end != self.end {
            return Some(format!("{boot}: {end}"));
        }
        (!output.contains(self.says)).then(|| format!("{boot}: does not say {:?}", self.says))
    }
}

/// Machines that will not do, and what the kernel says to them.
const CPUS: [(&str, &str); 4] = [
    ("max,-pks", "no protection keys for supervisor pages"),
    ("max,-pku", "no protection keys for user pages"),
    ("max,-xsave", "no XSAVE"),
    ("qemu32", "no 64-bit mode"),
];

/// Command lines, how they end, and what the kernel says.
const LINES: [(&str, End, &str); 19] = [
    (
        "init_pkru=0x1234554 test=user-starts-with-init-pkru",
        End::Passed,
        "ok user-starts-with-init-pkru",
    ),
    (
        "exec=/bin/true",
        End::Refused,
        "the boot loader brought no file",
    ),
    ("arg=%4", End::Refused, "arg=%4: expected text with %"),
    ("cpu=2", End::Refused, "did you mean cpus=?"),
    (
        "pks=loud",
        End::Refused,
        "expected strict, relaxed, silent or off",
    ),
    ("init_pkru=1", End::Refused, "leaves key 0 open"),
    ("test=strom", End::Refused, "did you mean storm?"),
    ("list=all", End::Refused, "list=all: expected no value"),
    ("cpus=2", End::Refused, "1 of 2 CPUs came up"),
    (
        "test=die-stray-write",
        End::Stopped,
        "deaths::stray_write): key 5 of nobody, no access, strict",
    ),
    (
        "test=die-stray-read",
        End::Stopped,
        "deaths::stray_read): key 5 of nobody, no access, strict",
    ),
    (
        "test=die-write-with-read-grant",
        End::Stopped,
        "the interrupted context has 0xfffffbfc, the handler 0xfffffffc",
    ),
    (
        "test=die-stray-write-to-the-device",
        End::Stopped,
        "deaths::scribble): key 1 of \"dax\", no access, strict",
    ),
    (
        "test=die-shared-page-in-strict",
        End::Stopped,
        "deaths::scribble): key 3 of \"kmap\", on a shared page, no access, strict",
    ),
    (
        "test=die-page-of-a-program",
        End::Stopped,
        "page fault at 0x400000: supervisor write, page present, protection key, a user page",
    ),
    (
        "test=die-null",
        End::Stopped,
        "page fault at 0x8: supervisor read, page not present",
    ),
    (
        "test=die-invalid-opcode",
        End::Stopped,
        "invalid opcode (vector 6",
    ),
    ("test=die-stack-overflow", End::Stopped, "double fault"),
    ("test=die-panic", End::Panicked, "as asked for"),
];

/// Memory that is too little, in MiB.
const LITTLE_MEMORY: u32 = 8;

/// All of them.
pub(super) fn all() -> Vec<Wanted> {
    let cpus = CPUS.map(|(cpu, says)| Wanted {
        machine: Machine {
            cpu,
            ..Machine::default()
        },
        end: End::Refused,
        says,
    });
    let lines = LINES.map(|(append, end, says)| Wanted {
        machine: Machine {
            append: append.to_owned(),
            ..Machine::default()
        },
        end,
        says,
    });
    let memory = Wanted {
        machine: Machine {
            memory_mib: LITTLE_MEMORY,
            ..Machine::default()
        },
        end: End::Refused,
        says: "too little",
    };
    cpus.into_iter().chain(lines).chain([memory]).collect()
}

/// What is wrong with a list of the kernel's cases: one that ends the kernel has no boot here, or the list has none at all.
pub(super) fn list_trouble(output: &str) -> Option<String> {
    let deadly: Vec<&str> = output
        .lines()
        .filter_map(|line| match Said::parse(line) {
            Said::Case {
                name,
                is_deadly: true,
            } => Some(name),
            _ => None,
        })
        .collect();
    if deadly.is_empty() {
        return Some("no case ends the kernel".to_owned());
    }
    let is_wanted = |name: &str| {
        LINES
            .iter()
            .any(|(words, ..)| *words == format!("test={name}"))
    };
    let missing = deadly.into_iter().find(|name| !is_wanted(name))?;
    Some(format!("nothing is wanted of {missing}"))
}

#[cfg(test)]
mod tests {
    use super::{End, Machine, Wanted, list_trouble};

    #[test]
    fn each_case_that_ends_the_kernel_is_wanted() {
        let deadly = "case die-null (ends the kernel, runs by name only)\n";
        assert_eq!(list_trouble(&format!("case storm\n{deadly}")), None);
        assert!(list_trouble("case storm\n").is_some());
        let other = deadly.replace("null", "of-thirst");
        assert_eq!(
            list_trouble(&format!("{deadly}{other}")).as_deref(),
            Some("nothing is wanted of die-of-thirst")
        );
    }

    #[test]
    fn status_and_words_both_count() {
        let wanted = Wanted {
            machine: Machine {
                append: "test=die".into(),
                ..Machine::default()
            },
            end: End::Stopped,
            says: "double fault",
        };
        let trouble = |end, output| wanted.trouble(end, output);
        assert_eq!(trouble(End::Stopped, "pkeys: double fault\n"), None);
        assert_eq!(
            trouble(End::Passed, "double fault").as_deref(),
            Some("-cpu max test=die: passed")
        );
        assert_eq!(
            trouble(End::Stopped, "page fault").as_deref(),
            Some("-cpu max test=die: does not say \"double fault\"")
        );
    }
}
