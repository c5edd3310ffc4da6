//! A page with a key, for cases.

use core::ptr;

use pkeys_core::{Pkey, Rights};

use crate::cpu::pkrs::ThisCpu;
use crate::memory::layout::{DIRECT, PAGE, to_usize};
use crate::memory::{frames, kernel_tables};
use crate::trap::fixup::{Fault, try_read, try_write};
use pkeys_kernel::pks::{Grant, PksKey};

/// A page of the direct map with a key, which it loses when dropped.
#[derive(Debug)]
pub(super) struct Keyed {
    phys: u64,
    pkey: Pkey,
}

impl Keyed {
    /// A new page.
    pub(super) fn new(pkey: Pkey) -> Result<Self, &'static str> {
        let phys = frames::allocate_one().ok_or("no frame")?;
        let page = Self { phys, pkey };
        page.set(pkey)?;
        Ok(page)
    }

    /// One page for each key but 0.
    pub(super) fn each() -> Result<[Self; 15], &'static str> {
        let mut pages = [const { None }; 15];
        for (page, pkey) in pages.iter_mut().zip(Pkey::all().skip(1)) {
            *page = Some(Self::new(pkey)?);
        }
        let missing = "a page for each key";
        if pages.iter().any(Option::is_none) {
            return Err(missing);
        }
        // None is missing, as just seen.
        Ok(pages.map(|page| page.unwrap_or_else(|| unreachable!("{missing}"))))
    }

    fn set(&self, pkey: Pkey) -> Result<(), &'static str> {
        kernel_tables::set_pkey(self.addr(), self.addr() + PAGE, pkey)
            .map_err(|_| "no memory for page tables")
    }

    pub(super) fn addr(&self) -> u64 {
        DIRECT + self.phys
    }

    pub(super) fn pkey(&self) -> Pkey {
        self.pkey
    }

    pub(super) fn read(&self) -> Result<u64, Fault> {
        try_read(self.addr())
    }

    #[allow(unsafe_code, reason = "writes the page that it owns")]
    pub(super) fn write(&self, value: u64) -> Result<(), Fault> {
        // SAFETY: the page is this value's own.
        unsafe { try_write(self.addr(), value) }
    }

    /// Writes as any code does, where nothing catches a fault; gives what is there afterwards.
    #[allow(unsafe_code, reason = "writes the page that it owns")]
    pub(super) fn store_without_fixup(&self, value: u64) -> u64 {
        let word: *mut u64 = ptr::with_exposed_provenance_mut(to_usize(self.addr()));
        // SAFETY: the page is mapped and this value's own, or the key stops it.
        unsafe { word.write_volatile(value) };
        // SAFETY: as above.
        unsafe { word.read_volatile() }
    }

    /// Reads as any code does.
    #[allow(unsafe_code, reason = "reads the page that it owns")]
    pub(super) fn load_without_fixup(&self) -> u64 {
        let word: *const u64 = ptr::with_exposed_provenance(to_usize(self.addr()));
        // SAFETY: as in `store_without_fixup`.
        unsafe { word.read_volatile() }
    }

    /// Grants the running context rights on the key, while something runs.
    pub(super) fn granted<R>(&self, rights: Rights, run: impl FnOnce() -> R) -> R {
        let Ok(key) = PksKey::new(self.pkey) else {
            unreachable!("rights on key 0 are not granted");
        };
        let _granted = Grant::new(&ThisCpu, key, rights);
        run()
    }

    /// Whether reads and writes go through.
    pub(super) fn open(&self) -> (bool, bool) {
        (self.read().is_ok(), self.write(7).is_ok())
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        if self.set(Pkey::DEFAULT).is_ok() {
            frames::free(self.phys, 1);
        }
    }
}
