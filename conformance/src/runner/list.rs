//! The catalogue as a table.

use std::io::{self, Write};

use crate::case::Case;

/// Writes name, version, rule and source of each case, a line each.
///
/// # Errors
///
/// As the writer.
pub(super) fn write(out: &mut impl Write, cases: &[&Case]) -> io::Result<()> {
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or(0);
    for case in cases {
        let since = case.since.map_or_else(
            || "-".to_owned(),
            |(major, minor)| format!("{major}.{minor}"),
        );
        let (name, rule, source) = (case.name, case.rule, case.source);
        writeln!(out, "{name:width$}  {since:5}  {rule}  [{source}]")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::case::Case;

    #[test]
    fn columns_are_as_wide_as_the_longest_name() {
        let cases = [
            Case::new("a.b", "One.", "here", |_| Ok(())),
            Case::new("a.longer", "Two.", "there", |_| Ok(())).since(6, 12),
        ];
        let mut out = Vec::new();
        write(&mut out, &cases.iter().collect::<Vec<_>>()).unwrap();
        let expected = "\
a.b       -      One.  [here]
a.longer  6.12   Two.  [there]
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
