//! Other code of the same process, with a bug of the oldest kind.
//!
//! It notes a level, one byte, wherever it was once told to. The memory there was given back long ago, and is
//! SQLite's now. Nothing here knows of SQLite, of domains or of windows.
#![allow(unsafe_code, reason = "the wild write that everything here is about")]

/// Notes levels in places that it was told of.
#[derive(Debug)]
pub(crate) struct Telemetry {
    places: Vec<*mut u8>,
}

impl Telemetry {
    /// With the places to note the level in, which are stale by now.
    pub(crate) fn with_stale_places(places: Vec<*mut u8>) -> Self {
        Self { places }
    }

    /// Notes the level everywhere.
    pub(crate) fn flush(&self, level: u8) {
        for &place in &self.places {
            note_level(place, level);
        }
    }
}

/// The one instruction that writes: the report names this line.
#[inline(never)]
fn note_level(place: *mut u8, level: u8) {
    // SAFETY: none, on purpose. The byte is mapped, so the write ends in a fault that is reported or in damage to a
    // process that exists for no other purpose.
    unsafe { *place = level };
}
