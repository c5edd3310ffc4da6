//! Dependencies between the crates point one way.
//!
//! ```text
//! core  <-  arch  <-  pkeys (Linux library)  <-  { capi, guard, cli };   launch  <-  cli
//! core  <-  kernel  <-  machine  <-  conformance  <-  differential
//! core  <-  kernel  <-  image;   arch  <-  { image, conformance }
//! ```
//!
//! A crate may use what stands left of it, however far. The table below says so, also for crates that are still to come,
//! so that the first line of a new crate's manifest is checked. Normal and build dependencies count; a test may use
//! what it likes. The tools (this program and its guest's first process, fuzzers, benchmarks) stand outside: they may
//! use every crate, and no crate may use them. Cargo refuses cycles by itself only where no dev-dependency is involved,
//! so a cycle is looked for here as well.

use crate::workspace::Workspace;
use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Check that dependencies between the crates point one way.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// A crate, what it may use of the workspace, and whether it may use crates from elsewhere.
const LAYERS: &[(&str, &[&str], Foreign)] = &[
    ("pkeys-core", &[], Foreign::Never),
    ("pkeys-arch", &["pkeys-core"], Foreign::Never),
    ("pkeys", &["pkeys-core", "pkeys-arch"], Foreign::Allowed),
    ("pkeys-capi", LIBRARY, Foreign::Allowed),
    ("pkeys-guard", LIBRARY, Foreign::Allowed),
    ("pkeys-launch", &[], Foreign::Allowed),
    ("pkeys-cli", CLI, Foreign::Allowed),
    ("pkeys-kernel", &["pkeys-core"], Foreign::Allowed),
    ("pkeys-machine", KERNEL, Foreign::Allowed),
    ("pkeys-conformance", CONFORMANCE, Foreign::Allowed),
    ("pkeys-differential", DIFFERENTIAL, Foreign::Allowed),
    (
        "pkeys-image",
        &["pkeys-core", "pkeys-kernel", "pkeys-arch"],
        Foreign::Allowed,
    ),
];

/// What stands on the Linux library.
const LIBRARY: &[&str] = &["pkeys-core", "pkeys-arch", "pkeys"];

/// The command line: the library, and what starts the kernel image, which it carries as a file.
const CLI: &[&str] = &["pkeys-core", "pkeys-arch", "pkeys", "pkeys-launch"];

/// What stands on the kernel.
const KERNEL: &[&str] = &["pkeys-core", "pkeys-kernel"];

/// What compares the kernel, on the software machine, with Linux.
const CONFORMANCE: &[&str] = &["pkeys-core", "pkeys-arch", "pkeys-kernel", "pkeys-machine"];

/// What runs random programs on the back ends that the catalogue has.
const DIFFERENTIAL: &[&str] = &[
    "pkeys-core",
    "pkeys-kernel",
    "pkeys-machine",
    "pkeys-conformance",
];

/// Programs about the crates, not of them.
const TOOLS: &[&str] = &[
    "xtask",
    "guest-init",
    "pkeys-fuzz",
    "pkeys-benches",
    "pkeys-examples",
];

/// Whether a crate may depend on crates from outside the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Foreign {
    /// A kernel takes it as it is.
    Never,
    /// Each is justified in its manifest.
    Allowed,
}

/// A declared dependency: from a member of the workspace to any crate.
type Edge = (String, String);

/// Runs the task.
pub(crate) fn run(_: &Args) -> Result<ExitCode> {
    let findings = check(&Workspace::find()?)?;
    if findings.is_empty() {
        println!("every dependency points one way");
        return Ok(ExitCode::SUCCESS);
    }
    for finding in findings {
        println!("{finding}");
    }
    Ok(ExitCode::FAILURE)
}

/// What is wrong in the workspace and in the kernel image's, a line each.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let image = workspace.image_metadata()?;
    let packages = [&workspace.metadata, &image].map(Metadata::workspace_packages);
    let packages = packages.concat();
    let members: Vec<String> = packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let edges: Vec<Edge> = packages
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .map(|dependency| (package.name.to_string(), dependency.name.clone()))
        })
        .collect();
    Ok(judge(&members, &edges))
}

/// The check, apart from cargo.
fn judge(members: &[String], edges: &[Edge]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members {
        let is_known = LAYERS.iter().any(|(name, ..)| name == member);
        if !is_known && !TOOLS.contains(&member.as_str()) {
            findings.push(format!(
                "{member}: not in the table of xtask/src/shape.rs: say there what it may use"
            ));
        }
    }
    for (from, to) in edges {
        let Some((_, allowed, foreign)) = LAYERS.iter().find(|(name, ..)| name == from) else {
            continue;
        };
        if members.contains(to) {
            if !allowed.contains(&to.as_str()) {
                findings.push(format!(
                    "{from} -> {to}: {from} may use {} of the workspace",
                    list(allowed)
                ));
            }
        } else if *foreign == Foreign::Never {
            findings.push(format!(
                "{from} -> {to}: {from} may use no crate from elsewhere"
            ));
        }
    }
    findings.extend(cycle(edges).map(|path| format!("a cycle: {}", path.join(" -> "))));
    findings
}

/// Words for a list that may be empty.
fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".into()
    } else {
        format!("only {}", names.join(", "))
    }
}

/// One cycle among the edges, its first crate repeated at the end.
fn cycle(edges: &[Edge]) -> Option<Vec<&str>> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        uses.entry(from).or_default().insert(to);
    }
    let mut finished = BTreeSet::new();
    uses.keys()
        .find_map(|start| descend(start, &uses, &mut Vec::new(), &mut finished))
}

/// Depth-first search below `at`, with the path that led there.
fn descend<'a>(
    at: &'a str,
    uses: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = path.iter().position(|name| *name == at) {
        return Some([&path[start..], &[at]].concat());
    }
    if finished.contains(at) {
        return None;
    }
    path.push(at);
    let found = uses
        .get(at)
        .into_iter()
        .flatten()
        .find_map(|next| descend(next, uses, path, finished));
    path.pop();
    finished.insert(at);
    found
}

#[cfg(test)]
mod tests {
    use super::{Edge, LAYERS, check, cycle, judge};
    use crate::workspace::Workspace;

    fn edges(list: &[(&str, &str)]) -> Vec<Edge> {
        list.iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect()
    }

    fn verdict(list: &[(&str, &str)]) -> Vec<String> {
        let members: Vec<String> = LAYERS
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .chain(["xtask".to_owned()])
            .collect();
        judge(&members, &edges(list))
    }

    #[test]
    fn the_workspace_has_its_shape() {
        let workspace = Workspace::find().unwrap();
        assert_eq!(check(&workspace).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_drawn_arrows_are_allowed() {
        let drawn = [
            ("pkeys-arch", "pkeys-core"),
            ("pkeys", "pkeys-arch"),
            ("pkeys-capi", "pkeys"),
            ("pkeys-guard", "pkeys"),
            ("pkeys-cli", "pkeys"),
            ("pkeys-kernel", "pkeys-core"),
            ("pkeys-machine", "pkeys-kernel"),
            ("pkeys-image", "pkeys-kernel"),
            ("pkeys-image", "pkeys-arch"),
            ("pkeys-conformance", "pkeys-kernel"),
            ("pkeys-conformance", "pkeys-machine"),
            ("pkeys-differential", "pkeys-conformance"),
            ("pkeys", "libc"),
            ("xtask", "pkeys"),
        ];
        assert_eq!(verdict(&drawn), Vec::<String>::new());
    }

    #[test]
    fn an_upward_or_sideways_edge_is_named() {
        for (from, to) in [
            ("pkeys-core", "pkeys-arch"),
            ("pkeys-arch", "pkeys"),
            ("pkeys", "pkeys-cli"),
            ("pkeys-kernel", "pkeys-arch"),
            ("pkeys-machine", "pkeys"),
            ("pkeys-machine", "pkeys-conformance"),
            ("pkeys-conformance", "pkeys-differential"),
            ("pkeys-cli", "pkeys-guard"),
            ("pkeys-cli", "pkeys-image"),
            ("pkeys-launch", "pkeys"),
            ("pkeys", "pkeys-launch"),
            ("pkeys", "xtask"),
        ] {
            let findings = verdict(&[(from, to)]);
            assert_eq!(findings.len(), 1, "{from} -> {to}: {findings:?}");
            assert!(findings[0].starts_with(&format!("{from} -> {to}: ")));
        }
    }

    #[test]
    fn the_two_lowest_crates_take_nothing_from_elsewhere() {
        for from in ["pkeys-core", "pkeys-arch"] {
            let findings = verdict(&[(from, "bitflags")]);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].starts_with(&format!("{from} -> bitflags: ")));
        }
    }

    #[test]
    fn a_cycle_is_named() {
        let ring = [("xtask", "a"), ("a", "b"), ("b", "c"), ("c", "a")];
        let findings = verdict(&ring);
        assert_eq!(findings, ["a cycle: a -> b -> c -> a"]);
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_named() {
        let findings = judge(&["pkeys-new".to_owned()], &[]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("pkeys-new: "));
    }

    #[test]
    fn the_table_itself_has_no_cycle() {
        let table: Vec<Edge> = LAYERS
            .iter()
            .flat_map(|(from, allowed, _)| {
                allowed
                    .iter()
                    .map(|to| ((*from).to_owned(), (*to).to_owned()))
            })
            .collect();
        assert_eq!(cycle(&table), None);
    }
}
