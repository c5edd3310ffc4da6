//! `kmap_local_page`: a page that the running context may use, and no other.
//!
//! It is a grant on the page's own key, whichever key the page carries: while some page of that key is shared, the grant is
//! one on the shared key as well ([`super::sharing`]). So it makes no difference to the holder who shares the page, or stops
//! sharing it, meanwhile. The grant lives in the context, which goes with its thread through preemption and to other CPUs.
//!
//! A page that belongs to no region is used by everybody, and its mapping is an address. While there is no region at all, one
//! load says so.

use core::fmt;

use lock_api::RawMutex;
use pkeys_core::Rights;

use super::error::OwnersOnly;
use super::handed::HandedPage;
use super::mark::Marks;
use super::shared::Kmap;
use crate::pks::region::{Host, Page};
use crate::pks::{Grant, PksCpu};

impl<H: Host, L: RawMutex, M: Marks> Kmap<'_, H, L, M> {
    /// Lets the running context use a page, until the mapping is dropped, by the same context. Mappings nest, of one page
    /// and of several, and end in any order.
    ///
    /// # Errors
    ///
    /// [`OwnersOnly`].
    #[inline]
    pub fn kmap_local_page(
        &self,
        page: Page,
        rights: Rights,
    ) -> Result<LocalPage<'_, H::Cpu>, OwnersOnly> {
        let grant = match self.find(page)? {
            Some(found) => Some(Grant::new(self.host().cpu(), found.key, rights)),
            None => None,
        };
        Ok(LocalPage {
            page,
            rights,
            _grant: grant,
        })
    }

    /// Lets another context map a page that this one has mapped, with no more rights than it was mapped with.
    pub fn hand_over(&self, local: &LocalPage<'_, H::Cpu>) -> HandedPage<'_, H, L, M> {
        HandedPage::new(self, local.page, local.rights)
    }
}

/// A page that the running context may use for as long as this is held. It stays with its thread:
///
/// ```compile_fail,E0277
/// # use pkeys_kernel::pks::{PksCpu, kmap::LocalPage};
/// fn elsewhere<T: Send>(_: T) {}
/// fn case<C: PksCpu + Sync>(local: LocalPage<'_, C>) {
///     elsewhere(local);
/// }
/// ```
///
/// What can be given to another thread is the page handed over, which it maps for itself:
///
/// ```
/// # use pkeys_kernel::pks::{kmap::{HandedPage, Marks}, region::Host};
/// fn elsewhere<T: Send>(_: T) {}
/// fn case<H: Host + Sync, L: lock_api::RawMutex + Sync, M: Marks + Sync>(handed: HandedPage<'_, H, L, M>) {
///     elsewhere(handed);
/// }
/// ```
#[must_use = "the mapping ends when it is dropped"]
pub struct LocalPage<'m, C: PksCpu> {
    page: Page,
    rights: Rights,
    _grant: Option<Grant<'m, C>>,
}

impl<C: PksCpu> LocalPage<'_, C> {
    /// The page, with its address.
    #[must_use]
    #[inline]
    pub const fn page(&self) -> Page {
        self.page
    }

    /// What it was mapped for.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        self.rights
    }
}

impl<C: PksCpu> fmt::Debug for LocalPage<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPage")
            .field("page", &self.page)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}
