//! `docs/SAFETY.md` names every file with unsafe code, crates that deny it do, and `asm!` that changes rights keeps its rules.
//!
//! The document holds a table with a row a file:
//!
//! ```text
//! | path | unsafe blocks | invariant | test |
//! |---|---|---|---|
//! | `crates/arch/src/pku.rs` | 4 | the caller's duties, checked by ... | `arch::pku::tests` |
//! ```
//!
//! The first two columns can be counted, and are: a file without a row, a row without a file and a wrong count are
//! findings, and so is an empty third or fourth cell. `cargo xtask inventory` prints the rows with today's counts, what
//! was written in the other cells kept, ready to be pasted. What counts as unsafe is said in [`count`], the rule for
//! `asm!` in [`asm`], the crates that deny unsafe code in [`denied`].

mod asm;
mod count;
mod denied;
mod table;

use crate::test::Report;
use crate::test::results::Counts;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Print the rows of docs/SAFETY.md with today's counts.
///
/// What stands in the other columns is kept. Ends with status 1 when docs/SAFETY.md differs from the sources, an
/// asm! that changes rights breaks its rules, or a crate that has to deny unsafe code does not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// The document, from the root.
const DOCUMENT: &str = "docs/SAFETY.md";

/// The folders whose `src` folders are looked through, at any depth.
const FOLDERS: [&str; 4] = ["crates", "image", "conformance", "differential"];

/// A source file's path from the root, and its text.
type Sources = BTreeMap<String, String>;

/// Runs the task.
pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let root = Workspace::find()?;
    let sources = sources(root.root())?;
    let document = document(root.root())?.unwrap_or_default();
    print!("{}", table::print(&counts(&sources), &document));
    let findings = check(&sources, &document);
    for finding in &findings {
        eprintln!("{finding}");
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The tier: three tests, the table, the rules of `asm!` and the crates that deny. Without the document the first is
/// skipped.
pub(crate) fn tier(workspace: &Workspace) -> Result<Report> {
    let sources = sources(workspace.root())?;
    let mut report = Report::default();
    let broken = asm_findings(&sources);
    match document(workspace.root())? {
        Some(document) => add(&mut report, &table::compare(&counts(&sources), &document)),
        None => {
            report.counts.skipped += 1;
            report.remark = Some(format!("there is no {DOCUMENT}"));
        }
    }
    add(&mut report, &broken);
    add(&mut report, &denied::findings(&sources));
    Ok(report)
}

/// Adds one test to a report: failed when there are findings.
fn add(report: &mut Report, findings: &[String]) {
    report.counts += if findings.is_empty() {
        Counts::pass()
    } else {
        Counts::failure()
    };
    for finding in findings {
        report.output.push_str(finding);
        report.output.push('\n');
    }
}

/// Everything that is wrong.
fn check(sources: &Sources, document: &str) -> Vec<String> {
    let mut findings = table::compare(&counts(sources), document);
    findings.extend(asm_findings(sources));
    findings.extend(denied::findings(sources));
    findings
}

/// The files with unsafe code, and how often.
fn counts(sources: &Sources) -> BTreeMap<String, usize> {
    sources
        .iter()
        .map(|(path, text)| (path.clone(), count::unsafe_uses(text)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// What breaks the rules of `asm!`, a line each.
fn asm_findings(sources: &Sources) -> Vec<String> {
    sources
        .iter()
        .flat_map(|(path, text)| asm::broken(text).into_iter().map(move |why| (path, why)))
        .map(|(path, why)| format!("{path}:{why}"))
        .collect()
}

/// The document's text, if it is there.
fn document(root: &Path) -> Result<Option<String>> {
    let path = root.join(DOCUMENT);
    if !path.exists() {
        return Ok(None);
    }
    fs::read_to_string(path).map(Some).context(DOCUMENT)
}

/// Every Rust file below a `src` folder.
fn sources(root: &Path) -> Result<Sources> {
    let mut found = Sources::new();
    for folder in FOLDERS.map(|folder| root.join(folder)) {
        if folder.is_dir() {
            collect(root, &folder, &mut found)?;
        }
    }
    Ok(found)
}

/// Adds the files below `folder`.
fn collect(root: &Path, folder: &Path, found: &mut Sources) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let inside = path.strip_prefix(root).unwrap_or(&path);
        if path.is_dir() {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs")
            && inside.iter().any(|part| part == "src")
        {
            let text = fs::read_to_string(&path).with_context(|| inside.display().to_string())?;
            found.insert(inside.display().to_string(), text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{asm_findings, check, counts, sources};
    use crate::workspace::Workspace;
    use std::fs;

    #[test]
    fn the_sources_are_found() {
        let workspace = Workspace::find().unwrap();
        let sources = sources(workspace.root()).unwrap();
        for path in [
            "crates/core/src/lib.rs",
            "crates/kernel/src/lib.rs",
            "crates/machine/src/lib.rs",
            "conformance/src/system.rs",
            "differential/src/main.rs",
        ] {
            assert!(sources.contains_key(path), "{path}");
        }
        assert!(!sources.keys().any(|path| path.starts_with("xtask")));
        assert_eq!(counts(&sources).get("crates/core/src/lib.rs"), None);
    }

    #[test]
    fn our_asm_keeps_its_rules() {
        let workspace = Workspace::find().unwrap();
        let sources = sources(workspace.root()).unwrap();
        assert_eq!(asm_findings(&sources), Vec::<String>::new());
    }

    #[test]
    fn only_src_folders_are_looked_through() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("crates/a/src/deep/x.rs", "unsafe { f() }"),
            ("crates/a/tests/y.rs", "unsafe { f() }"),
            ("crates/a/src/notes.md", "unsafe { f() }"),
            ("image/src/main.rs", "fn main() {}"),
            ("conformance/src/linux/asm.rs", ""),
            ("differential/src/lib.rs", ""),
            ("benches/src/main.rs", ""),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sources = sources(root.path()).unwrap();
        let found: Vec<_> = sources.keys().collect();
        let expected = [
            "conformance/src/linux/asm.rs",
            "crates/a/src/deep/x.rs",
            "differential/src/lib.rs",
            "image/src/main.rs",
        ];
        assert_eq!(found.as_slice(), expected.each_ref());
        let findings = check(&sources, "");
        assert_eq!(findings[0], "crates/a/src/deep/x.rs: 1 unsafe, and no row");
    }
}
