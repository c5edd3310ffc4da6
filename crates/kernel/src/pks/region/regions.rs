//! All regions of a system: who makes them, and what is looked up in them.
//!
//! A region comes to be in this order: its pages are counted for the key, so that the key is not given back; it enters the
//! list; its pages get the key; TLBs forget what they had without it. Only then does its owner have it. It goes in the
//! reverse order. What changes keys of pages happens under one lock, so that no two changes meet. TLBs of other CPUs are told
//! while it is held: the lock has to be one whose waiters let interrupts in, and none of this is for handlers.

use core::fmt;

use lock_api::{Mutex, MutexGuard, RawMutex};
use pkeys_core::{Mode, Pkey, Rights};

use super::error::{Lent, RegionError};
use super::host::Host;
use super::page::Pages;
use super::table::{Found, NR_REGIONS, NoPlace, Openers, Table};
use crate::pks::{Keys, PksKey};

/// The regions of a system. Constant to make, so that it can be a static.
pub struct Regions<'k, H, L: RawMutex> {
    keys: &'k Keys<L>,
    host: H,
    table: Table,
    change: Mutex<L, Change>,
}

/// What changes of keys have to know, under the lock.
#[derive(Debug)]
pub(in crate::pks) struct Change {
    /// How many pages carry a shared key, by place of their region.
    nr_lent: [usize; NR_REGIONS],
    /// The same by their own key.
    nr_lent_by_key: [usize; Pkey::COUNT],
}

impl Change {
    /// Whether no page of a key carries a shared one.
    pub(in crate::pks) fn is_none_lent(&self, key: PksKey) -> bool {
        self.nr_lent_by_key[key.pkey().index()] == 0
    }

    /// A page of a region carries a shared key from now on.
    pub(in crate::pks) fn lend(&mut self, found: Found) {
        self.count(found, 1);
    }

    /// It carries its own again.
    pub(in crate::pks) fn take_back(&mut self, found: Found) {
        self.count(found, -1);
    }

    fn count(&mut self, found: Found, by: isize) {
        let of_region = self.nr_lent.get_mut(found.place);
        let of_key = self.nr_lent_by_key.get_mut(found.key.pkey().index());
        for nr in [of_region, of_key].into_iter().flatten() {
            *nr = nr.saturating_add_signed(by);
        }
    }
}

impl<'k, H, L: RawMutex> Regions<'k, H, L> {
    /// No region yet.
    #[must_use]
    pub const fn new(keys: &'k Keys<L>, host: H) -> Self {
        Self {
            keys,
            host,
            table: Table::new(),
            change: Mutex::new(Change {
                nr_lent: [0; NR_REGIONS],
                nr_lent_by_key: [0; Pkey::COUNT],
            }),
        }
    }

    /// The kernel around them.
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// Whose keys are whose.
    pub const fn keys(&self) -> &'k Keys<L> {
        self.keys
    }

    /// Whether nothing is protected.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The key that the page at an address has by its region, whatever key it carries right now. No lock: for fault
    /// handlers.
    #[must_use]
    #[inline]
    pub fn key_of(&self, addr: u64) -> Option<PksKey> {
        self.table.find(addr).map(|found| found.key)
    }

    #[inline]
    pub(in crate::pks) fn find(&self, addr: u64) -> Option<Found> {
        self.table.find(addr)
    }

    pub(in crate::pks) fn change(&self) -> MutexGuard<'_, L, Change> {
        self.change.lock()
    }
}

/// Pages with a key, which they have until this is dropped: the protection of a [`super::Region`], without its memory.
///
/// While pages of it are lent out by `kmap`, it cannot end. If it is dropped all the same, they keep their key for ever.
#[must_use = "the pages lose their key when it is dropped"]
pub struct Protected<'r, H: Host, L: RawMutex> {
    regions: &'r Regions<'r, H, L>,
    pages: Pages,
    /// `None` when the mode was off, and nothing is protected.
    tag: Option<Tag>,
}

#[derive(Debug, Clone, Copy)]
struct Tag {
    place: usize,
    key: PksKey,
}

impl<'r, H: Host, L: RawMutex> Protected<'r, H, L> {
    /// Gives pages a key. While the knob `stray` is off it does nothing of the kind.
    ///
    /// # Errors
    ///
    /// [`RegionError`]; nothing has changed then.
    pub fn new(
        regions: &'r Regions<'r, H, L>,
        pages: Pages,
        key: PksKey,
        openers: Openers,
    ) -> Result<Self, RegionError<H::Error>> {
        let mut tag = None;
        if regions.host.knobs().stray != Mode::Off {
            let place = protect(regions, pages, key, openers)?;
            tag = Some(Tag { place, key });
        }
        Ok(Self {
            regions,
            pages,
            tag,
        })
    }

    /// The pages.
    #[must_use]
    pub const fn pages(&self) -> Pages {
        self.pages
    }

    /// The key, if they were protected.
    #[must_use]
    pub fn key(&self) -> Option<PksKey> {
        self.tag.map(|tag| tag.key)
    }

    pub(super) fn host(&self) -> &'r H {
        &self.regions.host
    }

    /// Takes the key from the pages.
    ///
    /// # Errors
    ///
    /// [`Lent`] while some of them are lent out.
    pub fn end(&mut self) -> Result<(), Lent> {
        let Some(Tag { place, key }) = self.tag else {
            return Ok(());
        };
        unprotect(self.regions, self.pages, place, key)?;
        self.tag = None;
        Ok(())
    }
}

impl<H: Host, L: RawMutex> Drop for Protected<'_, H, L> {
    fn drop(&mut self) {
        // What is lent out stays as it is: whoever has it relies on it.
        let _: Result<(), Lent> = self.end();
    }
}

impl<H, L: RawMutex> fmt::Debug for Regions<'_, H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regions")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl<H: Host, L: RawMutex> fmt::Debug for Protected<'_, H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protected")
            .field("pages", &self.pages)
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

fn protect<H: Host, L: RawMutex>(
    regions: &Regions<'_, H, L>,
    pages: Pages,
    key: PksKey,
    openers: Openers,
) -> Result<usize, RegionError<H::Error>> {
    let Regions { keys, host, .. } = regions;
    let _change = regions.change();
    keys.count_pages(key, count(pages))
        .map_err(RegionError::Key)?;
    let undo_count = || keys.count_pages(key, -count(pages));
    let place = match regions.table.add(pages, key, openers) {
        Ok(place) => place,
        Err(why) => {
            // It was counted just now, so that the key is somebody's.
            let _: Result<(), _> = undo_count();
            return Err(match why {
                NoPlace::Overlap(other) => RegionError::Overlap { other },
                NoPlace::Full => RegionError::TooMany { max: NR_REGIONS },
            });
        }
    };
    if keys.closed().rights(key.pkey()) != Rights::NoAccess {
        // A CPU may have its register from before the key was given out.
        host.refresh();
    }
    if let Err(why) = host.set_pkey(pages, key.pkey()) {
        // Those that have the key were changed before, which is what cannot fail; for the others there is nothing to undo.
        let _: Result<(), _> = host.set_pkey(pages, Pkey::DEFAULT);
        host.shoot_down(pages);
        regions.table.remove(place);
        let _: Result<(), _> = undo_count();
        return Err(RegionError::Tables(why));
    }
    host.shoot_down(pages);
    Ok(place)
}

fn unprotect<H: Host, L: RawMutex>(
    regions: &Regions<'_, H, L>,
    pages: Pages,
    place: usize,
    key: PksKey,
) -> Result<(), Lent> {
    let Regions { keys, host, .. } = regions;
    let change = regions.change();
    let nr_pages = change.nr_lent.get(place).copied().unwrap_or(0);
    if nr_pages > 0 {
        return Err(Lent { nr_pages });
    }
    // It is the same change as when they were protected, which does not fail a second time. If it does, pages keep a key
    // that stays counted: closed for ever, and never somebody else's.
    if host.set_pkey(pages, Pkey::DEFAULT).is_err() {
        return Ok(());
    }
    host.shoot_down(pages);
    regions.table.remove(place);
    // The key was counted, so that it is somebody's.
    let _: Result<(), _> = keys.count_pages(key, -count(pages));
    Ok(())
}

fn count(pages: Pages) -> isize {
    isize::try_from(pages.nr_pages()).unwrap_or(isize::MAX)
}
