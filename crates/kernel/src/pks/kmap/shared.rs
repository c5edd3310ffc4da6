//! `kmap`: a page that every context may use, as far as the shared knob lets it.
//!
//! The first mapping of a page moves it to the shared key, the last one moves it back. A move is four steps, each finished on
//! every CPU before the next begins:
//!
//! | to the shared key | and back |
//! |---|---|
//! | 1. who holds a grant on the page's own key holds one on the shared key ([`super::sharing`]), and every CPU loads its register | 1. fault handlers take the page for one that is not shared |
//! | 2. the page tables have the shared key | 2. the page tables have the page's own key |
//! | 3. TLBs forget the page's own key | 3. TLBs forget the shared key |
//! | 4. fault handlers take the page for a shared one | 4. if no other page of this own key is shared, the grants on it are grants on it alone |
//!
//! So at no moment has a page a key that somebody with a local mapping has not got. And at no moment does a fault handler,
//! which lets accesses to shared pages through, open a key on which there are pages that are not shared.
//!
//! The lock is held throughout, other mappings of any page wait, and TLBs of other CPUs are told: this is slow, and the
//! reason why handing a page over ([`super::HandedPage`]) is the better way.

use core::fmt;

use lock_api::RawMutex;
use pkeys_core::{PageState, Pkey};

use super::error::{KmapError, OwnersOnly};
use super::mark::{Mark, Marks, NoRoom};
use super::sharing::{Group, Sharing};
use crate::pks::PksKey;
use crate::pks::region::{Change, Found, Host, Openers, Page, Regions};

/// The keys that shared pages carry.
#[derive(Debug, Clone, Copy, Default)]
pub struct SharedKeys {
    /// For pages of keys that are closed to reads and writes; it is closed to both.
    pub no_access: Option<PksKey>,
    /// For pages of keys that are closed to writes only; it is closed to writes only.
    pub read_only: Option<PksKey>,
}

/// Pages of regions, lent to others. Constant to make, so that it can be a static.
pub struct Kmap<'r, H, L: RawMutex, M> {
    regions: &'r Regions<'r, H, L>,
    shared: SharedKeys,
    marks: M,
}

impl<'r, H, L: RawMutex, M> Kmap<'r, H, L, M> {
    /// Nothing is lent yet. The shared keys are the kernel's, in the table of keys as such: a key that is not refuses
    /// mappings later on.
    #[must_use]
    pub const fn new(regions: &'r Regions<'r, H, L>, shared: SharedKeys, marks: M) -> Self {
        Self {
            regions,
            shared,
            marks,
        }
    }

    /// What a CPU is told by [`crate::pks::PksCpu::sharing`].
    #[must_use]
    #[inline]
    pub fn sharing(&self) -> Sharing {
        self.regions.keys().sharing()
    }

    /// Where the marks of pages are kept.
    pub const fn marks(&self) -> &M {
        &self.marks
    }

    pub(super) fn host(&self) -> &'r H {
        self.regions.host()
    }

    /// The shared key for the pages of a key, by its closed rights.
    fn shared_key<E>(&self, home: PksKey) -> Result<(Group, PksKey), KmapError<E>> {
        let keys = self.regions.keys();
        let closed = keys.closed().rights(home.pkey());
        let group = Group::of(closed).ok_or(KmapError::NoSharedKey { closed })?;
        let key = match group {
            Group::Closed => self.shared.no_access,
            Group::Readable => self.shared.read_only,
        };
        let key = key.ok_or(KmapError::NoSharedKey { closed })?;
        let is_shared = keys.shared().contains(key.pkey());
        if !is_shared || keys.closed().rights(key.pkey()) != group.closed() {
            return Err(KmapError::NotAShared { key, closed });
        }
        Ok((group, key))
    }
}

/// What a fault handler asks. No locks.
impl<H, L: RawMutex, M: Marks> Kmap<'_, H, L, M> {
    /// Whether a page is shared.
    #[must_use]
    #[inline]
    pub fn is_shared(&self, page: Page) -> bool {
        !self.regions.is_empty() && self.marks.get(page).is_shared()
    }

    /// The state of the page at an address, of which the page tables say that it has a key now: for
    /// [`crate::pks::KeyedPage`].
    ///
    /// The two are asked for one after the other, and the page may move in between. It counts as shared only if it is
    /// marked so *and* has a shared key: a pardon opens the key that is given here.
    #[must_use]
    pub fn state(&self, addr: u64, pkey: Pkey) -> PageState {
        let is_shared_key = self.regions.keys().shared().contains(pkey);
        if is_shared_key && self.is_shared(Page::containing(addr)) {
            PageState::Shared
        } else {
            PageState::Stray
        }
    }

    /// How many shared mappings a page has.
    #[must_use]
    pub fn nr_shared(&self, page: Page) -> u32 {
        self.marks.get(page).count()
    }
}

impl<H: Host, L: RawMutex, M: Marks> Kmap<'_, H, L, M> {
    /// Shares a page with every context, until the mapping is dropped. That may happen in any context, but for handlers, and
    /// so may this: it waits for a lock and for other CPUs.
    ///
    /// What an access by a context without a grant means is for the knob `shared` to say: it faults each time that the
    /// context has no pardon yet.
    ///
    /// # Errors
    ///
    /// [`KmapError`].
    pub fn kmap(&self, page: Page) -> Result<SharedPage<'_, H, L, M>, KmapError<H::Error>> {
        let is_counted = match self.find(page).map_err(KmapError::OwnersOnly)? {
            Some(_) => self.count_up(page)?,
            None => false,
        };
        Ok(SharedPage {
            kmap: self,
            page,
            is_counted,
        })
    }

    /// The region of a page that anybody may map.
    #[inline]
    pub(super) fn find(&self, page: Page) -> Result<Option<Found>, OwnersOnly> {
        match self.regions.find(page.addr()) {
            Some(Found {
                key,
                openers: Openers::Owner,
                ..
            }) => Err(OwnersOnly { page, key }),
            found => Ok(found),
        }
    }

    /// One mapping more. Gives whether there still is a region to count it for.
    fn count_up(&self, page: Page) -> Result<bool, KmapError<H::Error>> {
        let mut change = self.regions.change();
        let Some(found) = self.regions.find(page.addr()) else {
            return Ok(false);
        };
        let mark = self.marks.get(page);
        let count = mark.count() + 1;
        if count > Mark::MAX_COUNT {
            return Err(KmapError::TooMany);
        }
        if !mark.is_moved() {
            self.lend(&mut change, page, found)?;
        }
        self.set_mark(page, Mark::shared(count));
        Ok(true)
    }

    /// One mapping less.
    fn count_down(&self, page: Page) {
        let mut change = self.regions.change();
        // A region with shared pages does not end.
        let Some(found) = self.regions.find(page.addr()) else {
            return;
        };
        let count = self.marks.get(page).count().saturating_sub(1);
        if count > 0 {
            self.set_mark(page, Mark::shared(count));
        } else {
            self.take_back(&mut change, page, found);
        }
    }

    /// Moves a page to the shared key.
    fn lend(
        &self,
        change: &mut Change,
        page: Page,
        found: Found,
    ) -> Result<(), KmapError<H::Error>> {
        let (group, shared) = self.shared_key(found.key)?;
        self.marks
            .set(page, Mark::moved(0))
            .map_err(KmapError::NoRoom)?;
        if change.is_none_lent(found.key) {
            self.regions.keys().sharing.add(group, found.key, shared);
            self.regions.host().refresh();
        }
        change.lend(found);
        if let Err(why) = self.rekey(page, shared.pkey()) {
            self.forget(change, page, found);
            return Err(KmapError::Tables(why));
        }
        Ok(())
    }

    /// Moves a page back to its own key.
    fn take_back(&self, change: &mut Change, page: Page, found: Found) {
        self.set_mark(page, Mark::moved(0));
        // It has been changed before, which does not fail a second time. If it does, the page stays where it is: not shared,
        // open to whoever has a grant on its own key, and to be shared again.
        if self.rekey(page, found.key.pkey()).is_ok() {
            self.forget(change, page, found);
        }
    }

    /// The page has its own key on all CPUs.
    fn forget(&self, change: &mut Change, page: Page, found: Found) {
        self.set_mark(page, Mark::NONE);
        change.take_back(found);
        if !change.is_none_lent(found.key) {
            return;
        }
        // There was a shared key when the page was moved to it, and the keys of regions do not change.
        if let Ok((group, shared)) = self.shared_key::<H::Error>(found.key) {
            self.regions.keys().sharing.remove(group, found.key, shared);
            self.regions.host().refresh();
        }
    }

    fn rekey(&self, page: Page, pkey: Pkey) -> Result<(), H::Error> {
        let host = self.regions.host();
        host.set_pkey(page.into(), pkey)?;
        host.shoot_down(page.into());
        Ok(())
    }

    /// Changes the mark of a page that has one, or takes it away: neither needs room.
    fn set_mark(&self, page: Page, mark: Mark) {
        let _: Result<(), NoRoom> = self.marks.set(page, mark);
    }
}

/// A page that is shared with every context for as long as this is held. It may be dropped in another context than it was
/// made in, but in no handler.
#[must_use = "the page is shared until it is dropped"]
pub struct SharedPage<'m, H: Host, L: RawMutex, M: Marks> {
    kmap: &'m Kmap<'m, H, L, M>,
    page: Page,
    is_counted: bool,
}

impl<H: Host, L: RawMutex, M: Marks> SharedPage<'_, H, L, M> {
    /// The page, with the address at which every context may use it.
    #[must_use]
    pub const fn page(&self) -> Page {
        self.page
    }
}

impl<H, L: RawMutex, M> fmt::Debug for Kmap<'_, H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kmap")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// kunmap.
impl<H: Host, L: RawMutex, M: Marks> Drop for SharedPage<'_, H, L, M> {
    fn drop(&mut self) {
        if self.is_counted {
            self.kmap.count_down(self.page);
        }
    }
}

impl<H: Host, L: RawMutex, M: Marks> fmt::Debug for SharedPage<'_, H, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPage")
            .field("page", &self.page)
            .field("is_counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}
