//! How text looks: a few meanings, each with one colour, and the shape of the terminal.
//!
//! Colours are there on a terminal only, and not under `NO_COLOR` (`console` decides). Drawn lines take a terminal that
//! says it knows UTF-8; a file or a pipe gets ASCII.

use console::{Style, Term};

/// The width of the text where nobody says otherwise.
const WIDTH: usize = 80;

/// The greatest width that lines are broken at: longer ones are hard to read.
const WIDEST: usize = 100;

/// The least width: below it lines are broken by the terminal.
const NARROWEST: usize = 40;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// A heading, or the word that matters.
    Strong,
    /// Explanation, for a second look.
    Quiet,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// The text in this tone, for standard output.
    pub(crate) fn paint(self, text: &str) -> String {
        let style = match self {
            Self::Plain => return text.to_owned(),
            Self::Strong => Style::new().bold(),
            Self::Quiet => Style::new().dim(),
            Self::Good => Style::new().green(),
            Self::Warning => Style::new().yellow(),
            Self::Bad => Style::new().red().bold(),
        };
        style.apply_to(text).to_string()
    }
}

/// The width in which text on standard output is broken into lines.
pub(crate) fn width() -> usize {
    let columns = Term::stdout()
        .size_checked()
        .map(|(_, columns)| usize::from(columns));
    columns.unwrap_or(WIDTH).clamp(NARROWEST, WIDEST)
}

/// Whether drawn lines may be used on standard output.
pub(crate) fn has_drawing() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty());
    let is_utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_uppercase();
        locale.contains("UTF-8") || locale.contains("UTF8")
    });
    is_utf8 && Term::stdout().is_term()
}

/// Breaks text into lines of at most `width` columns, at blanks.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_lose_nothing() {
        let text = "a bb ccc dddd eeeee ffffff";
        for width in 6..30 {
            let lines = wrap(text, width);
            assert!(
                lines.iter().all(|line| line.len() <= width),
                "{width}: {lines:?}"
            );
            assert_eq!(lines.join(" "), text);
        }
        assert_eq!(wrap("abc def", 1), ["abc", "def"], "a word is never broken");
        assert_eq!(wrap("", 10), [""]);
    }
}
