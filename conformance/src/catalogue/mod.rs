//! The catalogue: every rule of the ABI of user protection keys that a program can see, by topic.
//!
//! It covers the kernel's own selftests by what they assert, with exact numbers where they ask for any failure, and what
//! they leave out. A case's source names the selftest or the function that its rule comes from; paths are those of Linux
//! 6.12.

mod access;
mod alloc;
mod altstack;
mod execute_only;
mod free;
mod huge;
mod inherit;
mod kernel_access;
mod map_kinds;
mod mprotect;
mod mremap;
mod not_present;
mod order;
mod ptrace;
mod range;
mod remote;
mod seal;
mod signal;
mod sigreturn;
mod smaps;
mod which_fault;

use crate::case::Case;

/// The topics, in the order in which they run.
const TOPICS: &[&[Case]] = &[
    alloc::CASES,
    free::CASES,
    mprotect::CASES,
    range::CASES,
    order::CASES,
    execute_only::CASES,
    access::CASES,
    not_present::CASES,
    which_fault::CASES,
    map_kinds::CASES,
    huge::CASES,
    kernel_access::CASES,
    remote::CASES,
    inherit::CASES,
    signal::CASES,
    sigreturn::CASES,
    altstack::CASES,
    ptrace::CASES,
    smaps::CASES,
    mremap::CASES,
    seal::CASES,
];

/// Every case.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    TOPICS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn names_are_unique_and_say_topic_and_rule() {
        let mut seen = BTreeSet::new();
        for case in cases() {
            assert!(seen.insert(case.name), "{} twice", case.name);
            let (topic, rule) = case.name.split_once('.').unwrap();
            for part in [topic, rule] {
                let is_word = |letter: char| {
                    letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit()
                };
                assert!(
                    !part.is_empty() && part.chars().all(is_word),
                    "{}",
                    case.name
                );
            }
        }
        assert!(seen.len() >= 120, "{} cases", seen.len());
    }

    #[test]
    fn rules_are_sentences_with_a_source() {
        for case in cases() {
            assert!(
                case.rule.ends_with('.') && case.rule.len() > 20,
                "{}",
                case.name
            );
            assert!(
                !case.source.is_empty() && case.rule.is_ascii(),
                "{}",
                case.name
            );
        }
    }
}
