//! `pkeys demo`: a database whose memory other code of the same process writes into, and what keys do about it.
//!
//! * the application: [`orders`], [`desk`], with SQLite's memory in a domain ([`memory`], [`inside`]);
//! * the bug: [`telemetry`], aimed by [`aim`] at SQLite's pages ([`page`]);
//! * three scenes, a process each: [`scene`], started by [`play`];
//! * what it costs: [`timing`], with the processes of [`worker`];
//! * the files: [`place`], [`database`], removed even when the demo is interrupted ([`interrupt`]);
//! * what is told: [`outcome`] as facts, [`story`] and [`costs`] in words, [`screen`] for both.

mod aim;
mod costs;
mod database;
mod desk;
mod hide_keys;
mod inside;
pub(crate) mod interrupt;
mod memory;
mod message;
mod orders;
mod outcome;
mod page;
pub(crate) mod part;
mod place;
mod play;
mod scene;
mod screen;
mod story;
mod telemetry;
mod timing;
mod words;
mod worker;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use pkeys::Mode;

use crate::failure::{Doing, Failure};
use crate::missing::MissingKeys;
use database::Audit;
use orders::Orders;
use outcome::{Outcome, SCHEMA, Scene};
use place::{Place, copy};
use screen::Screen;
use timing::Timing;

/// Orders that are served in a scene or in a round of measuring, at most.
const STEPS: u32 = 1_000;

/// How far the demo is when the scenes and the measuring begin, from 0 to 1.
const PROGRESS: [(&str, f64); 4] = [
    ("unprotected", 0.15),
    ("strict", 0.22),
    ("relaxed", 0.29),
    ("measuring", 0.36),
];

/// Show what a stray write does to a database, and what protection keys do about it.
///
/// SQLite gets all of its memory from a domain. A module of the same process writes through stale
/// pointers into it: unprotected, strict, relaxed. Then the costs are measured.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pkeys demo\n  pkeys demo --rows 10000 --json\n  pkeys demo --keep /tmp/orders"
)]
pub(crate) struct Args {
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
    /// How many orders the database has
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    rows: u32,
    /// Keep the databases and the reports in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Plays the demo.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    interrupt::listen()?;
    let result = Demo::prepare(args).and_then(|demo| demo.play(args.json));
    interrupt::hold_if_ending();
    result
}

/// The demo while it is played.
#[derive(Debug)]
struct Demo {
    screen: Screen,
    place: Place,
    orders: Orders,
    /// Orders that are served in a scene or in a round.
    steps: u32,
    missing: Option<MissingKeys>,
}

impl Demo {
    fn prepare(args: &Args) -> Result<Self, Failure> {
        Ok(Self {
            place: Place::make(args.keep.as_deref())?,
            screen: Screen::new(args.json),
            orders: Orders::new(args.rows),
            steps: STEPS.min(args.rows / 4),
            missing: pkeys::support().err().map(MissingKeys::from),
        })
    }

    fn play(self, is_json: bool) -> Result<ExitCode, Failure> {
        let screen = &self.screen;
        story::opening(screen, self.orders.rows(), self.missing.as_ref())?;
        self.make_database()?;
        let unprotected = self.scene(Mode::Off)?;
        story::unprotected(screen, &unprotected)?;
        let strict = self.scene(Mode::Strict)?;
        story::strict(screen, &strict)?;
        let relaxed = self.scene(Mode::Relaxed)?;
        story::relaxed(screen, &relaxed)?;
        let timing = self.measure()?;
        let outcome = Outcome {
            schema: SCHEMA,
            command: "demo",
            version: env!("CARGO_PKG_VERSION"),
            rows: self.orders.rows(),
            backend: if self.missing.is_none() {
                "pkey"
            } else {
                "mprotect"
            },
            missing: self.missing.clone(),
            unprotected,
            strict,
            relaxed,
            timing,
        };
        costs::tell(screen, &outcome)?;
        if let Some(folder) = self.place.kept() {
            story::kept(screen, folder)?;
        }
        screen.finish();
        if is_json {
            let text = serde_json::to_string_pretty(&outcome).doing("cannot write the output")?;
            writeln!(io::stdout(), "{text}")?;
        }
        outcome.check()?;
        Ok(ExitCode::SUCCESS)
    }

    fn database(&self) -> PathBuf {
        self.place.kept_file("orders.db")
    }

    fn make_database(&self) -> Result<(), Failure> {
        const DOING: &str = "making the database";
        let path = self.database();
        let share = self.begin("unprotected") / f64::from(self.orders.rows());
        self.screen.progress(DOING, 0.0);
        let progress = |rows| self.screen.progress(DOING, f64::from(rows) * share);
        database::make(&path, self.orders, progress)
            .doing(format!("cannot write {}", path.display()))
    }

    fn scene(&self, mode: Mode) -> Result<Scene, Failure> {
        let name = play::name(mode);
        self.screen
            .progress(&format!("serving orders, {name}"), self.begin(name));
        let path = self.place.kept_file(&format!("{name}.db"));
        copy(&self.database(), &path)?;
        let records = self.place.kept_file(&format!("{name}.jsonl"));
        let played = play::play(mode, &path, self.orders, self.steps, &records)?;
        let file =
            Audit::of(&path, self.orders).doing(format!("cannot check {}", path.display()))?;
        Scene::new(name, played, file)
    }

    fn measure(&self) -> Result<Timing, Failure> {
        let begin = self.begin("measuring");
        let progress = |done| {
            self.screen
                .progress("measuring", begin + (1.0 - begin) * done)
        };
        let has_keys = self.missing.is_none();
        timing::measure(
            &self.place,
            &self.database(),
            self.orders,
            self.steps,
            has_keys,
            progress,
        )
    }

    /// How far the demo is when a part begins.
    fn begin(&self, part: &str) -> f64 {
        PROGRESS
            .iter()
            .find(|(name, _)| *name == part)
            .map_or(0.0, |(_, begin)| *begin)
    }
}
