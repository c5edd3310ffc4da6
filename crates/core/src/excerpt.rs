//! The beginning of a text, kept without allocation.
//!
//! An error that says "unknown mode" should also say which word was given. The word comes from an environment
//! variable, a kernel's boot parameter or a command line, may be of any length, and there may be no allocator to keep
//! it; so the error keeps the first [`Excerpt::CAPACITY`] bytes and remembers that there was more.

use core::fmt;

/// The beginning of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Excerpt {
    /// Invariant: the first `len` bytes are UTF-8, `len` is at most the capacity, the rest is zero.
    bytes: [u8; Self::CAPACITY],
    len: usize,
    is_cut: bool,
}

impl Excerpt {
    /// How many bytes are kept at most.
    pub const CAPACITY: usize = 30;

    /// Keeps the beginning of a text: whole characters, as many as there is room for.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut excerpt = Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
            is_cut: false,
        };
        for char in text.chars() {
            let start = excerpt.len;
            let Some(room) = excerpt.bytes.get_mut(start..start + char.len_utf8()) else {
                excerpt.is_cut = true;
                break;
            };
            excerpt.len += char.encode_utf8(room).len();
        }
        excerpt
    }

    /// What was kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        // By the invariant it always is.
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Whether the text went on.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In quotation marks, control characters escaped, and with dots after it when the text went on.
impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)?;
        f.write_str(if self.is_cut { "..." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    /// The longest beginning in whole characters that fits, by trying.
    fn model(text: &str) -> &str {
        (0..=text.len().min(Excerpt::CAPACITY))
            .rev()
            .find_map(|len| text.get(..len))
            .unwrap()
    }

    #[test]
    fn keeps_whole_characters_up_to_the_capacity() {
        // One, two, three and four bytes a character, at every position and of every length.
        for unit in ["a", "\u{e9}", "\u{20ac}", "\u{1f511}"] {
            for front in 0..4 {
                for count in 0..40 {
                    let mut text = "x".repeat(front);
                    text.extend(core::iter::repeat_n(unit, count));
                    let excerpt = Excerpt::new(&text);
                    assert_eq!(excerpt.as_str(), model(&text), "{text}");
                    assert_eq!(excerpt.is_cut(), excerpt.as_str() != text);
                }
            }
        }
    }

    #[test]
    fn stops_at_the_first_character_without_room() {
        let text: String = "a".repeat(29) + "\u{20ac}b";
        assert_eq!(Excerpt::new(&text).as_str(), "a".repeat(29));
    }

    #[test]
    fn text_is_quoted_escaped_and_marked_when_cut() {
        assert_eq!(Excerpt::new("on\x1b[2J").to_string(), r#""on\u{1b}[2J""#);
        let long = Excerpt::new(&"a".repeat(31)).to_string();
        assert_eq!(long, std::format!("\"{}\"...", "a".repeat(30)));
    }
}
