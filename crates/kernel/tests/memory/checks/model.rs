//! An address space as a program imagines it: for each page its protection, its key and one byte.
//!
//! No mappings, no page tables, no TLBs, no sharing until a write. Where Linux works mapping by mapping this goes page by
//! page; the two agree, since pages of one mapping are alike.

use std::collections::BTreeMap;

use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::memory::FaultEnd;

use super::rig::*;

/// Where a page's byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Byte {
    Own(u8),
    /// In the common memory, under this number.
    Common(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) prot: u64,
    pub(crate) pkey: i32,
    pub(crate) byte: Byte,
    pub(crate) is_sealed: bool,
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    Read,
    Write(u8),
    Fetch,
}

/// A process: its pages, its keys, and a register for each of its threads.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) pages: BTreeMap<u64, Page>,
    pub(crate) allocated: [bool; 16],
    pub(crate) execute_only: Option<i32>,
    pub(crate) pkru: Vec<u32>,
}

/// What `MAP_SHARED` mappings have in common, across processes.
#[derive(Default)]
pub(crate) struct Common {
    bytes: BTreeMap<u64, u8>,
    last: u64,
}

impl Common {
    fn new_page(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

pub(crate) fn fault(segv: Segv) -> FaultEnd {
    FaultEnd::Segv(segv)
}

impl Model {
    pub(crate) fn new(nr_threads: usize) -> Self {
        let mut allocated = [false; 16];
        allocated[0] = true;
        Self {
            pages: BTreeMap::new(),
            allocated,
            execute_only: None,
            pkru: vec![0x5555_5554; nr_threads],
        }
    }

    fn denies(&self, thread: usize, pkey: i32, is_write: bool) -> bool {
        let bits = self.pkru[thread] >> (2 * pkey) & 3;
        bits & 1 != 0 || is_write && bits & 2 != 0
    }

    fn set_rights(&mut self, thread: usize, pkey: i32, bits: u32) {
        let shift = 2 * pkey;
        self.pkru[thread] = self.pkru[thread] & !(3 << shift) | bits << shift;
    }

    pub(crate) fn pkey_alloc(&mut self, thread: usize, rights: u32) -> Result<u64, Errno> {
        let free = (0..16).find(|key| !self.allocated[*key]);
        let key = free.ok_or(Errno::NoSpace)?;
        self.allocated[key] = true;
        self.set_rights(thread, i32::try_from(key).unwrap(), rights);
        Ok(key as u64)
    }

    pub(crate) fn is_allocated(&self, pkey: i32) -> bool {
        (0..16).contains(&pkey)
            && self.execute_only != Some(pkey)
            && self.allocated[usize::try_from(pkey).unwrap()]
    }

    pub(crate) fn pkey_free(&mut self, pkey: i32) -> Result<u64, Errno> {
        if !self.is_allocated(pkey) {
            return Err(Errno::Invalid);
        }
        self.allocated[usize::try_from(pkey).unwrap()] = false;
        Ok(0)
    }

    /// The execute-only key, closed for reads on this thread.
    fn execute_only(&mut self, thread: usize) -> Option<i32> {
        if self.execute_only.is_none() {
            let key = self.pkey_alloc(thread, 1).ok()?;
            self.execute_only = Some(i32::try_from(key).unwrap());
        }
        let key = self.execute_only?;
        if !self.denies(thread, key, false) {
            self.set_rights(thread, key, 1);
        }
        Some(key)
    }

    pub(crate) fn mmap(
        &mut self,
        common: &mut Common,
        thread: usize,
        range: core::ops::Range<u64>,
        prot: u64,
        is_shared: bool,
    ) -> Result<u64, Errno> {
        let pkey = if prot == X {
            self.execute_only(thread).unwrap_or(0)
        } else {
            0
        };
        self.munmap(range.clone())?;
        for page in range.clone() {
            let byte = if is_shared {
                Byte::Common(common.new_page())
            } else {
                Byte::Own(0)
            };
            let is_sealed = false;
            let new = Page {
                prot,
                pkey,
                byte,
                is_sealed,
            };
            self.pages.insert(page, new);
        }
        Ok(range.start * PAGE)
    }

    pub(crate) fn munmap(&mut self, range: core::ops::Range<u64>) -> Result<u64, Errno> {
        if self
            .pages
            .range(range.clone())
            .any(|(_, page)| page.is_sealed)
        {
            return Err(Errno::Perm);
        }
        self.pages.retain(|page, _| !range.contains(page));
        Ok(0)
    }

    pub(crate) fn pkey_mprotect(
        &mut self,
        thread: usize,
        range: core::ops::Range<u64>,
        prot: u64,
        pkey: i32,
    ) -> Result<u64, Errno> {
        if pkey != -1 && !self.is_allocated(pkey) {
            return Err(Errno::Invalid);
        }
        for number in range {
            let page = *self.pages.get(&number).ok_or(Errno::NoMemory)?;
            let was_execute_only = page.prot == X && self.execute_only == Some(page.pkey);
            let key = if pkey != -1 {
                pkey
            } else if prot == X {
                self.execute_only(thread).unwrap_or(page.pkey)
            } else if was_execute_only {
                0
            } else {
                page.pkey
            };
            if page.is_sealed {
                return Err(Errno::Perm);
            }
            let page = self.pages.get_mut(&number).unwrap();
            page.prot = prot;
            page.pkey = key;
        }
        Ok(0)
    }

    /// `MADV_DONTNEED`.
    pub(crate) fn drop_pages(
        &mut self,
        thread: usize,
        range: core::ops::Range<u64>,
    ) -> Result<u64, Errno> {
        let mut has_hole = false;
        for number in range {
            let Some(page) = self.pages.get(&number).copied() else {
                has_hole = true;
                continue;
            };
            if let Byte::Own(_) = page.byte {
                let may_write = page.prot & 2 != 0 && !self.denies(thread, page.pkey, true);
                if page.is_sealed && !may_write {
                    return Err(Errno::Perm);
                }
                self.pages.get_mut(&number).unwrap().byte = Byte::Own(0);
            }
        }
        if has_hole {
            Err(Errno::NoMemory)
        } else {
            Ok(0)
        }
    }

    /// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`.
    pub(crate) fn populate(
        &self,
        thread: usize,
        range: core::ops::Range<u64>,
        is_write: bool,
    ) -> Result<u64, Errno> {
        let needed = if is_write { 2 } else { 1 };
        for number in range {
            let page = self.pages.get(&number).ok_or(Errno::NoMemory)?;
            if page.prot & needed == 0 || self.denies(thread, page.pkey, is_write) {
                return Err(Errno::Invalid);
            }
        }
        Ok(0)
    }

    pub(crate) fn mseal(&mut self, range: core::ops::Range<u64>) -> Result<u64, Errno> {
        if range
            .clone()
            .any(|number| !self.pages.contains_key(&number))
        {
            return Err(Errno::NoMemory);
        }
        for number in range {
            self.pages.get_mut(&number).unwrap().is_sealed = true;
        }
        Ok(0)
    }

    /// Whether `mremap` could take these pages for parts of one mapping.
    pub(crate) fn is_alike(&self, range: core::ops::Range<u64>) -> bool {
        let kind = |number: &u64| {
            let page = self.pages.get(number)?;
            let is_shared = matches!(page.byte, Byte::Common(_));
            Some((page.prot, page.pkey, is_shared, page.is_sealed))
        };
        let first = kind(&range.start);
        first.is_some() && range.clone().all(|number| kind(&number) == first)
    }

    /// A move that went well.
    pub(crate) fn moved(&mut self, old: core::ops::Range<u64>, new: u64) {
        let taken: Vec<_> = old
            .clone()
            .map(|number| self.pages.remove(&number).unwrap())
            .collect();
        for (number, page) in (new..).zip(taken) {
            self.pages.insert(number, page);
        }
    }

    /// What an access of a thread to the first byte of a page gives.
    pub(crate) fn touch(
        &mut self,
        common: &mut Common,
        thread: usize,
        number: u64,
        touch: Touch,
    ) -> Result<u8, FaultEnd> {
        let page = *self.pages.get(&number).ok_or(fault(Segv::MAPERR))?;
        let is_write = matches!(touch, Touch::Write(_));
        if touch != Touch::Fetch && self.denies(thread, page.pkey, is_write) {
            return Err(fault(Segv::pkuerr(pkey(page.pkey))));
        }
        let is_allowed = match touch {
            Touch::Read => page.prot != NONE,
            Touch::Write(_) => page.prot & 2 != 0,
            Touch::Fetch => page.prot & 4 != 0,
        };
        if !is_allowed {
            return Err(fault(Segv::ACCERR));
        }
        if let Touch::Write(byte) = touch {
            self.store(common, number, byte);
        }
        Ok(self.load(common, number).unwrap())
    }

    pub(crate) fn load(&self, common: &Common, number: u64) -> Option<u8> {
        Some(match self.pages.get(&number)?.byte {
            Byte::Own(byte) => byte,
            Byte::Common(at) => common.bytes.get(&at).copied().unwrap_or(0),
        })
    }

    fn store(&mut self, common: &mut Common, number: u64, byte: u8) {
        match &mut self.pages.get_mut(&number).unwrap().byte {
            Byte::Own(own) => *own = byte,
            Byte::Common(at) => {
                common.bytes.insert(*at, byte);
            }
        }
    }

    /// What somebody else's access gives, by force or not.
    pub(crate) fn touch_remotely(
        &mut self,
        common: &mut Common,
        number: u64,
        write: Option<u8>,
        force: bool,
    ) -> Option<u8> {
        let page = *self.pages.get(&number)?;
        let is_allowed = match write {
            None => force || page.prot & 1 != 0,
            Some(_) => page.prot & 2 != 0 || force && matches!(page.byte, Byte::Own(_)),
        };
        if !is_allowed {
            return None;
        }
        if let Some(byte) = write {
            self.store(common, number, byte);
        }
        self.load(common, number)
    }
}
