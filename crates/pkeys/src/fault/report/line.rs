//! Text without `core::fmt`: what a signal handler composes its record with.
//!
//! A [`Line`] fills a buffer that somebody else owns. It allocates nothing, does not panic and uses some dozens of bytes of
//! stack. What does not fit is left out and remembered; the callers' limits on names keep that from happening.

/// The replacement character for bytes that are not UTF-8, which neither JSON nor a terminal may be given.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Text under construction in a borrowed buffer.
#[derive(Debug)]
pub(super) struct Line<'b> {
    buffer: &'b mut [u8],
    len: usize,
    is_cut: bool,
}

impl<'b> Line<'b> {
    /// An empty text that may grow to the buffer's size.
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            is_cut: false,
        }
    }

    /// What was written.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    /// Whether something did not fit.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Text as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            match self.buffer.get_mut(self.len) {
                Some(slot) => {
                    *slot = byte;
                    self.len += 1;
                }
                None => self.is_cut = true,
            }
        }
        self
    }

    /// A number in decimal.
    pub(super) fn decimal(&mut self, number: u64) -> &mut Self {
        // The largest power of ten that is not above the number; 0 is written as one digit.
        let mut power = 1;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            self.digit(number / power % 10);
            power /= 10;
        }
        self
    }

    /// A number in decimal, with its sign where it is negative.
    pub(super) fn signed(&mut self, number: i64) -> &mut Self {
        if number < 0 {
            self.text("-");
        }
        self.decimal(number.unsigned_abs())
    }

    /// A number in hexadecimal, with `0x` before it.
    pub(super) fn hex(&mut self, number: u64) -> &mut Self {
        self.text("0x");
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            self.digit(number >> (4 * place) & 0xF);
        }
        self
    }

    /// Bytes as two hexadecimal digits each.
    pub(super) fn hex_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            self.digit(u64::from(byte >> 4))
                .digit(u64::from(byte & 0xF));
        }
        self
    }

    /// One hexadecimal digit.
    fn digit(&mut self, digit: u64) -> &mut Self {
        #[expect(clippy::cast_possible_truncation, reason = "the callers give 0 to 15")]
        let digit = digit as u8;
        self.bytes(&[if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + (digit & 0xF)
        }])
    }

    /// A name as a JSON string (RFC 8259, section 7), quotes included. Bytes that are not UTF-8 become U+FFFD.
    pub(super) fn json_string(&mut self, name: &[u8]) -> &mut Self {
        self.text("\"");
        self.escaped(name, |line, control| {
            line.text("\\u00").hex_bytes(&[control]);
        });
        self.text("\"")
    }

    /// A name in quotes for a terminal: nothing in it can move the cursor or end the quotes.
    pub(super) fn terminal_string(&mut self, name: &[u8]) -> &mut Self {
        self.text("\"").terminal_name(name).text("\"")
    }

    /// As [`Line::terminal_string`], without the quotes.
    pub(super) fn terminal_name(&mut self, name: &[u8]) -> &mut Self {
        self.escaped(name, |line, control| {
            line.text("\\x").hex_bytes(&[control]);
        })
    }

    fn escaped(&mut self, name: &[u8], escape: fn(&mut Self, u8)) -> &mut Self {
        for chunk in name.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '"' => _ = self.text("\\\""),
                    '\\' => _ = self.text("\\\\"),
                    // All of them are below U+0100. Those from U+0080 on are legal in JSON; some terminals heed them.
                    char if char.is_control() => escape(self, char as u8),
                    char => _ = self.text(char.encode_utf8(&mut [0; 4])),
                }
            }
            if !chunk.invalid().is_empty() {
                self.bytes(REPLACEMENT);
            }
        }
        self
    }
}

/// At most `max` bytes of a name, from its start.
pub(super) fn head(name: &[u8], max: usize) -> &[u8] {
    name.get(..max).unwrap_or(name)
}

/// At most `max` bytes of a name, from its end.
pub(super) fn tail(name: &[u8], max: usize) -> &[u8] {
    name.get(name.len().saturating_sub(max)..).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut buffer = [0; 4096];
        let mut line = Line::new(&mut buffer);
        write(&mut line);
        assert!(!line.is_cut());
        String::from_utf8(line.as_bytes().to_vec()).unwrap()
    }

    /// Around every power of two and of ten.
    fn numbers() -> impl Iterator<Item = u64> {
        let twos = (0..64).map(|n| 1_u64 << n);
        let tens = (0..20).map(|n| 10_u64.pow(n));
        twos.chain(tens)
            .flat_map(|n| [n - 1, n, n + 1])
            .chain([0, u64::MAX])
    }

    #[test]
    fn numbers_are_those_of_std() {
        for number in numbers() {
            assert_eq!(
                written(|line| _ = line.decimal(number)),
                format!("{number}")
            );
            assert_eq!(written(|line| _ = line.hex(number)), format!("{number:#x}"));
            for signed in [number.cast_signed(), number.cast_signed().wrapping_neg()] {
                assert_eq!(written(|line| _ = line.signed(signed)), format!("{signed}"));
            }
        }
    }

    #[test]
    fn bytes_are_two_digits_each() {
        let all: Vec<u8> = (0..=255).collect();
        let expected: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written(|line| _ = line.hex_bytes(&all)), expected);
    }

    fn assert_json_is(name: &[u8]) {
        let text = written(|line| _ = line.json_string(name));
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed, Value::from(String::from_utf8_lossy(name)), "{text}");
    }

    /// Every byte alone, and every byte between, before and after every kind of neighbour.
    #[test]
    fn json_holds_any_bytes() {
        let neighbours: [&[u8]; 8] = [
            b"a",
            b"\"",
            b"\\",
            b"\n",
            "\u{e9}".as_bytes(),
            "\u{1f980}".as_bytes(),
            b"\xF0\x9F",
            b"\xFF",
        ];
        assert_json_is(b"");
        for byte in 0..=255 {
            assert_json_is(&[byte]);
            for neighbour in neighbours {
                assert_json_is(&[neighbour, &[byte], neighbour].concat());
                assert_json_is(&[&[byte], neighbour, &[byte]].concat());
            }
        }
    }

    /// Sequences that look random and come out the same every time.
    #[test]
    fn json_holds_any_sequence() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..2_000 {
            let name: Vec<u8> = core::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32).to_le_bytes()[0]
            })
            .take(24)
            .collect();
            assert_json_is(&name);
        }
    }

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        let bytes = (0..=255_u8).map(|byte| vec![b'a', byte, b'b']);
        let chars = (0..=255_u8).map(|byte| format!("a{}b", char::from(byte)).into_bytes());
        for name in bytes.chain(chars) {
            let text = written(|line| _ = line.terminal_string(&name));
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let quotes = text.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(quotes.matches('"').count(), 2, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let mut buffer = [0; 4];
        let mut line = Line::new(&mut buffer);
        line.text("abcd");
        assert!(!line.is_cut());
        line.decimal(5);
        assert!(line.is_cut());
        assert_eq!(line.as_bytes(), b"abcd");
    }

    #[test]
    fn names_are_shortened_at_one_end() {
        assert_eq!(head(b"abcdef", 3), b"abc");
        assert_eq!(tail(b"abcdef", 3), b"def");
        assert_eq!(head(b"ab", 3), b"ab");
        assert_eq!(tail(b"ab", 3), b"ab");
    }
}
