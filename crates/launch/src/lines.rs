//! Bytes into lines.
//!
//! A guest that has lost its mind may write anything, a line without an end among it: what is kept is bounded.

use core::ops::ControlFlow;

/// A longer line is handed on in pieces of this length.
pub const MAX_LEN_BYTES: usize = 1 << 16;

/// The line that is not at its end yet.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes bytes and hands on each line that they end, without its end; stops where the reader does.
    pub fn take(
        &mut self,
        bytes: &[u8],
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LEN_BYTES) {
                if self.line.len() + part.len() > MAX_LEN_BYTES {
                    self.finish(on_line)?;
                }
                self.line.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.finish(on_line)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Hands on what there is of a last line, if anything.
    pub fn finish(&mut self, on_line: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.line.is_empty() {
            return ControlFlow::Continue(());
        }
        let text = String::from_utf8_lossy(&self.line);
        // A serial console ends its lines with both.
        let next = on_line(text.trim_end_matches(['\n', '\r']));
        self.line.clear();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX_LEN_BYTES};
    use core::ops::ControlFlow;

    fn lines(bytes: &[u8], step: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut on_line = |line: &str| {
            found.push(line.to_owned());
            ControlFlow::Continue(())
        };
        let mut lines = Lines::default();
        for part in bytes.chunks(step) {
            assert!(lines.take(part, &mut on_line).is_continue());
        }
        assert!(lines.finish(&mut on_line).is_continue());
        found
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        for step in 1..=13 {
            let found = lines(b"a\n\nb\r\n\xff\r\r\nend", step);
            assert_eq!(found, ["a", "", "b", "\u{fffd}", "end"], "{step}");
        }
        assert_eq!(lines(b"", 1), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces_and_whole() {
        for step in [1000, MAX_LEN_BYTES + 1, 4 * MAX_LEN_BYTES] {
            let found = lines(&vec![b'x'; 3 * MAX_LEN_BYTES + 5], step);
            assert!(found.iter().all(|line| line.len() <= MAX_LEN_BYTES));
            assert_eq!(found.concat().len(), 3 * MAX_LEN_BYTES + 5);
        }
    }

    #[test]
    fn who_has_seen_enough_sees_no_more() {
        let mut seen = 0;
        let next = Lines::default().take(b"a\nb\nc\n", &mut |line| {
            seen += 1;
            match line {
                "b" => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        assert_eq!((next, seen), (ControlFlow::Break(()), 2));
    }
}
