//! What regions can refuse.

use core::fmt;

use super::page::{NoPages, Pages};
use crate::pks::ReleaseError;

/// Why there is no new region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError<E> {
    /// The memory is not whole pages.
    NoPages(NoPages),
    /// These pages are a region already, all or some of them.
    Overlap {
        /// The other region.
        other: Pages,
    },
    /// There are too many regions.
    TooMany {
        /// The most that there can be.
        max: usize,
    },
    /// The key is nobody's.
    Key(ReleaseError),
    /// The page tables could not be changed.
    Tables(E),
}

impl<E: fmt::Display> fmt::Display for RegionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPages(why) => write!(f, "no region: {why}"),
            Self::Overlap { other } => write!(f, "the region at {other} has some of these pages"),
            Self::TooMany { max } => write!(f, "there are {max} regions, and room for no more"),
            Self::Key(why) => write!(f, "no region: {why}"),
            Self::Tables(why) => write!(f, "the page tables could not be changed: {why}"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for RegionError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NoPages(why) => Some(why),
            Self::Key(why) => Some(why),
            Self::Tables(why) => Some(why),
            Self::Overlap { .. } | Self::TooMany { .. } => None,
        }
    }
}

/// Pages of the region are lent out by `kmap`, so that it cannot end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// How many.
    pub nr_pages: usize,
}

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages of the region are lent out", self.nr_pages)
    }
}

impl core::error::Error for Lent {}

/// Why an access to a region was not made, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError<F> {
    /// It does not lie in the region.
    OutOfRange {
        /// Where it was to begin.
        at: usize,
        /// How many bytes it was to have.
        len_bytes: usize,
        /// The size of the region in bytes.
        of: usize,
    },
    /// The memory's own error.
    Fault(F),
}

impl<F: fmt::Display> fmt::Display for AccessError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { at, len_bytes, of } => {
                write!(f, "{len_bytes} bytes at {at} are not in a region of {of}")
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl<F: core::error::Error + 'static> core::error::Error for AccessError<F> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfRange { .. } => None,
            Self::Fault(fault) => Some(fault),
        }
    }
}
