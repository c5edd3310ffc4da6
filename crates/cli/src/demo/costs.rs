//! What the screen tells of the costs.

use super::outcome::Outcome;
use super::screen::{Row, Screen, row};
use super::story::MARGIN;
use super::timing::Spread;
use super::words::{ratio, thousands};
use crate::doctor::Cpu;
use crate::failure::Failure;
use crate::style::Tone::{Plain, Quiet, Strong, Warning};

/// The length of the longest bar, in columns.
const BAR_COLUMNS: f64 = 20.0;

/// The last part: what it costs.
pub(crate) fn tell(screen: &Screen, outcome: &Outcome) -> Result<(), Failure> {
    let Outcome {
        timing, missing, ..
    } = outcome;
    screen.heading("4 cost")?;
    let text = format!(
        "CPU time of {} statements, a window for each call; {} rounds in turn",
        thousands(u64::from(timing.statements)),
        timing.rounds,
    );
    screen.text(Plain, MARGIN, &text)?;
    let measured = [timing.keys, timing.mprotect];
    let greatest = measured
        .iter()
        .flatten()
        .map(|spread| spread.median)
        .fold(1.0, f64::max);
    let bar = |ratio: f64| screen.bar(ratio / greatest * BAR_COLUMNS);
    let mut rows = vec![
        row([(Quiet, ""), (Quiet, "median"), (Quiet, "quartiles")]),
        row([
            (Plain, "plain"),
            (Strong, "1.00"),
            (Plain, ""),
            (Plain, &bar(1.0)),
            (Quiet, "malloc, no windows"),
        ]),
    ];
    match (timing.keys, missing) {
        (Some(spread), _) => rows.push(measured_row("keys", spread, &bar(spread.median), "")),
        (None, Some(missing)) => {
            let why = format!("not measured: no keys ({})", missing.layer);
            rows.push(row([(Plain, "keys"), (Plain, "-"), (Quiet, &why)]));
        }
        (None, None) => {}
    }
    if let Some(spread) = timing.mprotect {
        let sample = thousands(u64::from(timing.sample_statements));
        let what = format!("on a sample of {sample}");
        rows.push(measured_row("mprotect", spread, &bar(spread.median), &what));
    }
    screen.table(&rows)?;
    if Cpu::look().is_emulated() {
        let text = "The CPU is an emulator's: its times say nothing of a real one's.";
        screen.text(Warning, MARGIN, text)?;
    }
    Ok(())
}

fn measured_row(name: &str, spread: Spread, bar: &str, what: &str) -> Row {
    let Spread {
        median,
        lower_quartile,
        upper_quartile,
    } = spread;
    let quartiles = format!("{} to {}", ratio(lower_quartile), ratio(upper_quartile));
    row([
        (Plain, name),
        (Strong, &ratio(median)),
        (Plain, &quartiles),
        (Plain, bar),
        (Quiet, what),
    ])
}
