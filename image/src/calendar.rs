//! The battery-backed clock of a PC: its registers, and the second that they mean.
//!
//! It counts seconds to years in registers of a byte each, in decimal digits or in binary, with 12 or 24 hours; a fourth
//! register says which. The century is not among those that every machine has: it is taken to be this one.
//!
//! Source: Motorola MC146818A, data sheet.

/// Seconds, minutes, hours, day of the month, month, year, and the register that says how they are written.
pub const REGISTERS: [u8; 7] = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x0B];

/// In the last one: 24 hours; binary.
const HOURS_24: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;
/// In the hours, where there are 12: afternoon.
const AFTERNOON: u8 = 1 << 7;

/// What was read from [`REGISTERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading(pub [u8; REGISTERS.len()]);

impl Reading {
    /// Seconds since 1970, by Greenwich; `None` for what is no time, as where there is no such clock.
    #[must_use]
    pub fn seconds(self) -> Option<u64> {
        let [second, minute, hour, day, month, year, form] = self.0;
        let number = |byte: u8| {
            let value = if form & BINARY != 0 {
                byte
            } else {
                (byte >> 4) * 10 + (byte & 0xF)
            };
            u64::from(value)
        };
        let mut hours = number(hour & !AFTERNOON);
        if form & HOURS_24 == 0 {
            hours = hours % 12 + if hour & AFTERNOON != 0 { 12 } else { 0 };
        }
        let (second, minute, day, month) =
            (number(second), number(minute), number(day), number(month));
        let is_time = second < 60 && minute < 60 && hours < 24;
        let is_date = (1..=31).contains(&day) && (1..=12).contains(&month) && number(year) < 100;
        if !is_time || !is_date {
            return None;
        }
        let days = days_since_1970(2000 + number(year), month, day);
        Some(((days * 24 + hours) * 60 + minute) * 60 + second)
    }
}

/// Days from the first of January 1970 to a date of the Gregorian calendar after it. A year is reckoned from March, so that
/// the day that is added now and then is its last.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    /// From the first of March of the year 0 to 1970.
    const TO_1970: u64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - TO_1970
}

#[cfg(test)]
mod tests {
    use super::{Reading, days_since_1970};

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1970, 12, 31), 364),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2024, 2, 29), 19_782),
            ((2099, 12, 31), 47_481),
        ] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days, "{date:?}");
        }
        // Day by day, against the lengths of months.
        let mut days = days_since_1970(1999, 12, 31);
        for year in 2000..2100 {
            let february = if year % 4 == 0 { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    days += 1;
                    assert_eq!(days_since_1970(year, month, day), days);
                }
            }
        }
    }

    #[test]
    fn every_form_is_read() {
        let expected = Some(1_709_255_410);
        for reading in [
            [0x10, 0x10, 0x01, 0x01, 0x03, 0x24, 0x02],
            [10, 10, 1, 1, 3, 24, 0x06],
            [0x10, 0x10, 0x01, 0x01, 0x03, 0x24, 0x00],
        ] {
            assert_eq!(Reading(reading).seconds(), expected, "{reading:x?}");
        }
        let noon = [0, 0, 0x92, 0x01, 0x03, 0x24, 0x00];
        assert_eq!(Reading(noon).seconds(), Some(1_709_294_400));
        let midnight = [0, 0, 0x12, 0x01, 0x03, 0x24, 0x00];
        assert_eq!(Reading(midnight).seconds(), Some(1_709_251_200));
    }

    #[test]
    fn what_is_no_time_is_none() {
        // No device answers.
        assert_eq!(Reading([0xFF; 7]).seconds(), None);
        assert_eq!(Reading([0; 7]).seconds(), None);
        assert_eq!(Reading([60, 0, 0, 1, 1, 24, 6]).seconds(), None);
        assert_eq!(Reading([0, 0, 24, 1, 1, 24, 6]).seconds(), None);
        assert_eq!(Reading([0, 0, 0, 32, 1, 24, 6]).seconds(), None);
        assert_eq!(Reading([0, 0, 0, 1, 13, 24, 6]).seconds(), None);
    }
}
