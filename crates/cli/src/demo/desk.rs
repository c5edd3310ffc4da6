//! The application: a desk that serves orders, with SQLite behind it.
//!
//! Every call of SQLite is made inside a window on the domain, where there is one; between two calls, while the desk looks
//! at a row, the window is shut. The domain's closed rights are read only: what SQLite hands out (texts, errors) points
//! into its memory, and the rest of the program may read that as before. Nobody but SQLite has any business writing
//! there.
//!
//! The write-ahead log with an exclusive lock keeps its index in allocated memory instead of a shared mapping
//! (<https://www.sqlite.org/wal.html#noshm>): so that it is behind the key too.

use std::path::Path;

use pkeys::Domain;
use rusqlite::{Connection, params};

use super::inside::{CallError, Inside};
use super::orders::{AMOUNT, INSERT, LIST, SHIP, Step, TOTAL};

/// How the desk uses its file. Without `synchronous` the disk's speed is no part of what is measured.
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -65536;";

/// SQLite, each call of it in a window.
#[derive(Debug)]
pub(crate) struct Desk<'d> {
    sqlite: Inside<'d, Connection>,
}

impl<'d> Desk<'d> {
    /// Opens the file. With a domain, SQLite's memory must be in it already.
    pub(crate) fn open(path: &Path, domain: Option<&'d Domain>) -> Result<Self, CallError> {
        let mut sqlite = Inside::new(domain, || Connection::open(path))?;
        sqlite.call(|sqlite| sqlite.execute_batch(SETTINGS))?;
        Ok(Self { sqlite })
    }

    /// Looks an order up, lists what its customer has ordered, ships it, takes the next one in: four statements. Gives
    /// what the customer has ordered in all, in cents.
    pub(crate) fn serve(&mut self, step: &Step) -> Result<i64, CallError> {
        let Step { served, repeat } = step;
        let amount: i64 = self.sqlite.call(|sqlite| {
            sqlite
                .prepare_cached(AMOUNT)?
                .query_row([served.id], |row| row.get(0))
        })?;
        let others: i64 = self
            .list(served.customer)?
            .iter()
            .filter(|(id, _)| *id != served.id)
            .map(|(_, amount)| amount)
            .sum();
        self.sqlite
            .call(|sqlite| sqlite.prepare_cached(SHIP)?.execute([served.id]))?;
        let note = repeat.note();
        self.sqlite.call(|sqlite| {
            let values = params![repeat.id, repeat.customer, repeat.amount_cents, note];
            sqlite.prepare_cached(INSERT)?.execute(values)
        })?;
        Ok(amount + others)
    }

    /// The orders of a customer, with their amounts in cents. Each row is a call of its own.
    fn list(&mut self, customer: u32) -> Result<Vec<(u32, i64)>, CallError> {
        let mut orders = Vec::new();
        let mut statement = self.sqlite.derive(|sqlite| sqlite.prepare_cached(LIST))?;
        let mut rows = statement.derive(|statement| statement.query([customer]))?;
        while let Some(order) = rows.call(|rows| {
            let row = rows.next()?;
            row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
        })? {
            orders.push(order);
        }
        Ok(orders)
    }

    /// How many orders there are, and what they come to, in cents. Prepared anew: it is asked once a day.
    pub(crate) fn total(&mut self) -> Result<(i64, i64), CallError> {
        self.sqlite
            .call(|sqlite| sqlite.query_row(TOTAL, [], |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// Writes what is in the log into the file.
    pub(crate) fn checkpoint(&mut self) -> Result<(), CallError> {
        self.sqlite
            .call(|sqlite| sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }
}
