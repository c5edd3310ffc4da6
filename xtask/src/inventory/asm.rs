//! The rule of every `asm!` that changes rights: never `nomem`, `readonly` or `pure`.
//!
//! With `nomem` the compiler may move a store out of the window that a WRPKRU opens, and in release builds it does; with
//! `pure` it may merge two calls. A disassembly test shows that today's build is right; this check names the line on
//! which tomorrow's would be wrong.

use crate::rust_source::{Part, mask, only};

/// The instructions that write a key register: XRSTOR, with its variants, loads PKRU among the rest of the state.
const WRITERS: [&str; 3] = ["wrpkru", "wrmsr", "xrstor"];

/// What such an `asm!` must not promise.
const FORBIDDEN: [&str; 3] = ["nomem", "readonly", "pure"];

/// The broken calls of `source`, as `LINE: what`.
pub(super) fn broken(source: &str) -> Vec<String> {
    // Comments may name the instructions and the options; both strings and code are looked at apart.
    let code = only(source, &[Part::Code]);
    let text = only(source, &[Part::Code, Part::Literal]);
    debug_assert_eq!(mask(source).len(), code.len());
    let mut findings = Vec::new();
    for (at, name) in code.match_indices("asm!") {
        let end = at + call_len(&code[at..]);
        let template = text[at..end].to_ascii_lowercase();
        let Some(writer) = WRITERS.iter().find(|writer| template.contains(*writer)) else {
            continue;
        };
        let options = code[at + name.len()..end].split(|c: char| !c.is_ascii_alphanumeric());
        for option in options.filter(|option| FORBIDDEN.contains(option)) {
            let line = source[..at].lines().count().max(1);
            findings.push(format!("{line}: asm! with {writer} says {option}"));
        }
    }
    findings
}

/// The length of a macro call that starts at the front of `code`, to its closing bracket.
fn call_len(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth <= 1 => return at + 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn a_writer_with_a_forbidden_option_is_named_with_its_line() {
        let source = "\
fn f() {
    unsafe {
        core::arch::asm!(\"wrpkru\", in(\"eax\") 0, options(nostack, nomem));
    }
}";
        assert_eq!(broken(source), ["3: asm! with wrpkru says nomem"]);
        let source = "naked_asm! { \"mov ecx, 0x6e1\", \"WRMSR\", options(pure, readonly) }";
        assert_eq!(
            broken(source),
            [
                "1: asm! with wrmsr says pure",
                "1: asm! with wrmsr says readonly"
            ]
        );
    }

    #[test]
    fn restoring_the_extended_state_writes_rights() {
        let source = "asm!(\"xrstor64 [{}]\", in(reg) area, options(nostack, readonly))";
        assert_eq!(broken(source), ["1: asm! with xrstor says readonly"]);
        let source = "asm!(\"xsave64 [{}]\", \"fxrstor64 [{}]\", options(nostack))";
        assert_eq!(broken(source), Vec::<String>::new());
    }

    #[test]
    fn what_is_allowed_passes() {
        for source in [
            "asm!(\"wrpkru\", options(nostack, preserves_flags))",
            "asm!(\"rdpkru\", options(nomem, nostack))",
            // Said, not done.
            "asm!(\"wrpkru\" /* never nomem */, options(nostack)) // nomem",
            "asm!(\"rdpkru ; not wrpkr\", options(nomem))",
            // The next call is another one.
            "asm!(\"wrpkru\", options(nostack)); asm!(\"nop\", options(nomem))",
            "let pure = 1; asm!(\"wrpkru\");",
        ] {
            assert_eq!(broken(source), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_no_trouble() {
        assert_eq!(broken("asm!(\"wrpkru\", options(nomem").len(), 1);
        assert_eq!(broken("asm!"), Vec::<String>::new());
    }
}
