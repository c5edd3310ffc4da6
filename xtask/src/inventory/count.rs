//! What counts as a use of `unsafe`.
//!
//! The word followed by `{`, `fn`, `impl`, `trait` or `extern`, outside comments and strings: a block, a function or
//! the type of one, an implementation, a trait, foreign items. Each is a place where somebody promises something.
//! Attributes (`#[unsafe(naked)]`) are not counted, lint names (`unsafe_code`) are other words.

use crate::rust_source::{Part, only};

/// What may follow the word.
const FOLLOWERS: [&str; 4] = ["fn", "impl", "trait", "extern"];

/// How often `source` uses `unsafe`.
pub(super) fn unsafe_uses(source: &str) -> usize {
    let code = only(source, &[Part::Code]);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices("unsafe")
        .filter(|(at, word)| {
            let after = &code[at + word.len()..];
            if code[..*at].ends_with(is_word) || after.starts_with(is_word) {
                return false;
            }
            let after = after.trim_start();
            let next = after.split(|c| !is_word(c)).next().unwrap_or("");
            after.starts_with('{') || FOLLOWERS.contains(&next)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::unsafe_uses;

    #[test]
    fn each_form_counts_once() {
        for source in [
            "unsafe { f() }",
            "unsafe\n{ f() }",
            "let x = unsafe{f()};",
            "pub unsafe fn f() {}",
            "unsafe impl Send for X {}",
            "unsafe impl<T> Send for X<T> {}",
            "unsafe trait T {}",
            "unsafe extern \"C\" { fn f(); }",
            "pub unsafe extern \"C\" fn f() {}",
            "unsafe // why\n{ f() }",
        ] {
            assert_eq!(unsafe_uses(source), 1, "{source}");
        }
    }

    #[test]
    fn other_words_do_not_count() {
        for source in [
            "#![forbid(unsafe_code)]",
            "#[unsafe(naked)] fn f() {}",
            "/// unsafe { f() }\nfn f() {}",
            "let s = \"unsafe { }\";",
            "not_unsafe { }",
            "unsafe_ { }",
            "unsafe functional",
        ] {
            assert_eq!(unsafe_uses(source), 0, "{source}");
        }
    }

    #[test]
    fn uses_add_up() {
        let source = "unsafe fn f() { unsafe { g() } }\nunsafe impl Sync for X {}";
        assert_eq!(unsafe_uses(source), 3);
    }
}
