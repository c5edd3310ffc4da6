//! What the store can refuse.

use core::fmt;

use super::layout::{MAX_KEY, MIN_DEVICE};

/// Why something was not done. Unless it says otherwise, the store is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError<F> {
    /// The device has no room for a store.
    DeviceTooSmall {
        /// The size of the device in bytes.
        len_bytes: usize,
    },
    /// There is no store on the device.
    NotAStore,
    /// The store was made on a device of another size.
    OtherSize {
        /// The size of the log that the store has, in bytes.
        has: u64,
        /// The size that a log on this device has.
        expected: u64,
    },
    /// The memory does not hold what was written to it.
    Damaged {
        /// Where, in bytes from the beginning of the device.
        at: usize,
    },
    /// Keys have 1 to 1024 bytes.
    BadKey {
        /// The length that was given.
        len_bytes: usize,
    },
    /// Key and value together are too long for this device.
    TooLong {
        /// Their length.
        len_bytes: usize,
        /// The most that is taken.
        max: usize,
    },
    /// There is no room for it beside what the store has.
    Full {
        /// What it would take, in bytes.
        needed: usize,
        /// What is left.
        left: usize,
    },
    /// The device's own error, now. If this was a change, it may have been made or not; nothing can be changed any more
    /// until the store is opened anew.
    Device(F),
    /// The device had an error earlier.
    Broken,
}

impl<F: fmt::Display> fmt::Display for StoreError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceTooSmall { len_bytes } => {
                write!(
                    f,
                    "a store needs {MIN_DEVICE} bytes, the device has {len_bytes}"
                )
            }
            Self::NotAStore => f.write_str("there is no store on the device"),
            Self::OtherSize { has, expected } => {
                write!(
                    f,
                    "the log has {has} bytes, on this device it would have {expected}"
                )
            }
            Self::Damaged { at } => write!(f, "the memory at {at:#x} has changed by itself"),
            Self::BadKey { len_bytes } => {
                write!(f, "keys have 1 to {MAX_KEY} bytes, this has {len_bytes}")
            }
            Self::TooLong { len_bytes, max } => {
                write!(
                    f,
                    "key and value have {len_bytes} bytes, {max} are possible"
                )
            }
            Self::Full { needed, left } => write!(f, "{needed} bytes are needed, {left} left"),
            Self::Device(fault) => fault.fmt(f),
            Self::Broken => f.write_str("the device had an error: the store has to be opened anew"),
        }
    }
}

impl<F: core::error::Error + 'static> core::error::Error for StoreError<F> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Device(fault) => Some(fault),
            _ => None,
        }
    }
}
