//! What `/proc/cpuinfo` says about protection keys.
//!
//! `pku` is the CPU's offer (CPUID.7.0:ECX bit 3), `ospke` says that the kernel has switched it on (bit 4, CR4.PKE).

/// Whether the `flags` line of `/proc/cpuinfo` has `flag` as a whole word.
///
/// ```
/// let text = "processor\t: 0\nflags\t\t: fpu pku ospke\n";
/// assert!(guest_init::cpuinfo::has_flag(text, "pku"));
/// assert!(!guest_init::cpuinfo::has_flag(text, "ospk"));
/// ```
#[must_use]
pub fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() == "flags")
        .any(|(_, flags)| flags.split_whitespace().any(|word| word == flag))
}

#[cfg(test)]
mod tests {
    use super::has_flag;

    #[test]
    fn only_the_flags_line_counts() {
        let text = "model name\t: ospke fan\nvmx flags\t: ospke\nflags\t\t: fpu pku\n";
        assert!(has_flag(text, "pku"));
        assert!(!has_flag(text, "ospke"));
        assert!(!has_flag("", "pku"));
    }
}
