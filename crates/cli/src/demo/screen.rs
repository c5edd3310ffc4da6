//! The demo on the screen: lines as they become known, and a progress bar below them while there is a terminal.

use core::fmt::Write as _;
use std::borrow::Cow;
use std::io::{self, Write as _};

use console::{measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::style::Tone::{self, Plain, Quiet, Strong};
use crate::style::{has_drawing, width, wrap};

/// Steps of the whole bar.
const BAR_STEPS: u64 = 1_000;

/// A line in pieces.
pub(crate) type Line<'a> = &'a [(Tone, &'a str)];

/// A row of a table, cell by cell.
pub(crate) type Row = Vec<(Tone, String)>;

/// A row of these cells.
pub(crate) fn row<const N: usize>(cells: [(Tone, &str); N]) -> Row {
    cells.map(|(tone, text)| (tone, text.to_owned())).to_vec()
}

/// Where the demo writes.
#[derive(Debug)]
pub(crate) struct Screen {
    /// For `--json` nothing is told, but the bar is there.
    is_silent: bool,
    bar: ProgressBar,
    width: usize,
    has_drawing: bool,
}

impl Screen {
    pub(crate) fn new(is_silent: bool) -> Self {
        let has_drawing = has_drawing();
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new(BAR_STEPS);
        let chars = if has_drawing { "━╸─" } else { "=>-" };
        if let Ok(look) = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
            bar.set_style(look.progress_chars(chars));
        }
        Self {
            is_silent,
            bar,
            width: width(),
            has_drawing,
        }
    }

    /// Says what is being done, and how far the whole demo is, from 0 to 1.
    pub(crate) fn progress(&self, doing: &str, done: f64) {
        self.bar.set_message(doing.to_owned());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and 1000"
        )]
        self.bar
            .set_position((done.clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line.
    pub(crate) fn line(&self, pieces: Line<'_>) -> Result<(), Failure> {
        let mut line = String::new();
        for (tone, text) in pieces {
            line.push_str(&tone.paint(text));
        }
        self.write(line.trim_end())
    }

    /// Writes text, broken into lines, each with a margin.
    pub(crate) fn text(&self, tone: Tone, margin: &str, text: &str) -> Result<(), Failure> {
        for line in wrap(text, self.width.saturating_sub(margin.len())) {
            self.line(&[(Plain, margin), (tone, &line)])?;
        }
        Ok(())
    }

    /// Writes the heading of a part: its name, and a rule to the right edge.
    pub(crate) fn heading(&self, name: &str) -> Result<(), Failure> {
        let rule = if self.has_drawing { "─" } else { "-" };
        let len = self.width.saturating_sub(name.chars().count() + 1);
        self.line(&[])?;
        self.line(&[(Strong, name), (Plain, " "), (Quiet, &rule.repeat(len))])
    }

    /// Writes what another program wrote behind a bar: its first line broken, the others cut where the screen ends.
    pub(crate) fn quote(&self, lines: &[(Tone, &str)]) -> Result<(), Failure> {
        let (bar, end) = if self.has_drawing {
            ("  │ ", "…")
        } else {
            ("  | ", "...")
        };
        let room = self.width.saturating_sub(bar.chars().count());
        let Some(((tone, first), rest)) = lines.split_first() else {
            return Ok(());
        };
        for (number, line) in wrap(first, room.saturating_sub(4)).iter().enumerate() {
            let indent = if number == 0 { "" } else { "    " };
            self.line(&[(Quiet, bar), (Plain, indent), (*tone, line)])?;
        }
        rest.iter().try_for_each(|(tone, line)| {
            let line = fit(line, room, end);
            self.line(&[(Quiet, bar), (*tone, &line)])
        })
    }

    /// A bar of that length, in columns: with eighths of a column where the terminal can draw them.
    pub(crate) fn bar(&self, columns: f64) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some columns"
        )]
        let eighths = (columns.max(0.0) * 8.0).round() as usize;
        if !self.has_drawing {
            return "#".repeat((eighths / 8).max(1));
        }
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        format!("{}{rest}", "█".repeat(eighths / 8))
    }

    /// Writes a table: columns as wide as their widest cell, two blanks between them. The last cell of a row has the rest
    /// of the line.
    pub(crate) fn table(&self, rows: &[Row]) -> Result<(), Failure> {
        let nr_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            let cells = rows
                .iter()
                .filter(|row| row.len() > column + 1)
                .map(|row| &row[column]);
            cells
                .map(|(_, text)| text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..nr_columns).map(width_of).collect();
        for row in rows {
            let mut line = String::from("  ");
            for ((tone, text), width) in row.iter().zip(&widths) {
                let padding = (width + 2).saturating_sub(text.chars().count());
                // Writing to a string does not fail.
                let _ = write!(line, "{}{:padding$}", tone.paint(text), "");
            }
            self.write(line.trim_end())?;
        }
        Ok(())
    }

    fn write(&self, line: &str) -> Result<(), Failure> {
        if self.is_silent {
            return Ok(());
        }
        let written = self.bar.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        });
        Ok(written?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Cuts a line to `room` columns. A path at its end loses its beginning, for what it ends with says most: file and line.
fn fit<'a>(line: &'a str, room: usize, mark: &str) -> Cow<'a, str> {
    let excess = measure_text_width(line).saturating_sub(room);
    let path_at = line.rfind(' ').map_or(0, |at| at + 1);
    let (start, path) = line.split_at(path_at);
    let cut = excess + mark.chars().count();
    match path.char_indices().nth(cut) {
        Some((from, _)) if excess > 0 && path.contains('/') => {
            Cow::Owned(format!("{start}{mark}{}", &path[from..]))
        }
        _ => truncate_str(line, room, mark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_end_where_that_is_a_path() {
        assert_eq!(fit("f  src/a.rs:1", 13, "..."), "f  src/a.rs:1");
        assert_eq!(fit("f  src/a.rs:1", 12, "..."), "f  ...a.rs:1");
        assert_eq!(fit("f  src/a.rs:1", 10, "..."), "f  ...rs:1");
        assert_eq!(fit("no path at the end", 10, "..."), "no path...");
        assert_eq!(fit("a/very/long/path", 5, "..."), "...th");
        assert_eq!(fit("long_name  a/b", 6, "..."), "lon...");
    }
}
