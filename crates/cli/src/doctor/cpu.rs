//! The CPU, as it shows itself to this program.

use std::fs;

use pkeys::Cpuid;
use serde::Serialize;

/// What CPUID shows. Under a hypervisor it is what the hypervisor shows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cpu {
    /// The model's name, as `/proc/cpuinfo` has it.
    pub(crate) model: String,
    /// The vendor, as `/proc/cpuinfo` has it.
    pub(crate) vendor: String,
    /// Keys for user pages.
    pub(crate) pku: bool,
    /// The kernel has turned them on.
    pub(crate) ospke: bool,
    /// Keys for supervisor pages.
    pub(crate) pks: bool,
    /// Where PKRU lies in a saved state, in bytes; `null` where it has no place there (XSAVE component 9).
    pub(crate) xsave_pkru_offset: Option<u32>,
    /// Whether the program sees the CPU through a hypervisor.
    pub(crate) is_virtual: bool,
}

impl Cpu {
    /// Asks.
    pub(crate) fn look() -> Self {
        let cpuid = Cpuid::read();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name| field(&cpuinfo, name).unwrap_or("unknown").to_owned();
        Self {
            model: field("model name"),
            vendor: field("vendor_id"),
            pku: cpuid.has_pku,
            ospke: cpuid.has_ospke,
            pks: cpuid.has_pks,
            xsave_pkru_offset: cpuid.pkru_offset,
            is_virtual: field("flags").split(' ').any(|flag| flag == "hypervisor"),
        }
    }

    /// Whether it is QEMU's interpreter, whose instructions take times of their own.
    pub(crate) fn is_emulated(&self) -> bool {
        self.model.contains("TCG")
    }

    /// Whether it is one of AMD's, or of the licensee with the same design.
    pub(crate) fn is_amd(&self) -> bool {
        ["AuthenticAMD", "HygonGenuine"].contains(&self.vendor.as_str())
    }
}

/// The first value of a field in the form `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 167\nmodel name\t: A: B\nflags\t: fpu pku\nmodel name : second\n";
        assert_eq!(field(text, "model"), Some("167"));
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "mod"), None);
    }
}
