//! A scene: a day at the desk, in a process of its own, with stale pointers that are written through in the middle of it.
//!
//! The same program plays all scenes; only the domain's mode differs. It says on standard output where it points and
//! how the day ended, a JSON line each, and may well die in between. What the library reports is on standard error.
#![allow(unsafe_code, reason = "setrlimit(2)")]

use std::io::{self, Write};
use std::path::PathBuf;

use pkeys::{Domain, Mode, Rights, WithoutKeys};

use super::aim::{self, LEVEL};
use super::desk::Desk;
use super::memory::{self, Listing};
use super::message::{Aimed, Counters, Ended, FromScene};
use super::orders::{Orders, STATEMENTS_PER_STEP};
use super::telemetry::Telemetry;
use crate::failure::{Doing, Failure};

/// What is to be played.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The domain's mode.
    #[arg(long)]
    mode: Mode,
    /// The database.
    #[arg(long)]
    database: PathBuf,
    /// How many orders it has.
    #[arg(long)]
    rows: u32,
    /// How many orders are served.
    #[arg(long)]
    steps: u32,
}

/// Plays the scene.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    forbid_core_dumps();
    let orders = Orders::new(args.rows);
    let domain = make_domain(args.mode)?;
    let heap = domain.heap().doing("cannot make a heap in the domain")?;
    memory::install(heap, Listing::Kept)
        .doing("SQLite does not take its memory from the domain")?;
    let mut desk = Desk::open(&args.database, Some(&domain)).doing("cannot open the database")?;
    let mut is_hit = false;
    for number in 0..args.steps {
        // A fifth of the day goes by in peace.
        if !is_hit && number > args.steps / 5 {
            is_hit = flush_telemetry(orders, number)?;
        }
        desk.serve(&orders.step(number)).doing("SQLite failed")?;
    }
    let total_error = desk.total().err().map(|error| error.to_string());
    desk.checkpoint().doing("SQLite failed at the checkpoint")?;
    drop(desk);
    let counters = domain.counters();
    tell(&FromScene::Ended(Ended {
        statements: args.steps * STATEMENTS_PER_STEP,
        total_error,
        counters: Counters {
            stray_writes: counters.stray_writes,
            pardons: counters.pardons,
            reports: counters.reports,
        },
    }))
}

/// The domain that SQLite's memory is in, whatever protects it here.
pub(crate) fn make_domain(mode: Mode) -> Result<Domain, Failure> {
    Domain::builder("sqlite")
        .closed(Rights::ReadOnly)
        .mode(mode)
        .pin_mode()
        .without_keys(WithoutKeys::Mprotect)
        .create()
        .doing("cannot make the domain")
}

/// Has the telemetry write through its stale pointers, if what they are to hit is in memory at the moment. Gives whether it did.
fn flush_telemetry(orders: Orders, number: u32) -> Result<bool, Failure> {
    let (row, entry) = (orders.step(number).served, orders.step(number - 1).served);
    let Some(places) = aim::aim(&row, &entry).doing("cannot aim")? else {
        return Ok(false);
    };
    tell(&FromScene::Aimed(Aimed {
        statements: number * STATEMENTS_PER_STEP,
        stray_writes: u32::try_from(places.len()).unwrap_or(u32::MAX),
        row: row.id,
        entry: entry.id,
    }))?;
    let pointers = places
        .into_iter()
        .map(core::ptr::with_exposed_provenance_mut)
        .collect();
    Telemetry::with_stale_places(pointers).flush(LEVEL);
    Ok(true)
}

/// A line to the process that started this one.
fn tell(message: &FromScene) -> Result<(), Failure> {
    let line = serde_json::to_string(message).doing("cannot tell")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The death in this process is part of the show: it leaves no file behind. A limit of 1, unlike 0, also keeps the kernel
/// from starting a program that collects dumps (`core(5)`).
fn forbid_core_dumps() {
    let limit = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    // SAFETY: reads the one structure. Where it fails there is a dump, and nothing else.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}
