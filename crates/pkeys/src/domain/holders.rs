//! Which domains hold the process's keys, so that the error of the sixteenth can name them.

use std::sync::{Mutex, PoisonError};

static HOLDERS: Mutex<Vec<(u32, Box<str>)>> = Mutex::new(Vec::new());

/// Notes that the domain with that serial number holds a key.
pub(super) fn add(serial: u32, name: &str) {
    lock().push((serial, name.into()));
}

/// Forgets the domain with that serial number, if it held a key.
pub(super) fn remove(serial: u32) {
    lock().retain(|(other, _)| *other != serial);
}

/// The names of the domains that hold a key, oldest first.
pub(super) fn names() -> Vec<String> {
    lock().iter().map(|(_, name)| name.to_string()).collect()
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(u32, Box<str>)>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}
