//! What surrounds the process: the kernel's release and settings, and what the process is restricted by.

use std::fs;

use serde::Serialize;

/// Settings of the kernel that matter to domains. `null` where the kernel has no such setting.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    /// How many mappings a process may have: a region is one at least.
    pub(crate) max_map_count: Option<u64>,
    /// When huge pages are given: `always`, `madvise` or `never`.
    pub(crate) transparent_hugepage: Option<String>,
    /// Who may trace whom: 0 to 3.
    pub(crate) yama_ptrace_scope: Option<u64>,
}

/// What this process is restricted by.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Process {
    /// Filters on system calls: `none`, `strict` or `filter`.
    pub(crate) seccomp: Option<&'static str>,
    /// Whether it can gain no rights by executing a program.
    pub(crate) no_new_privs: Option<bool>,
}

impl Settings {
    /// Reads them.
    pub(crate) fn look() -> Self {
        Self {
            max_map_count: number("/proc/sys/vm/max_map_count"),
            transparent_hugepage: read("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| chosen(&text).map(str::to_owned)),
            yama_ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
        }
    }
}

impl Process {
    /// Reads `/proc/self/status`.
    pub(crate) fn look() -> Self {
        Self::parse(&read("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let field = |name| {
            let mut fields = status.lines().filter_map(|line| line.split_once(':'));
            fields
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.trim())
        };
        Self {
            seccomp: match field("Seccomp") {
                Some("0") => Some("none"),
                Some("1") => Some("strict"),
                Some("2") => Some("filter"),
                _ => None,
            },
            no_new_privs: field("NoNewPrivs").map(|value| value == "1"),
        }
    }
}

/// The kernel's release, as `uname -r` prints it.
pub(crate) fn release() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// The word in brackets: how such files mark what is chosen.
fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_word_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("[always] madvise never\n"), Some("always"));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn restrictions_are_read_and_may_be_missing() {
        let process =
            Process::parse("Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert_eq!(
            (process.seccomp, process.no_new_privs),
            (Some("filter"), Some(true))
        );
        let process = Process::parse("Name:\tx\n");
        assert_eq!((process.seccomp, process.no_new_privs), (None, None));
    }
}
