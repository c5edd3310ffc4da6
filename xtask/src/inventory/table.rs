//! The table of `docs/SAFETY.md`: reading, comparing, printing.

use std::collections::BTreeMap;

/// The table's head.
const HEAD: &str = "| path | unsafe blocks | invariant | test |\n|---|---|---|---|\n";

/// A row, its cells trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    path: String,
    count: String,
    invariant: String,
    test: String,
}

/// The rows of the document: lines of a table whose first cell is the path of a Rust file.
fn rows(document: &str) -> Vec<Row> {
    document.lines().filter_map(row).collect()
}

/// Reads a line; `None` when it is not a row.
fn row(line: &str) -> Option<Row> {
    let inner = line.trim().strip_prefix('|')?.trim_end_matches('|');
    let mut cells = inner.splitn(4, '|').map(|cell| cell.trim().to_owned());
    let path = cells.next()?.trim_matches('`').to_owned();
    let is_file = path.contains('/') && path.ends_with(".rs");
    is_file.then(|| Row {
        path,
        count: cells.next().unwrap_or_default(),
        invariant: cells.next().unwrap_or_default(),
        test: cells.next().unwrap_or_default(),
    })
}

/// Where the document differs from `counts`, a line each.
pub(super) fn compare(counts: &BTreeMap<String, usize>, document: &str) -> Vec<String> {
    let rows = rows(document);
    let mut findings = Vec::new();
    for (path, count) in counts {
        let mine: Vec<_> = rows.iter().filter(|row| row.path == *path).collect();
        match mine.as_slice() {
            [] => findings.push(format!("{path}: {count} unsafe, and no row")),
            [row] => {
                if row.count != count.to_string() {
                    findings.push(format!(
                        "{path}: {count} unsafe, its row says {}",
                        row.count
                    ));
                }
                for (cell, name) in [(&row.invariant, "invariant"), (&row.test, "test")] {
                    if cell.is_empty() {
                        findings.push(format!("{path}: its row names no {name}"));
                    }
                }
            }
            more => findings.push(format!("{path}: {} rows", more.len())),
        }
    }
    for row in &rows {
        if !counts.contains_key(&row.path) {
            findings.push(format!("{}: a row, and no unsafe there", row.path));
        }
    }
    if !findings.is_empty() {
        findings.push("cargo xtask inventory prints the rows as they should be".into());
    }
    findings
}

/// The table as it should be, with the words that the document has.
pub(super) fn print(counts: &BTreeMap<String, usize>, document: &str) -> String {
    let rows = rows(document);
    let mut out = HEAD.to_owned();
    for (path, count) in counts {
        let words = rows.iter().find(|row| row.path == *path).map_or_else(
            || " | ".to_owned(),
            |row| format!("{} | {}", row.invariant, row.test),
        );
        out.push_str(&format!("| `{path}` | {count} | {words} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{compare, print};
    use std::collections::BTreeMap;

    const DOCUMENT: &str = "\
# Safety

| path | unsafe blocks | invariant | test |
|---|---|---|---|
| `crates/a/src/x.rs` | 2 | the key is ours | `x::tests` |
| crates/a/src/y.rs | 1 | as above | `y::tests` |
";

    fn counts(list: &[(&str, usize)]) -> BTreeMap<String, usize> {
        list.iter()
            .map(|(path, count)| ((*path).to_owned(), *count))
            .collect()
    }

    /// The findings without the closing advice.
    fn findings(list: &[(&str, usize)], document: &str) -> Vec<String> {
        let mut findings = compare(&counts(list), document);
        if let Some(advice) = findings.pop() {
            assert!(advice.starts_with("cargo xtask inventory"), "{advice}");
        }
        findings
    }

    #[test]
    fn a_true_table_has_no_finding() {
        let counts = counts(&[("crates/a/src/x.rs", 2), ("crates/a/src/y.rs", 1)]);
        assert_eq!(compare(&counts, DOCUMENT), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let found = findings(
            &[("crates/a/src/x.rs", 3), ("crates/a/src/z.rs", 1)],
            DOCUMENT,
        );
        assert_eq!(
            found,
            [
                "crates/a/src/x.rs: 3 unsafe, its row says 2",
                "crates/a/src/z.rs: 1 unsafe, and no row",
                "crates/a/src/y.rs: a row, and no unsafe there",
            ]
        );
    }

    #[test]
    fn empty_cells_and_double_rows_are_findings() {
        let row = "| `crates/a/src/x.rs` | 2 | why |  |\n";
        assert_eq!(
            findings(&[("crates/a/src/x.rs", 2)], row),
            ["crates/a/src/x.rs: its row names no test"]
        );
        assert_eq!(
            findings(&[("crates/a/src/x.rs", 2)], &row.repeat(2)),
            ["crates/a/src/x.rs: 2 rows"]
        );
        assert_eq!(
            findings(&[("crates/a/src/x.rs", 2)], "| `crates/a/src/x.rs` | 2 |"),
            [
                "crates/a/src/x.rs: its row names no invariant",
                "crates/a/src/x.rs: its row names no test"
            ]
        );
    }

    #[test]
    fn what_is_printed_keeps_the_words_and_counts_anew() {
        let counts = counts(&[("crates/a/src/x.rs", 5), ("crates/a/src/z.rs", 1)]);
        let printed = print(&counts, DOCUMENT);
        assert_eq!(
            printed,
            "| path | unsafe blocks | invariant | test |\n|---|---|---|---|\n\
             | `crates/a/src/x.rs` | 5 | the key is ours | `x::tests` |\n\
             | `crates/a/src/z.rs` | 1 |  |  |\n"
        );
        // Pasted and filled in, it is true.
        let filled = printed.replace("|  |  |", "| why | t |");
        assert_eq!(compare(&counts, &filled), Vec::<String>::new());
    }
}
