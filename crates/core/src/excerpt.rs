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
