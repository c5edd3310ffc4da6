//! Why a page cannot be mapped.

use core::fmt;

use pkeys_core::Rights;

use super::mark::{Mark, NoRoom};
use crate::pks::PksKey;
use crate::pks::region::Page;

/// A mapping that was refused: the page belongs to a region that only its owner opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnersOnly {
    /// The page.
    pub page: Page,
    /// The region's key.
    pub key: PksKey,
}

impl fmt::Display for OwnersOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addr, key) = (self.page.addr(), self.key);
        write!(
            f,
            "the page at {addr:#x} is for the owner of key {key} only"
        )
    }
}

impl core::error::Error for OwnersOnly {}

/// More rights than were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHandedOver {
    /// What was asked for.
    pub wanted: Rights,
    /// What was handed over.
    pub handed: Rights,
}

impl fmt::Display for NotHandedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, handed } = self;
        write!(f, "{wanted} was asked for, {handed} was handed over")
    }
}

impl core::error::Error for NotHandedOver {}

/// Why a page cannot be shared. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KmapError<E> {
    /// It belongs to a region that only its owner opens.
    OwnersOnly(OwnersOnly),
    /// There is no shared key with the closed rights of the page's own key.
    NoSharedKey {
        /// The closed rights.
        closed: Rights,
    },
    /// The shared key is not declared for shared pages, or its closed rights are not those of the page's own key.
    NotAShared {
        /// The shared key.
        key: PksKey,
        /// The closed rights that it should have.
        closed: Rights,
    },
    /// The page has [`Mark::MAX_COUNT`] shared mappings.
    TooMany,
    /// There is no room for the mark.
    NoRoom(NoRoom),
    /// The page tables could not be changed.
    Tables(E),
}

impl<E: fmt::Display> fmt::Display for KmapError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnersOnly(why) => why.fmt(f),
            Self::NoSharedKey { closed } => {
                write!(f, "no shared key for pages with {closed} for everybody")
            }
            Self::NotAShared { key, closed } => {
                write!(f, "key {key} is no shared key with {closed} for everybody")
            }
            Self::TooMany => write!(f, "{} shared mappings of one page", Mark::MAX_COUNT),
            Self::NoRoom(why) => why.fmt(f),
            Self::Tables(why) => write!(f, "the page tables could not be changed: {why}"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for KmapError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OwnersOnly(why) => Some(why),
            Self::NoRoom(why) => Some(why),
            Self::Tables(why) => Some(why),
            Self::NoSharedKey { .. } | Self::NotAShared { .. } | Self::TooMany => None,
        }
    }
}
