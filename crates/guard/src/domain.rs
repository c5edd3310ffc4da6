//! The guarded domains: their libraries, keys, heaps, and where their code is.
//!
//! A domain here is a [`pkeys::Domain`] with a heap. They are made in two steps. What thunks point to exists before the first library is
//! loaded; keys, fault handlers and reports come at the first gate or with `la_preinit`, because the thread that makes reports
//! can only be started when the C libraries are there. In between nothing of a guarded library runs but resolvers of indirect
//! functions.
//!
//! One more domain, without a library, holds the shadow stacks, and one heap without a key the memory that functions hand over to
//! the program (`--share`).
#![allow(
    unsafe_code,
    reason = "pages are put behind keys, statics are shared with assembly"
)]

use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};
use std::sync::{Mutex, OnceLock};

use pkeys::{Domain, Mode, Pardon, Rights, WithoutKeys};
use pkeys_core::Pkey;

use crate::gate::registers;
use crate::gate::shadow::FRAME_BYTES;
use crate::heap::{Found, Heap};
use crate::judge;
use crate::quiet::{self, Locked};
use crate::settings::{DomainSettings, Settings};

/// Key 0 is everybody's, one is the shadow stacks'.
pub(crate) const MAX_GUARDED: usize = 14;

/// Ranges of code or data that are remembered for a domain.
const MAX_RANGES: usize = 16;

/// One guarded domain. `gate.s` knows the first two fields.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Guarded {
    /// The bits of PKRU that are not the guard's.
    keep: AtomicU32,
    /// What the guard's bits are while this domain is open.
    open: AtomicU32,
    /// Its place among the domains.
    pub(crate) index: usize,
    /// Its key's number; [`NO_KEY`] without.
    key: AtomicU8,
    pub(crate) settings: DomainSettings,
    pub(crate) heap: Heap,
    pub(crate) code: Ranges,
    pub(crate) domain: OnceLock<Domain>,
    /// Whether one of its libraries has been loaded.
    pub(crate) is_loaded: AtomicBool,
}

const _: () = assert!(core::mem::offset_of!(Guarded, open) == 4);

const NO_KEY: u8 = u8::MAX;

static ALL: OnceLock<Vec<Guarded>> = OnceLock::new();
static SHARED: OnceLock<Heap> = OnceLock::new();
static SHADOWS: OnceLock<Domain> = OnceLock::new();

/// First and last address of all heaps together: every `free(3)` of the program asks whether a block lies outside, and most do.
static HEAPS: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));

/// Held while pages go behind a key or come back: the library `pkeys` leaves a domain's own lock out at a fork, and this one is
/// held across it.
static ADOPTING: Mutex<()> = Mutex::new(());

/// Takes that lock.
pub(crate) fn adopting() -> Locked<()> {
    quiet::lock(&ADOPTING)
}

/// Makes the domains, without keys.
pub(crate) fn prepare(settings: &Settings) -> Result<(), String> {
    let make = |(index, settings): (usize, &DomainSettings)| {
        let heap = Heap::reserve().ok_or("no room for the heap of a guarded library")?;
        Ok(Guarded {
            keep: AtomicU32::new(u32::MAX),
            open: AtomicU32::new(0),
            index,
            key: AtomicU8::new(NO_KEY),
            settings: settings.clone(),
            heap,
            code: Ranges::new(),
            domain: OnceLock::new(),
            is_loaded: AtomicBool::new(false),
        })
    };
    if settings.domains.is_empty() || settings.domains.len() > MAX_GUARDED {
        return Err(format!(
            "between 1 and {MAX_GUARDED} domains can be guarded"
        ));
    }
    let all = settings.domains.iter().enumerate().map(make);
    let all = all.collect::<Result<Vec<Guarded>, String>>()?;
    let shared = Heap::reserve().ok_or("no room for the heap of what is handed over")?;
    // The one call of this function sets them.
    let all = ALL.get_or_init(|| all);
    let shared = SHARED.get_or_init(|| shared);
    let heaps = all.iter().map(|guarded| &guarded.heap).chain([shared]);
    for heap in heaps {
        HEAPS.0.fetch_min(heap.start, Relaxed);
        HEAPS.1.fetch_max(heap.start + heap.len_bytes, Relaxed);
    }
    Ok(())
}

/// Gives the domains their keys, and what they have so far goes behind them.
pub(crate) fn protect(settings: &Settings) -> Result<(), String> {
    let mode = settings
        .mode
        .parse::<Mode>()
        .map_err(|error| error.to_string())?;
    let pardon = settings
        .pardon
        .parse::<Pardon>()
        .map_err(|error| error.to_string())?;
    // Off protects nothing: the gates do without keys, and there is nothing that they would have to open.
    if settings.is_unprotected || mode == Mode::Off {
        return Ok(());
    }
    let shadow_key = protect_shadow_stacks()?;
    let mut keys = Vec::new();
    for guarded in all() {
        let domain = create(guarded.settings.name(), mode, pardon)?;
        let pkey = domain.pkey().ok_or("no key for a guarded library")?;
        registers::add(pkey);
        keys.push((guarded, pkey));
        // SAFETY: the heap's own range, which is private and mapped for good (1, 3); the allocator touches it with the
        // key open (2).
        unsafe { domain.adopt(guarded.heap.start, guarded.heap.len_bytes, "heap") }
            .map_err(|error| format!("pkey_mprotect(2) on the heap failed: {error}"))?;
        let _ = guarded.domain.set(domain);
    }
    let (own, closed) = (
        registers::OWN.load(Relaxed),
        registers::CLOSED.load(Relaxed),
    );
    for (guarded, pkey) in keys {
        let open = closed & !registers::mask(pkey) & !registers::mask(shadow_key);
        guarded.keep.store(!own, Relaxed);
        guarded.open.store(open, Relaxed);
        guarded.key.store(pkey.get(), Release);
    }
    registers::close_all();
    Ok(())
}

/// Makes the domain of the shadow stacks, and gives its key.
fn protect_shadow_stacks() -> Result<Pkey, String> {
    let shadows = create(
        "shadow stacks of pkeys guard",
        Mode::Strict,
        Pardon::Instruction,
    )?;
    let pkey = shadows.pkey().ok_or("no key for the shadow stacks")?;
    registers::add(pkey);
    registers::SHADOW.store(registers::mask(pkey), Relaxed);
    let _ = SHADOWS.set(shadows);
    Ok(pkey)
}

fn create(name: &str, mode: Mode, pardon: Pardon) -> Result<Domain, String> {
    let builder = Domain::builder(name)
        .closed(Rights::ReadOnly)
        .mode(mode)
        .pardon(pardon)
        .pin_mode()
        .without_keys(WithoutKeys::Refuse);
    // SAFETY: `judge` reads tables and decides; it takes no lock, allocates nothing and returns (1, 2).
    let builder = unsafe { builder.on_stray(judge::stray) };
    // SAFETY: likewise (1).
    let builder = unsafe { builder.on_block(judge::block) };
    builder.create().map_err(|error| error.to_string())
}

/// All domains.
pub(crate) fn all() -> &'static [Guarded] {
    ALL.get().map_or(&[], Vec::as_slice)
}

/// The heap of what is handed over.
pub(crate) fn shared() -> Option<&'static Heap> {
    SHARED.get()
}

/// Whether an address may be in a heap.
#[inline]
pub(crate) fn may_own(addr: usize) -> bool {
    addr >= HEAPS.0.load(Relaxed) && addr < HEAPS.1.load(Relaxed)
}

/// The heap that a block belongs to, and its key; `None` for a block of the program's own.
#[inline]
pub(crate) fn owner(addr: usize) -> Option<(&'static Heap, Option<Pkey>)> {
    if !may_own(addr) {
        return None;
    }
    let guarded = all().iter().find(|guarded| guarded.heap.contains(addr));
    if let Some(guarded) = guarded {
        return Some((&guarded.heap, guarded.pkey()));
    }
    let shared = shared().filter(|shared| shared.contains(addr))?;
    Some((shared, None))
}

/// The block of a guarded library that an address lies in. For the fault handler.
pub(crate) fn block_at(addr: usize) -> Option<Found> {
    registers::readable(|| all().iter().find_map(|guarded| guarded.heap.find(addr)))
}

/// The domain that a library of that name belongs to.
pub(crate) fn of_library(name: &str) -> Option<&'static Guarded> {
    all().iter().find(|guarded| {
        let libraries = &guarded.settings.libraries;
        libraries.iter().any(|library| library == name)
    })
}

/// The domain that code at an address belongs to.
pub(crate) fn of_code(addr: usize) -> Option<&'static Guarded> {
    all().iter().find(|guarded| guarded.code.contains(addr))
}

/// Puts a thread's new shadow stack behind its key.
pub(crate) fn key_shadow_stack(start: usize, len_bytes: usize) {
    if let Some(shadows) = SHADOWS.get() {
        let adopted = {
            let _lock = adopting();
            // SAFETY: mapped by the caller for this, and given back before it is unmapped (1, 3); gates write it with the
            // key open (2).
            unsafe { shadows.adopt(start, len_bytes, "shadow stack") }
        };
        if adopted.is_err() {
            crate::refuse::die("a thread's shadow stack cannot be protected");
        }
    }
}

/// Takes it out again.
pub(crate) fn unkey_shadow_stack(start: usize, len_bytes: usize) {
    if let Some(shadows) = SHADOWS.get() {
        let _lock = adopting();
        let _ = shadows.give_back(start, len_bytes);
    }
    debug_assert!(start.is_multiple_of(FRAME_BYTES));
}

impl Guarded {
    /// Its key; `None` without, or before there is one.
    pub(crate) fn pkey(&self) -> Option<Pkey> {
        Pkey::new(self.key.load(Acquire))
    }

    /// Whether a function is on one of its lists.
    pub(crate) fn is_shared(&self, function: &str) -> bool {
        self.settings.share.iter().any(|name| name == function)
    }

    /// Whether a function is called without a gate.
    pub(crate) fn is_ungated(&self, function: &str) -> bool {
        self.settings.ungated.iter().any(|name| name == function)
    }

    /// Which arguments of a function are callbacks.
    pub(crate) fn callbacks(&self, function: &str) -> &[u8] {
        let listed = self.settings.callbacks.iter();
        let found = listed.into_iter().find(|(name, _)| name == function);
        found.map_or(&[], |(_, arguments)| arguments)
    }
}

/// Ranges of addresses that fault handlers search without a lock.
#[derive(Debug)]
pub(crate) struct Ranges([(AtomicUsize, AtomicUsize); MAX_RANGES]);

impl Ranges {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self([const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; MAX_RANGES])
    }

    /// Adds a range. Gives whether there was a place left.
    pub(crate) fn add(&self, start: usize, end: usize) -> bool {
        for (slot, slot_end) in &self.0 {
            if slot.load(Relaxed) == 0 {
                slot_end.store(end, Relaxed);
                slot.store(start, Release);
                return true;
            }
        }
        false
    }

    /// Takes the ranges out that begin at that address.
    pub(crate) fn remove(&self, start: usize) {
        for (slot, slot_end) in &self.0 {
            if slot.load(Relaxed) == start {
                slot_end.store(0, Relaxed);
                slot.store(0, Release);
            }
        }
    }

    /// Whether an address is in one of them.
    pub(crate) fn contains(&self, addr: usize) -> bool {
        self.0.iter().any(|(start, end)| {
            let start = start.load(Acquire);
            start != 0 && addr >= start && addr < end.load(Relaxed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_and_go() {
        let ranges = Ranges::new();
        assert!(ranges.add(10, 20) && ranges.add(30, 40));
        for (addr, is_in) in [
            (9, false),
            (10, true),
            (19, true),
            (20, false),
            (35, true),
            (0, false),
        ] {
            assert_eq!(ranges.contains(addr), is_in, "{addr}");
        }
        ranges.remove(10);
        assert!(!ranges.contains(15) && ranges.contains(35));
        assert!(ranges.add(50, 60) && ranges.contains(55));
        let added = (0..MAX_RANGES)
            .filter(|n| ranges.add(1000 + n, 2000))
            .count();
        assert_eq!(added, MAX_RANGES - 2);
    }
}
