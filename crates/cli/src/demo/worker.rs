//! A measuring process: does rounds of the desk's work, as it is asked for on standard input, and says how much CPU time
//! each took.
//!
//! CPU time, not the clock on the wall: the rounds of the processes that are compared alternate, but other programs run
//! on the machine too. Time in the kernel counts, which is where `mprotect(2)` spends it.
#![allow(unsafe_code, reason = "clock_gettime(2)")]

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use pkeys::{Domain, Mode};

use super::desk::Desk;
use super::hide_keys::hide_keys;
use super::memory::{self, Listing};
use super::message::{Round, Took};
use super::orders::Orders;
use super::scene::make_domain;
use crate::failure::{Doing, Failure};

/// Where SQLite's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Memory {
    /// Where SQLite has it by itself: `malloc(3)`, no domain, no windows.
    Plain,
    /// In a domain with a protection key.
    Keys,
    /// In a domain that `mprotect(2)` opens and closes.
    Mprotect,
}

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where SQLite's memory is.
    #[arg(long)]
    memory: Memory,
    /// The database.
    #[arg(long)]
    database: PathBuf,
    /// How many orders it has.
    #[arg(long)]
    rows: u32,
}

/// Works until standard input ends.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.memory == Memory::Mprotect {
        hide_keys()?;
    }
    let domain = match args.memory {
        Memory::Plain => None,
        Memory::Keys | Memory::Mprotect => Some(make_domain(Mode::Strict)?),
    };
    if let Some(domain) = &domain {
        let heap = domain.heap().doing("cannot make a heap in the domain")?;
        memory::install(heap, Listing::None)
            .doing("SQLite does not take its memory from the domain")?;
    }
    work(args, domain.as_ref())
}

fn work(args: &Args, domain: Option<&Domain>) -> Result<(), Failure> {
    let orders = Orders::new(args.rows);
    let mut desk = Desk::open(&args.database, domain).doing("cannot open the database")?;
    // The page cache is warm before the first round.
    desk.total().doing("SQLite failed")?;
    for line in io::stdin().lock().lines() {
        let round: Round = serde_json::from_str(&line?).doing("cannot read what to do")?;
        let took = measure(&mut desk, orders, round)?;
        let line = serde_json::to_string(&took).doing("cannot tell")?;
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}

fn measure(desk: &mut Desk<'_>, orders: Orders, round: Round) -> Result<Took, Failure> {
    let before = cpu_ns();
    for number in round.first..round.first + round.steps {
        desk.serve(&orders.step(number)).doing("SQLite failed")?;
    }
    Ok(Took {
        cpu_ns: cpu_ns() - before,
    })
}

/// The CPU time of this thread so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the one structure. The clock is there on every Linux.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
