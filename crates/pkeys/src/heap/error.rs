//! Why there is no memory in a domain.

use core::fmt;

use crate::region::MapError;
use crate::window::OpenError;

/// Memory in a domain was not allocated.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeapError {
    /// The size, or the alignment, is beyond what a heap can have.
    TooLarge {
        /// The size that was asked for, in bytes.
        size_bytes: usize,
        /// The alignment that was asked for, in bytes.
        align_bytes: usize,
    },
    /// The heap is used up, and the kernel has no memory for it to grow.
    Map(MapError),
    /// No window opens for the heap's bookkeeping.
    Open(OpenError),
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge {
                size_bytes,
                align_bytes,
            } => write!(
                f,
                "{size_bytes} bytes aligned to {align_bytes} are more than a heap can have"
            ),
            Self::Map(error) => write!(f, "the heap cannot grow: {error}"),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for HeapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Map(error) => Some(error),
            Self::Open(error) => error.source(),
        }
    }
}

impl From<MapError> for HeapError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<OpenError> for HeapError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}
