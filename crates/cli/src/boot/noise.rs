//! What a guest says, made fit for a terminal: a guest that has lost its mind may write anything.

use std::borrow::Cow;

/// Columns of a line, at most.
const MAX_COLUMNS: usize = 400;

/// A line without control characters, and not too long.
pub(super) fn tame(line: &str) -> Cow<'_, str> {
    let is_fit = |c: char| c == ' ' || c.is_ascii_graphic();
    if line.len() <= MAX_COLUMNS && line.chars().all(is_fit) {
        return Cow::Borrowed(line);
    }
    let mut tame = String::new();
    for c in line.chars() {
        if tame.len() >= MAX_COLUMNS {
            tame.push_str("...");
            break;
        }
        if is_fit(c) {
            tame.push(c);
        } else {
            tame.extend(c.escape_default());
        }
    }
    Cow::Owned(tame)
}

#[cfg(test)]
mod tests {
    use super::{MAX_COLUMNS, tame};

    #[test]
    fn nothing_reaches_the_terminal_that_would_move_its_cursor() {
        assert_eq!(tame("page fault at 0x8"), "page fault at 0x8");
        assert_eq!(tame("a\u{1b}[2J\rb\tc"), "a\\u{1b}[2J\\rb\\tc");
        assert_eq!(tame("\u{fffd}\u{9b}"), "\\u{fffd}\\u{9b}");
        for long in ["x".repeat(1 << 16), "\u{1b}".repeat(1 << 16)] {
            assert!(tame(&long).len() < MAX_COLUMNS + 20);
        }
    }
}
