//! A page handed over to another context, which maps it for itself.
//!
//! This is what most uses of `kmap` are: one context has the page, another is to work on it. It needs no shared key, no change
//! of page tables and no other CPU: the receiver makes a local mapping of its own, and nobody else may use the page.

use core::fmt;

use lock_api::RawMutex;
use pkeys_core::Rights;

use super::error::{NotHandedOver, OwnersOnly};
use super::local::LocalPage;
use super::mark::Marks;
use super::shared::Kmap;
use crate::pks::region::{Host, Page};

/// The right to map a page, to be given to another context. It opens nothing by itself.
///
/// The page stays the owner's: that its memory is still there when the receiver maps it is for the two to see to, as with any
/// address.
#[must_use = "the receiver maps it"]
pub struct HandedPage<'m, H, L: RawMutex, M> {
    kmap: &'m Kmap<'m, H, L, M>,
    page: Page,
    rights: Rights,
}

impl<'m, H: Host, L: RawMutex, M: Marks> HandedPage<'m, H, L, M> {
    pub(super) fn new(kmap: &'m Kmap<'m, H, L, M>, page: Page, rights: Rights) -> Self {
        Self { kmap, page, rights }
    }

    /// The page.
    #[must_use]
    pub const fn page(&self) -> Page {
        self.page
    }

    /// The most that it can be mapped for.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        self.rights
    }

    /// The same, for reading at most.
    pub fn read_only(self) -> Self {
        Self {
            rights: self.rights.min(Rights::ReadOnly),
            ..self
        }
    }

    /// Lets the running context use the page, as [`Kmap::kmap_local_page`] does. As often as it likes.
    ///
    /// # Errors
    ///
    /// [`HandedError`].
    pub fn map(&self, rights: Rights) -> Result<LocalPage<'m, H::Cpu>, HandedError> {
        if rights > self.rights {
            return Err(HandedError::NotHandedOver(NotHandedOver {
                wanted: rights,
                handed: self.rights,
            }));
        }
        let mapped = self.kmap.kmap_local_page(self.page, rights);
        mapped.map_err(HandedError::OwnersOnly)
    }
}

impl<H, L: RawMutex, M> fmt::Debug for HandedPage<'_, H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedPage")
            .field("page", &self.page)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// Why a page that was handed over cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandedError {
    /// More was asked for than was handed over.
    NotHandedOver(NotHandedOver),
    /// The page has become a region's that only its owner opens.
    OwnersOnly(OwnersOnly),
}

impl fmt::Display for HandedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHandedOver(why) => why.fmt(f),
            Self::OwnersOnly(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for HandedError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotHandedOver(why) => Some(why),
            Self::OwnersOnly(why) => Some(why),
        }
    }
}
