//! Lists of buffers: `struct iovec`.
//!
//! Source: Linux `lib/iov_iter.c` (`import_iovec`, `iovec_from_user`).

use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::words::words_of;
use crate::kernel::Here;
use crate::memory::layout::is_user_range;
use crate::platform::Platform;

/// The longest list: `UIO_MAXIOV`.
const COUNT_MAX: u64 = 1024;
/// No call moves more than this.
pub(crate) const MAX_RW_COUNT: u64 = 0x7FFF_F000;
/// The size of `struct iovec`.
const IOVEC_LEN: u64 = 16;

/// A buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl Segment {
    /// Reads a `struct iovec`.
    pub(crate) fn read<P: Platform>(here: &Here<'_, P>, at: u64) -> Result<Self, Errno> {
        let bytes: [u8; 16] = here.read(at)?;
        let [base, len] = words_of(&bytes);
        Ok(Self { base, len })
    }
}

/// Reads a list as it is: of buffers in another process, nothing is checked but that their lengths are positive.
pub(crate) fn read<P: Platform>(
    here: &Here<'_, P>,
    list: u64,
    count: u64,
) -> Result<Vec<Segment>, Errno> {
    if count > COUNT_MAX {
        return Err(Errno::Invalid);
    }
    let mut segments = Vec::new();
    for at in 0..count {
        let segment = Segment::read(here, list.wrapping_add(at * IOVEC_LEN))?;
        if segment.len.cast_signed() < 0 {
            return Err(Errno::Invalid);
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Reads a list of the caller's own buffers: each in the user's part, and together not more than a call may move.
pub(crate) fn import<P: Platform>(
    here: &Here<'_, P>,
    list: u64,
    count: u64,
) -> Result<Vec<Segment>, Errno> {
    let mut segments = read(here, list, count)?;
    let mut total = 0;
    for segment in &mut segments {
        if !is_user_range(segment.base, segment.len) {
            return Err(Errno::Fault);
        }
        segment.len = segment.len.min(MAX_RW_COUNT - total);
        total += segment.len;
    }
    Ok(segments)
}

/// The pieces of a list's buffers that lie from `skip` on, up to `len` bytes.
fn pieces(segments: &[Segment], skip: u64, len: u64) -> impl Iterator<Item = Segment> {
    let mut skip = skip;
    let mut left = len;
    segments.iter().filter_map(move |segment| {
        let skipped = skip.min(segment.len);
        skip -= skipped;
        let len = (segment.len - skipped).min(left);
        left -= len;
        let base = segment.base.wrapping_add(skipped);
        (len > 0).then_some(Segment { base, len })
    })
}

/// Writes bytes to a list's buffers, from `skip` on. `Err` has how many were written.
pub(crate) fn scatter<P: Platform>(
    here: &Here<'_, P>,
    segments: &[Segment],
    skip: u64,
    bytes: &[u8],
) -> Result<(), usize> {
    let mut done = 0;
    for piece in pieces(segments, skip, bytes.len() as u64) {
        let end = done + length(piece.len);
        let chunk = bytes.get(done..end).unwrap_or_default();
        if let Some(written) = here.write_some(piece.base, chunk) {
            return Err(done + written);
        }
        done = end;
    }
    Ok(())
}

/// Reads bytes from a list's buffers, from `skip` on. `Err` has how many were read.
pub(crate) fn gather<P: Platform>(
    here: &Here<'_, P>,
    segments: &[Segment],
    skip: u64,
    into: &mut [u8],
) -> Result<(), usize> {
    let mut done = 0;
    for piece in pieces(segments, skip, into.len() as u64) {
        let end = done + length(piece.len);
        let chunk = into.get_mut(done..end).unwrap_or_default();
        let wanted = chunk.len();
        let copied = here.read_some(piece.base, chunk);
        if copied < wanted {
            return Err(done + copied);
        }
        done = end;
    }
    Ok(())
}

/// A length in bytes as a `usize`, which on a 64-bit machine it fits.
pub(crate) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Segment, pieces};
    use std::vec::Vec;

    #[test]
    fn pieces_begin_and_end_inside_buffers() {
        let segment = |base, len| Segment { base, len };
        let list = [segment(100, 10), segment(200, 0), segment(300, 5)];
        let all = |skip, len| pieces(&list, skip, len).collect::<Vec<_>>();
        assert_eq!(all(0, 99), [segment(100, 10), segment(300, 5)]);
        assert_eq!(all(9, 2), [segment(109, 1), segment(300, 1)]);
        assert_eq!(all(10, 2), [segment(300, 2)]);
        assert_eq!(all(15, 2), []);
    }
}
