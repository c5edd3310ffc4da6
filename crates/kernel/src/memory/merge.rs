//! When neighbours are one mapping.
//!
//! A program sees it: `mremap(2)` works within one mapping only, and smaps shows them. So the rules are Linux's, with
//! their oddities. Two neighbours are joined if
//!
//! * all their attributes agree, key and seal among them;
//! * they map the same object at adjoining distances; private anonymous memory was first mapped at adjoining addresses;
//! * their families of private pages ([`Anon`]) do not speak against it: the families are the same, or one of the two
//!   has none yet and the *neighbour's* is not inherited from a parent process. So a mapping that has a family does not
//!   join a neighbour that has none, while one without joins a neighbour that has one.
//!
//! Mappings of huge pages are never joined.
//!
//! They are joined only when something changes: on `mmap`, `mremap`, and on a change of attributes. That two mappings could
//! be joined by a page fault in one of them changes nothing.
//!
//! Source: Linux 6.12 `mm/vma.c` (`vma_merge_new_range`, `vma_merge_existing_range`, `vma_modify`,
//! `find_mergeable_anon_vma`).

use crate::abi::{Errno, Prot};
use crate::memory::layout::{Addresses, PAGE_SIZE};
use crate::memory::vma::{Anon, Attrs, Vma};
use crate::memory::vmas::Vmas;

/// Whether two families can be one, where `neighbour` is the mapping that would grow.
fn are_families_compatible<O>(
    a: Option<Anon>,
    b: Option<Anon>,
    neighbour: Option<&Vma<O>>,
) -> bool {
    if a.is_none() || b.is_none() {
        let has_own = |vma: &Vma<O>| vma.anon.is_some_and(|anon| !anon.is_inherited);
        if neighbour.is_none_or(has_own) {
            return true;
        }
    }
    a.map(|anon| anon.id) == b.map(|anon| anon.id)
}

impl<O: Clone + PartialEq> Vmas<O> {
    /// The neighbours that a range could be joined with, if it had these attributes: by their first addresses.
    fn joinable(&self, part: &Part<'_, O>) -> (Option<u64>, Option<u64>) {
        if part.attrs.page != pkeys_core::LeafSize::Size4K {
            return (None, None);
        }
        let is_alike = |vma: &Vma<O>| vma.attrs == part.attrs && vma.object == *part.object;
        let before = self.ending_at(part.range.start).filter(|vma| {
            is_alike(vma)
                && are_families_compatible(part.anon, vma.anon, Some(vma))
                && vma.page_at(vma.end) == part.first_page
        });
        let nr_pages = (part.range.end - part.range.start) / PAGE_SIZE;
        let after = self.starting_at(part.range.end).filter(|vma| {
            is_alike(vma)
                && are_families_compatible(part.anon, vma.anon, Some(vma))
                && vma.first_page == part.first_page.wrapping_add(nr_pages)
        });
        match (before, after) {
            (Some(before), Some(after))
                if !are_families_compatible::<O>(before.anon, after.anon, None) =>
            {
                (Some(before.start), None)
            }
            (before, after) => (before.map(|vma| vma.start), after.map(|vma| vma.start)),
        }
    }

    /// Puts a mapping in where there is none, as a part of its neighbours if it can be.
    pub(super) fn insert_joined(&mut self, vma: Vma<O>) {
        match self.joinable(&Part::of(&vma)) {
            (Some(before), Some(after)) => {
                let Some(after) = self.remove(after) else {
                    return;
                };
                self.inherit_family(before, after.anon);
                self.reshape(before, before..after.end);
            }
            (Some(before), None) => self.reshape(before, before..vma.end),
            (None, Some(after)) => {
                let end = self.starting_at(after).map_or(vma.end, |after| after.end);
                self.reshape(after, vma.start..end);
            }
            (None, None) => self.insert(vma),
        }
    }

    /// A mapping that takes over pages of another one takes over its family, if it has none.
    fn inherit_family(&mut self, start: u64, anon: Option<Anon>) {
        if let Some(vma) = self.starting_at_mut(start) {
            vma.anon = vma.anon.or(anon);
        }
    }

    /// Gives a part of a mapping other attributes: joins it with neighbours, or cuts it off.
    ///
    /// # Errors
    ///
    /// [`Errno::Invalid`] if a page would be cut; [`Errno::NoMemory`] if there would be too many mappings. One of two cuts
    /// may have been made then.
    pub(super) fn modify(
        &mut self,
        start: u64,
        range: Addresses,
        attrs: Attrs,
    ) -> Result<(), Errno> {
        let Some(vma) = self.starting_at(start) else {
            return Ok(());
        };
        let whole = vma.range();
        let anon = vma.anon;
        let part = Part {
            range: range.clone(),
            attrs,
            first_page: vma.page_at(range.start),
            object: &vma.object,
            anon,
        };
        // A range that does not reach a border of its mapping has no neighbour there.
        let (before, after) = self.joinable(&part);
        match (before, after) {
            (Some(before), Some(after)) => {
                self.remove(start);
                let after = self.remove(after);
                let end = after.as_ref().map_or(range.end, |after| after.end);
                let family = after.and_then(|after| after.anon).or(anon);
                self.inherit_family(before, family);
                self.reshape(before, before..end);
            }
            (Some(before), None) => {
                if range.end == whole.end {
                    self.remove(start);
                } else {
                    self.reshape(start, range.end..whole.end);
                }
                self.inherit_family(before, anon);
                self.reshape(before, before..range.end);
            }
            (None, Some(after)) => {
                if range.start == whole.start {
                    self.remove(start);
                } else {
                    self.reshape(start, whole.start..range.start);
                }
                self.inherit_family(after, anon);
                let end = self.starting_at(after).map_or(range.end, |after| after.end);
                self.reshape(after, range.start..end);
            }
            (None, None) => {
                if whole.start < range.start {
                    self.split(start, range.start)?;
                }
                if range.end < whole.end {
                    self.split(range.start, range.end)?;
                }
                if let Some(vma) = self.starting_at_mut(range.start) {
                    vma.attrs = attrs;
                }
            }
        }
        Ok(())
    }

    /// Gives a mapping a family before its first private page: a neighbour's, if the two could be joined but for their
    /// protection, else one of its own.
    pub(super) fn prepare_family(&mut self, start: u64, new_id: impl FnOnce() -> u64) {
        let Some(vma) = self.starting_at(start).filter(|vma| vma.anon.is_none()) else {
            return;
        };
        let own = |vma: &Vma<O>| vma.anon.filter(|anon| !anon.is_inherited);
        let after = self
            .starting_at(vma.end)
            .filter(|after| is_continued(vma, after))
            .and_then(own);
        let anon = after.or_else(|| {
            self.ending_at(vma.start)
                .filter(|before| is_continued(before, vma))
                .and_then(own)
        });
        if let Some(vma) = self.starting_at_mut(start) {
            vma.anon = Some(anon.unwrap_or_else(|| Anon {
                id: new_id(),
                is_inherited: false,
            }));
        }
    }
}

/// Whether one mapping goes on where another ends, protections apart.
fn is_continued<O: PartialEq>(before: &Vma<O>, after: &Vma<O>) -> bool {
    let but_access = |attrs: Attrs| Attrs {
        prot: Prot::empty(),
        ..attrs
    };
    before.object == after.object
        && but_access(before.attrs) == but_access(after.attrs)
        && before.page_at(before.end) == after.first_page
}

/// A range as it would be.
struct Part<'a, O> {
    range: Addresses,
    attrs: Attrs,
    first_page: u64,
    object: &'a Option<O>,
    anon: Option<Anon>,
}

impl<'a, O> Part<'a, O> {
    const fn of(vma: &'a Vma<O>) -> Self {
        Self {
            range: vma.start..vma.end,
            attrs: vma.attrs,
            first_page: vma.first_page,
            object: &vma.object,
            anon: vma.anon,
        }
    }
}
