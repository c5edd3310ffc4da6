//! The database file: making it, and checking it row by row afterwards.
//!
//! Both happen in the demo's first process, whose SQLite has its memory where it always has it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::orders::{INSERT, Orders, PENDING, SCHEMA, SHIPPED};

/// How many rows are written between two signs of life.
const ROWS_PER_TICK: u32 = 1_000;

/// Makes the file with its orders. Nothing is there yet; `progress` hears how many orders are.
pub(crate) fn make(
    path: &Path,
    orders: Orders,
    mut progress: impl FnMut(u32),
) -> Result<(), rusqlite::Error> {
    let mut sqlite = Connection::open(path)?;
    sqlite.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    sqlite.execute_batch(SCHEMA)?;
    let transaction = sqlite.transaction()?;
    {
        let mut insert = transaction.prepare(INSERT)?;
        for index in 0..orders.rows() {
            let order = orders.at(index);
            insert.execute(params![
                order.id,
                order.customer,
                order.amount_cents,
                order.note()
            ])?;
            if (index + 1) % ROWS_PER_TICK == 0 {
                progress(index + 1);
            }
        }
    }
    transaction.commit()
}

/// What a file holds, held against what was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Audit {
    /// What `PRAGMA integrity_check` says, a line each.
    pub(crate) integrity_check: Vec<String>,
    /// How many orders there are.
    pub(crate) rows: u32,
    /// How many of them are not what was written, in whatever way.
    pub(crate) wrong_rows: u32,
    /// Orders that cost something else than they should.
    pub(crate) wrong_amounts: Vec<WrongAmount>,
    /// Orders in a state that does not exist.
    pub(crate) wrong_statuses: u32,
    /// One such state.
    pub(crate) wrong_status: Option<String>,
}

/// An order that costs something else than it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct WrongAmount {
    pub(crate) id: i64,
    pub(crate) is_cents: i64,
    pub(crate) should_be_cents: i64,
}

impl Audit {
    /// Checks a file.
    pub(crate) fn of(path: &Path, orders: Orders) -> Result<Self, rusqlite::Error> {
        let sqlite = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut audit = Self {
            integrity_check: integrity_check(&sqlite)?,
            rows: 0,
            wrong_rows: 0,
            wrong_amounts: Vec::new(),
            wrong_statuses: 0,
            wrong_status: None,
        };
        audit.read_rows(&sqlite, orders)?;
        Ok(audit)
    }

    /// How many orders cannot be found through the index, as `integrity_check` counts them: up to a hundred.
    pub(crate) fn missing_from_index(&self) -> usize {
        let is_missing = |line: &&String| line.contains("missing from index");
        self.integrity_check.iter().filter(is_missing).count()
    }

    /// Whether SQLite finds nothing wrong.
    pub(crate) fn is_intact(&self) -> bool {
        self.integrity_check == ["ok"]
    }

    /// Whether every row is what was written.
    pub(crate) fn is_right(&self) -> bool {
        self.wrong_rows == 0
    }

    fn read_rows(&mut self, sqlite: &Connection, orders: Orders) -> Result<(), rusqlite::Error> {
        let mut statement =
            sqlite.prepare("SELECT id, customer, status, amount, note FROM orders")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.rows += 1;
            if !self.is_row_right(row, orders)? {
                self.wrong_rows += 1;
            }
        }
        Ok(())
    }

    /// Whether a row is what was written; what is wrong with it is noted.
    fn is_row_right(&mut self, row: &Row<'_>, orders: Orders) -> Result<bool, rusqlite::Error> {
        let id = row.get(0)?;
        let Some(order) = orders.with_id(id) else {
            return Ok(false);
        };
        let (customer, amount): (i64, i64) = (row.get(1)?, row.get(3)?);
        let should_be_cents = i64::from(order.amount_cents);
        let has_amount = amount == should_be_cents;
        if !has_amount {
            self.wrong_amounts.push(WrongAmount {
                id,
                is_cents: amount,
                should_be_cents,
            });
        }
        let status = row.get_ref(2)?.as_bytes().unwrap_or(&[]);
        let has_status = [PENDING.as_bytes(), SHIPPED.as_bytes()].contains(&status);
        if !has_status {
            self.wrong_statuses += 1;
            self.wrong_status
                .get_or_insert_with(|| String::from_utf8_lossy(status).into_owned());
        }
        let has_customer = customer == i64::from(order.customer);
        let has_note = row.get_ref(4)?.as_bytes().unwrap_or(&[]) == order.note().as_bytes();
        Ok(has_amount && has_status && has_customer && has_note)
    }
}

fn integrity_check(sqlite: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut statement = sqlite.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get(0))?;
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_file_is_intact_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let orders = Orders::new(2_000);
        let mut ticks = Vec::new();
        make(&path, orders, |rows| ticks.push(rows)).unwrap();
        assert_eq!(ticks, [1_000, 2_000]);
        let audit = Audit::of(&path, orders).unwrap();
        assert!(audit.is_intact() && audit.is_right(), "{audit:?}");
        assert_eq!(audit.rows, 2_000);
    }

    /// A change to any column of any row is found, although `integrity_check` finds none of them.
    #[test]
    fn what_integrity_check_does_not_see_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.db");
        let orders = Orders::new(1_000);
        make(&path, orders, |_| {}).unwrap();
        let id = orders.at(500).id;
        let changes = [
            "UPDATE orders SET amount = amount + 1 WHERE id = ?1",
            "UPDATE orders SET status = 'sh*pped' WHERE id = ?1",
            "UPDATE orders SET note = 'x' WHERE id = ?1",
            "UPDATE orders SET id = 1 WHERE id = ?1",
        ];
        for change in changes {
            let sqlite = Connection::open(&path).unwrap();
            sqlite.execute_batch("SAVEPOINT before").unwrap();
            assert_eq!(sqlite.execute(change, [id]).unwrap(), 1);
            sqlite.execute_batch("RELEASE before").unwrap();
            drop(sqlite);
            let audit = Audit::of(&path, orders).unwrap();
            assert!(
                audit.is_intact() && audit.wrong_rows == 1,
                "{change}: {audit:?}"
            );
            std::fs::remove_file(&path).unwrap();
            make(&path, orders, |_| {}).unwrap();
        }
    }
}
