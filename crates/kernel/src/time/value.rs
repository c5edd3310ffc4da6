//! `struct timespec` and `struct timeval`.

use crate::abi::Errno;
use crate::abi::time::NSEC_PER_SEC;
use crate::abi::words::{bytes_of, words_of};
use crate::kernel::Here;
use crate::platform::Platform;

/// The size of either structure.
pub(crate) const TIME_LEN: usize = 16;

/// Two words, with sign.
pub(crate) fn words(bytes: &[u8; TIME_LEN]) -> (i64, i64) {
    let [one, other] = words_of(bytes);
    (one.cast_signed(), other.cast_signed())
}

fn bytes(seconds: u64, fraction: u64) -> [u8; TIME_LEN] {
    bytes_of(&[seconds, fraction])
}

/// Nanoseconds as `struct timespec`.
pub(crate) fn timespec_bytes(nanoseconds: u64) -> [u8; TIME_LEN] {
    bytes(nanoseconds / NSEC_PER_SEC, nanoseconds % NSEC_PER_SEC)
}

/// Nanoseconds as `struct timeval`.
pub(super) fn timeval_bytes(nanoseconds: u64) -> [u8; TIME_LEN] {
    bytes(
        nanoseconds / NSEC_PER_SEC,
        nanoseconds % NSEC_PER_SEC / 1000,
    )
}

/// The nanoseconds of a `struct timespec`: `EINVAL` for one that is none. What is more than 584 years is that long.
pub(crate) fn nanoseconds(bytes: &[u8; TIME_LEN]) -> Result<u64, Errno> {
    let (seconds, fraction) = words(bytes);
    let seconds = u64::try_from(seconds).map_err(|_| Errno::Invalid)?;
    let fraction = u64::try_from(fraction).map_err(|_| Errno::Invalid)?;
    if fraction >= NSEC_PER_SEC {
        return Err(Errno::Invalid);
    }
    Ok(seconds
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(fraction))
}

/// Reads a `struct timespec`.
pub(crate) fn read_timespec<P: Platform>(here: &Here<'_, P>, at: u64) -> Result<u64, Errno> {
    nanoseconds(&here.read(at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_apart_and_put_together() {
        let table = [
            (0, 0, Ok(0)),
            (1, 999_999_999, Ok(1_999_999_999)),
            (0, 1_000_000_000, Err(Errno::Invalid)),
            (0, -1, Err(Errno::Invalid)),
            (-1, 0, Err(Errno::Invalid)),
            (i64::MAX, 5, Ok(u64::MAX)),
        ];
        for (seconds, fraction, expected) in table {
            let given = bytes(i64::cast_unsigned(seconds), i64::cast_unsigned(fraction));
            assert_eq!(words(&given), (seconds, fraction));
            assert_eq!(nanoseconds(&given), expected);
        }
        let time = 1_700_000_000_123_456_789;
        assert_eq!(nanoseconds(&timespec_bytes(time)), Ok(time));
        assert_eq!(words(&timeval_bytes(time)), (1_700_000_000, 123_456));
    }
}
