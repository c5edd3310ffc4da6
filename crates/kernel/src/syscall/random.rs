//! Random bytes: `getrandom(2)`.
//!
//! They are the surrounding kernel's ([`Platform::random`]).
//!
//! Source: Linux `drivers/char/random.c` (`getrandom`, `get_random_bytes_user`).

use crate::abi::Errno;
use crate::kernel::{Here, Kernel};
use crate::memory::layout::is_user_range;
use crate::platform::Platform;
use crate::syscall::iovec::MAX_RW_COUNT;
use crate::syscall::uaccess::count_or_fault;

/// `GRND_NONBLOCK`: without meaning, as nothing waits for bytes here.
const GRND_NONBLOCK: u32 = 1;
/// `GRND_RANDOM`: without meaning, as on Linux.
const GRND_RANDOM: u32 = 2;
/// `GRND_INSECURE`: bytes at once, however good.
const GRND_INSECURE: u32 = 4;

/// So many are made at once.
const CHUNK_LEN: usize = 256;

impl<P: Platform> Kernel<P> {
    /// `ssize_t getrandom(void *buf, size_t buflen, unsigned int flags);`
    pub(crate) fn getrandom(
        &self,
        here: &Here<'_, P>,
        buf: u64,
        count: u64,
        flags: u32,
    ) -> Result<u64, Errno> {
        const BOTH: u32 = GRND_RANDOM | GRND_INSECURE;
        if flags & !(GRND_NONBLOCK | BOTH) != 0 || flags & BOTH == BOTH {
            return Err(Errno::Invalid);
        }
        let count = count.min(MAX_RW_COUNT);
        if !is_user_range(buf, count) {
            return Err(Errno::Fault);
        }
        let mut done = 0;
        while done < count {
            let mut bytes = [0; CHUNK_LEN];
            let len = usize::try_from(count - done).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
            let bytes = bytes.get_mut(..len).unwrap_or_default();
            if !self.platform.random(bytes) {
                return Err(Errno::NoSystemCall);
            }
            if let Some(written) = here.write_some(buf + done, bytes) {
                return count_or_fault(done + written as u64);
            }
            done += len as u64;
        }
        Ok(done)
    }
}
