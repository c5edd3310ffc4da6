//! A figure: what was measured, against what, and the bar that it is to meet.

use serde::Serialize;

use crate::sample::Spread;

/// The side of the bar that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// The ratio is at most the bar.
    AtMost,
    /// The ratio is at least the bar.
    AtLeast,
}

/// One figure, as a JSON line.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Short, for the command line.
    pub(crate) name: &'static str,
    /// What was measured against what, in words.
    pub(crate) what: &'static str,
    /// The ratio's lower quartile, median and upper quartile.
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
    pub(crate) side: Side,
    pub(crate) bar: f64,
    pub(crate) is_met: bool,
    /// Median cycles of the two sides, to see where the ratio comes from, or microseconds where the sides are programs; of this
    /// machine and this run only.
    pub(crate) cycles: (f64, f64),
}

impl Figure {
    pub(crate) fn at_most(
        name: &'static str,
        what: &'static str,
        bar: f64,
        ratio: Spread,
        cycles: (Spread, Spread),
    ) -> Self {
        Self::new(name, what, Side::AtMost, bar, ratio, cycles)
    }

    pub(crate) fn at_least(
        name: &'static str,
        what: &'static str,
        bar: f64,
        ratio: Spread,
        cycles: (Spread, Spread),
    ) -> Self {
        Self::new(name, what, Side::AtLeast, bar, ratio, cycles)
    }

    fn new(
        name: &'static str,
        what: &'static str,
        side: Side,
        bar: f64,
        ratio: Spread,
        cycles: (Spread, Spread),
    ) -> Self {
        Self {
            name,
            what,
            low: ratio.low,
            median: ratio.median,
            high: ratio.high,
            side,
            bar,
            is_met: match side {
                Side::AtMost => ratio.median <= bar,
                Side::AtLeast => ratio.median >= bar,
            },
            cycles: (cycles.0.median, cycles.1.median),
        }
    }

    /// Writes the figure as a JSON line.
    pub(crate) fn print(&self) {
        match serde_json::to_string(self) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("bars: {}: {error}", self.name),
        }
    }
}
