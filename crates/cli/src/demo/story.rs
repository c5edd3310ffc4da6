//! What the screen tells of each scene.

use std::path::Path;

use super::orders::SHIPPED;
use super::outcome::Scene;
use super::screen::{Row, Screen, row};
use super::words::{money, plural, thousands};
use crate::failure::Failure;
use crate::missing::MissingKeys;
use crate::style::Tone::{self, Bad, Good, Plain, Quiet, Strong, Warning};

/// The margin of all that stands below a heading.
pub(crate) const MARGIN: &str = "  ";

/// Before anything has happened. Where there are no keys, the first line names the layer.
pub(crate) fn opening(
    screen: &Screen,
    rows: u32,
    missing: Option<&MissingKeys>,
) -> Result<(), Failure> {
    if let Some(missing) = missing {
        let text = format!("{}; mprotect(2) takes their place", missing.reason);
        screen.text(Warning, "", &text)?;
    }
    let text = format!(
        "{} orders in SQLite, all of its memory in one domain. Another module of the process \
         writes a byte through each of four stale pointers, and the day goes on.",
        thousands(u64::from(rows)),
    );
    screen.text(Plain, "", &text)
}

/// The first scene: nothing protects SQLite's memory.
pub(crate) fn unprotected(screen: &Screen, scene: &Scene) -> Result<(), Failure> {
    screen.heading("1 unprotected")?;
    let after = u64::from(scene.statements_after.unwrap_or(0));
    let (wrong, rows) = (u64::from(scene.file.wrong_rows), u64::from(scene.file.rows));
    let text = format!("{} more statements, all reported done; ", thousands(after));
    let wrong = format!(
        "{} of {} orders are wrong",
        thousands(wrong),
        thousands(rows)
    );
    screen.line(&[(Plain, MARGIN), (Plain, &text), (Bad, &wrong)])?;
    screen.table(&damage(scene, after))?;
    let found = scene
        .file
        .integrity_check
        .first()
        .map_or("", String::as_str);
    screen.line(&[(Plain, "  PRAGMA integrity_check: "), (Bad, found)])
}

/// What each hit came to, and when that was noticed.
fn damage(scene: &Scene, after: u64) -> Vec<Row> {
    let file = &scene.file;
    let mut rows = vec![row([
        (Quiet, "hit"),
        (Quiet, "what came of it"),
        (Quiet, "noticed"),
    ])];
    let mut hit = |place: &str, damage: &str, noticed| {
        rows.push(row([(Plain, place), (Plain, damage), noticed]));
    };
    for wrong in &file.wrong_amounts {
        let (is, should_be) = (money(wrong.is_cents), money(wrong.should_be_cents));
        let damage = format!("order {} costs {is}, not {should_be}", wrong.id);
        hit("table page", &damage, (Bad, "never"));
    }
    if let Some(status) = &file.wrong_status {
        let count = plural(u64::from(file.wrong_statuses), "order is", "orders are");
        hit(
            "statement",
            &format!("{count} {status:?}, not {SHIPPED:?}"),
            (Bad, "never"),
        );
    }
    if file.missing_from_index() > 0 {
        let count = plural(file.missing_from_index() as u64, "order is", "orders are");
        let damage = format!("{count} missing from the index");
        hit("index page", &damage, (Warning, "by integrity_check"));
    }
    if let Some(error) = &scene.total_error {
        let noticed = format!("{} statements later", thousands(after + 1));
        hit("schema", &format!("{error:?}"), (Warning, &noticed));
    }
    rows
}

/// The library's report without the raw record before it, which stands for it where there is no time to find out more.
fn report(scene: &Scene) -> Vec<(Tone, &str)> {
    let lines: Vec<_> = scene.report.lines().collect();
    let begin = lines
        .iter()
        .rposition(|line| line.starts_with("pkeys: "))
        .unwrap_or(0);
    let tone = |line: &str| match line {
        _ if line.starts_with("pkeys: ") => Bad,
        _ if line.trim_start().starts_with("-> ") => Strong,
        _ => Plain,
    };
    lines[begin..]
        .iter()
        .map(|line| (tone(line), *line))
        .collect()
}

/// The second scene: the first stray write is the last.
pub(crate) fn strict(screen: &Screen, scene: &Scene) -> Result<(), Failure> {
    screen.heading("2 strict")?;
    screen.quote(&report(scene))?;
    let signal = match scene.signal {
        Some(libc::SIGSEGV) => "signal 11 (SIGSEGV)".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => "nothing".to_owned(),
    };
    screen.line(&[
        (Plain, "  Ended by "),
        (Strong, &signal),
        (Plain, " at the first stray write, before it was done"),
    ])?;
    let file = &scene.file;
    let integrity = file.integrity_check.first().map_or("", String::as_str);
    let (tone, rows) = (good_if(file.is_right()), thousands(u64::from(file.rows)));
    let rows = match u64::from(file.wrong_rows) {
        0 => format!("all {rows} orders as they were written"),
        wrong => format!("{} of {rows} orders wrong", thousands(wrong)),
    };
    screen.line(&[
        (Plain, "  PRAGMA integrity_check: "),
        (good_if(file.is_intact()), integrity),
        (Plain, "; "),
        (tone, &rows),
    ])
}

fn good_if(is_good: bool) -> Tone {
    if is_good { Good } else { Bad }
}

/// The third scene: what is found is told once, and let through.
pub(crate) fn relaxed(screen: &Screen, scene: &Scene) -> Result<(), Failure> {
    screen.heading("3 relaxed")?;
    let Some(counters) = scene.counters else {
        return Ok(());
    };
    screen.quote(report(scene).get(..1).unwrap_or(&[]))?;
    let text = format!(
        "{} counted and let through, reported once: all come from one line. The damage is that of \
         scene 1, the exit status 0, and one knows who did it.",
        plural(counters.stray_writes, "stray write", "stray writes"),
    );
    screen.text(Plain, MARGIN, &text)
}

/// Where the files are.
pub(crate) fn kept(screen: &Screen, folder: &Path) -> Result<(), Failure> {
    screen.line(&[])?;
    let text = format!("The databases and the reports are in {}.", folder.display());
    screen.text(Plain, "", &text)
}
