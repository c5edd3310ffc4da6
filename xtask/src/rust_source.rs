//! Tells code, comments and strings of a Rust source file apart, without parsing it.
//!
//! [`mask`] gives, for every byte, what it belongs to. That is enough to count a keyword or to find a macro call, and
//! not to be fooled by the word `unsafe` in a sentence.

/// What a byte of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Code.
    Code,
    /// A line or block comment, doc comments among them.
    Comment,
    /// A string, byte string, raw string or character, with its quotes.
    Literal,
}

/// The part each byte of `source` belongs to.
pub(crate) fn mask(source: &str) -> Vec<Part> {
    let bytes = source.as_bytes();
    let mut parts = vec![Part::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (part, end) = token(source, at);
        parts[at..end].fill(part);
        at = end;
    }
    parts
}

/// `source` with every byte that is not of one of `kept` as a blank; line breaks stay.
pub(crate) fn only(source: &str, kept: &[Part]) -> String {
    let parts = mask(source);
    let bytes = source.bytes().zip(parts).map(|(byte, part)| {
        if byte == b'\n' || (kept.contains(&part) && byte.is_ascii()) {
            byte
        } else {
            b' '
        }
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

/// The part that starts at `at`, and where it ends.
fn token(source: &str, at: usize) -> (Part, usize) {
    let rest = &source.as_bytes()[at..];
    if rest.starts_with(b"//") {
        let len = rest.iter().position(|byte| *byte == b'\n');
        return (Part::Comment, at + len.unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return (Part::Comment, at + block_comment(rest));
    }
    if let Some(len) = raw_string(source, at) {
        return (Part::Literal, at + len);
    }
    match rest[0] {
        b'"' => (Part::Literal, at + quoted(rest, b'"')),
        b'\'' if is_char(rest) => (Part::Literal, at + quoted(rest, b'\'')),
        _ => (Part::Code, at + 1),
    }
}

/// The length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a quoted literal with escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether a quote starts a character; else it starts a lifetime.
fn is_char(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        // A lifetime is a name and has no closing quote; a character is one, of up to four bytes.
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => true,
        None => false,
    }
}

/// The length of a raw string that starts at `at`: `r"`, `r#"`, `br"`, `cr#"` and so on.
fn raw_string(source: &str, at: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if at > 0 && bytes.get(at - 1).is_some_and(is_word) {
        return None;
    }
    let rest = source.get(at..)?;
    let body = ["br", "cr", "r"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let text = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text.find(&close).map_or(text.len(), |n| n + close.len());
    Some(rest.len() - text.len() + end)
}

#[cfg(test)]
mod tests {
    use super::{Part, only};

    /// The code of `source`, blanks squeezed.
    fn code(source: &str) -> String {
        let kept = only(source, &[Part::Code]);
        kept.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_blanked() {
        assert_eq!(code("a // unsafe\nb /* x /* y */ z */ c"), "a b c");
        assert_eq!(code("/// unsafe\n//! unsafe\nfn f() {}"), "fn f() {}");
        assert_eq!(code("a /* open"), "a");
    }

    #[test]
    fn strings_are_blanked() {
        assert_eq!(
            code(r#"f("unsafe \" // {", b"x", c"y") g"#),
            "f( , b , c ) g"
        );
        assert_eq!(
            code("f(r\"\\\", r#\"a \" unsafe\"#, br##\"\"#\"##) g"),
            "f( , , ) g"
        );
        assert_eq!(code("\"open"), "");
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        assert_eq!(
            code("fn f<'a>(x: &'a u8) { '\"'; '\\''; b'{'; '\u{e9}' }"),
            "fn f<'a>(x: &'a u8) { ; ; b ; }"
        );
    }

    #[test]
    fn a_name_that_ends_in_r_starts_no_raw_string() {
        assert_eq!(code("writer\"x\" y"), "writer y");
        assert_eq!(code("r#type y"), "r#type y");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let source = "a\n\"b\nc\"\n// d\ne";
        assert_eq!(only(source, &[Part::Code]).lines().nth(4), Some("e"));
        assert_eq!(
            only(source, &[Part::Code, Part::Literal]).lines().nth(2),
            Some("c\"")
        );
    }
}
