//! The crates that deny unsafe code at their root do so.
//!
//! There the compiler sees to it that a file with unsafe code says so at its top (`#![allow(unsafe_code, reason = ..)]`);
//! the table of `docs/SAFETY.md` then names the file. Without the line at the root a new block would only be counted.

use super::Sources;
use crate::rust_source::{Part, only};

/// The roots, from the workspace's root.
const ROOTS: [&str; 7] = [
    "crates/cli/src/main.rs",
    "crates/core/src/lib.rs",
    "crates/kernel/src/lib.rs",
    "crates/machine/src/lib.rs",
    "crates/pkeys/src/lib.rs",
    "image/src/lib.rs",
    "image/src/main.rs",
];

/// What a root says: one of these.
const SAID: [&str; 2] = ["#![deny(unsafe_code)]", "#![forbid(unsafe_code)]"];

/// The roots that do not say it, a line each.
pub(super) fn findings(sources: &Sources) -> Vec<String> {
    ROOTS
        .iter()
        .filter(|root| !sources.get(**root).is_some_and(|text| denies(text)))
        .map(|root| format!("{root}: does not say {}", SAID[0]))
        .collect()
}

/// Whether a file denies unsafe code in itself and below.
fn denies(source: &str) -> bool {
    let code = only(source, &[Part::Code]);
    SAID.iter().any(|said| code.contains(said))
}

#[cfg(test)]
mod tests {
    use super::{ROOTS, Sources, denies, findings};

    #[test]
    fn only_the_attribute_of_the_whole_file_counts() {
        assert!(denies("#![no_std]\n#![deny(unsafe_code)]\n"));
        assert!(denies("//! A crate.\n#![forbid(unsafe_code)]\n"));
        for source in [
            "",
            "// #![deny(unsafe_code)]",
            "#[deny(unsafe_code)] mod a;",
            "#![warn(unsafe_code)]",
            "#![allow(unsafe_code, reason = \"#![deny(unsafe_code)]\")]",
        ] {
            assert!(!denies(source), "{source}");
        }
    }

    #[test]
    fn a_root_that_is_open_or_gone_is_named() {
        let mut sources: Sources = ROOTS
            .iter()
            .map(|root| ((*root).to_owned(), "#![deny(unsafe_code)]".to_owned()))
            .collect();
        assert_eq!(findings(&sources), Vec::<String>::new());
        sources.remove(ROOTS[0]);
        sources.insert(ROOTS[1].into(), "#![no_std]".into());
        let findings = findings(&sources);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with(ROOTS[0]), "{findings:?}");
        assert!(findings[1].starts_with(ROOTS[1]), "{findings:?}");
    }
}
