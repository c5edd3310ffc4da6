//! Values of SQLite's that are made, used and dropped inside a window only.
//!
//! A connection, a statement and the rows of a query are small values of Rust's that point into SQLite's memory. Each of
//! their methods, and each of their destructors, is a call of SQLite. Here each such call opens a window and closes it
//! again, so that the window is shut whenever the application does something else.

use core::fmt;

use pkeys::{Domain, OpenError, Rights, Window};

/// A value of SQLite's, behind windows on a domain; without a domain there are none to open.
pub(crate) struct Inside<'d, T> {
    domain: Option<&'d Domain>,
    /// `None` only while it is being dropped.
    value: Option<T>,
}

impl<'d, T> Inside<'d, T> {
    /// Makes the value inside a window.
    pub(crate) fn new(
        domain: Option<&'d Domain>,
        make: impl FnOnce() -> Result<T, rusqlite::Error>,
    ) -> Result<Self, CallError> {
        let _window = open(domain)?;
        Ok(Self {
            domain,
            value: Some(make()?),
        })
    }

    /// Calls SQLite: once, or for one short piece of work.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&mut T) -> Result<R, rusqlite::Error>,
    ) -> Result<R, CallError> {
        let _window = open(self.domain)?;
        let value = self.value.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(call(value)?)
    }

    /// Makes a value that borrows this one, inside a window.
    pub(crate) fn derive<'a, U>(
        &'a mut self,
        make: impl FnOnce(&'a mut T) -> Result<U, rusqlite::Error>,
    ) -> Result<Inside<'d, U>, CallError> {
        let value = self.value.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        Inside::new(self.domain, || make(value))
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        // Should no window open, the destructor strays, and that is reported.
        let _window = open(self.domain);
        self.value = None;
    }
}

impl<T> fmt::Debug for Inside<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

fn open(domain: Option<&Domain>) -> Result<Option<Window<'_>>, OpenError> {
    domain
        .map(|domain| domain.open(Rights::ReadWrite))
        .transpose()
}

/// A call of SQLite did not do what it should.
#[derive(Debug)]
pub(crate) enum CallError {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// No window opened for it.
    Window(OpenError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What SQLite says, without the statement that rusqlite adds to it.
            Self::Sqlite(rusqlite::Error::SqlInputError { msg, .. }) => f.write_str(msg),
            Self::Sqlite(error) => error.fmt(f),
            Self::Window(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CallError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Sqlite(error) => Some(error),
            Self::Window(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for CallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<OpenError> for CallError {
    fn from(error: OpenError) -> Self {
        Self::Window(error)
    }
}
