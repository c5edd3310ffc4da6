//! Pages in other hands: mapped by one context, handed over, shared with all.

#![allow(unsafe_code, reason = "accesses a page that it owns")]

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use pkeys_core::{Knobs, Mode, PageState, Pardon, Rights};
use pkeys_kernel::pks::region::{Openers, Page, Region};
use pkeys_kernel::pks::{self, PksKey};

use super::modes::{store, under};
use super::protocol::{agrees, is_closed};
use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::pkrs::ThisCpu;
use crate::keys::host::Tables;
use crate::keys::memory::Frames;
use crate::keys::{KMAP, PKS, REGIONS, SHARED};
use crate::memory::kernel_tables;
use crate::memory::layout::PAGE;
use crate::sync::RawSpin;
use crate::trap::fixup::{Fault, try_read, try_write};
use crate::{sched, smp};

pub(super) const CASES: &[Case] = &[
    case("kmap-local-is-the-threads-own", local),
    case("kmap-is-handed-to-another-cpu", handed_over),
    case("kmap-shares-with-every-context", shared),
    case(
        "kmap-local-holds-while-a-page-is-shared",
        holds_while_shared,
    ),
    case("kmap-strict-ends-no-mapping", in_any_order),
];

/// A region of a key of its own, which anybody may map pages of.
struct Lendable {
    region: Option<Region<'static, Tables, RawSpin, Frames>>,
    key: PksKey,
    start: u64,
}

impl Lendable {
    fn new(nr_pages: usize) -> Result<Self, alloc::string::String> {
        let allocated = PKS
            .keys()
            .allocate("kmap case", Rights::NoAccess, PageState::Stray);
        let key = allocated.map_err(|why| alloc::format!("{why}"))?;
        let frames = Frames::allocate(nr_pages).ok_or("no frames")?;
        let start = frames.addr();
        let region = Region::new(&REGIONS, frames, key, Openers::Anybody);
        let region = region.map_err(|why| alloc::format!("{why:?}"))?;
        Ok(Self {
            region: Some(region),
            key,
            start,
        })
    }

    fn page(&self, nr: u64) -> Page {
        Page::containing(self.start + nr * PAGE)
    }

    /// Takes the key off the pages and gives it back: fails while a page is lent.
    fn end(mut self) -> Outcome {
        if let Some(region) = self.region.take() {
            let closed = region.close();
            check!(closed.is_ok(), "pages are still lent");
        }
        let released = PKS.keys().release(self.key, []);
        check!(released.is_ok(), "the key is not given back: {released:?}");
        Ok(())
    }
}

/// Whether reads and writes go through, where each that does not is an error of its instruction.
fn open(page: Page) -> (bool, bool) {
    // SAFETY: the page is the case's own.
    let written: Result<(), Fault> = unsafe { try_write(page.addr(), 0x6B) };
    (try_read(page.addr()).is_ok(), written.is_ok())
}

fn open_on(cpu: u32, page: Page, expected: (bool, bool)) -> Outcome {
    on_cpu(cpu, move || {
        check_eq!(open(page), expected, "on CPU {cpu}");
        Ok(())
    })
}

fn local() -> Outcome {
    let memory = Lendable::new(2)?;
    let page = memory.page(0);
    check_eq!(open(page), (false, false), "without a mapping");
    {
        let mapped = KMAP.kmap_local_page(page, Rights::ReadOnly);
        let _read = mapped.map_err(|why| alloc::format!("{why}"))?;
        check_eq!(open(page), (true, false), "mapped for reading");
        let mapped = KMAP.kmap_local_page(page, Rights::ReadWrite);
        let write = mapped.map_err(|why| alloc::format!("{why}"))?;
        for cpu in 0..smp::count() {
            sched::move_to(1 << cpu);
            check_eq!(open(page), (true, true), "after moving to CPU {cpu}");
        }
        sched::move_to(sched::ANYWHERE);
        drop(write);
        check_eq!(open(page), (true, false), "one of two given back");
        for cpu in 0..smp::count() {
            open_on(cpu, page, (false, false))?;
        }
    }
    check!(is_closed() && agrees(), "open afterwards");
    memory.end()
}

fn handed_over() -> Outcome {
    let memory = Lendable::new(1)?;
    let page = memory.page(0);
    for cpu in 0..smp::count() {
        let handed = {
            let mapped = KMAP.kmap_local_page(page, Rights::ReadWrite);
            let mapped = mapped.map_err(|why| alloc::format!("{why}"))?;
            KMAP.hand_over(&mapped).read_only()
        };
        on_cpu(cpu, move || {
            check_eq!(open(page), (false, false), "handed over and not mapped");
            let mapped = handed.map(Rights::ReadOnly);
            let mapped = mapped.map_err(|why| alloc::format!("{why:?}"))?;
            check_eq!(open(page), (true, false), "mapped by the receiver");
            drop(mapped);
            check!(
                handed.map(Rights::ReadWrite).is_err(),
                "mapped for more than was handed over"
            );
            check_eq!(open(page), (false, false), "given back");
            Ok(())
        })?;
    }
    memory.end()
}

fn shared() -> Outcome {
    let memory = Lendable::new(2)?;
    let (page, other) = (memory.page(0), memory.page(1));
    let counted = || PKS.counters().of(SHARED, Mode::Silent);
    let knobs = Knobs {
        shared: Mode::Silent,
        ..PKS.knobs()
    };
    under(knobs, Pardon::Context, || {
        let mapped = KMAP.kmap(page);
        let mapped = mapped.map_err(|why| alloc::format!("{why:?}"))?;
        check_eq!(
            kernel_tables::pkey(page.addr()),
            Some(SHARED.pkey()),
            "the key while it is shared"
        );
        let before = counted();
        for cpu in 0..smp::count() {
            on_cpu(cpu, move || {
                store(page.addr(), u64::from(cpu));
                check_eq!(open(page), (true, true), "pardoned, on CPU {cpu}");
                check_eq!(open(other), (false, false), "a page that is not shared");
                pks::end_of_context(&ThisCpu);
                check_eq!(open(page), (false, false), "after the context");
                Ok(())
            })?;
        }
        check_eq!(
            counted() - before,
            u64::from(smp::count()),
            "accesses counted"
        );
        drop(mapped);
        Ok(())
    })?;
    check_eq!(
        kernel_tables::pkey(page.addr()),
        Some(memory.key.pkey()),
        "the key afterwards"
    );
    for cpu in 0..smp::count() {
        open_on(cpu, page, (false, false))?;
    }
    memory.end()
}

/// One context has mapped a page for itself and uses it all the time; others share the page and stop doing so.
fn holds_while_shared() -> Outcome {
    static IS_OVER: AtomicU32 = AtomicU32::new(0);
    IS_OVER.store(0, SeqCst);
    let memory = Lendable::new(1)?;
    let page = memory.page(0);
    let wrong = Arc::new(AtomicU32::new(0));
    let used = Arc::new(AtomicU32::new(0));
    let (their_wrong, their_used) = (Arc::clone(&wrong), Arc::clone(&used));
    let thread = sched::spawn("holds", 1 << (smp::count() - 1), move || {
        let Ok(_mapped) = KMAP.kmap_local_page(page, Rights::ReadWrite) else {
            their_wrong.fetch_add(1, SeqCst);
            their_used.store(u32::MAX, SeqCst);
            return;
        };
        while IS_OVER.load(SeqCst) == 0 {
            if open(page) != (true, true) {
                their_wrong.fetch_add(1, SeqCst);
            }
            their_used.fetch_add(1, SeqCst);
            sched::yield_now();
        }
    });
    let thread = thread.map_err(|_| "no memory for a thread")?;
    let mut result = Ok(());
    for _ in 0..20 {
        let before = used.load(SeqCst);
        match KMAP.kmap(page) {
            Ok(mapped) => {
                while used.load(SeqCst) < before.saturating_add(2) {
                    sched::yield_now();
                }
                drop(mapped);
            }
            Err(why) => result = Err(alloc::format!("{why:?}")),
        }
    }
    IS_OVER.store(1, SeqCst);
    thread.join();
    result?;
    check_eq!(wrong.load(SeqCst), 0, "accesses that did not go through");
    memory.end()
}

/// `kmap`, `kmap_local`, `kunmap`, `kunmap_local` in different orders, and in different contexts.
fn in_any_order() -> Outcome {
    let memory = Lendable::new(1)?;
    let page = memory.page(0);
    let local = || {
        let mapped = KMAP.kmap_local_page(page, Rights::ReadWrite);
        mapped.map_err(|why| alloc::format!("{why}"))
    };
    let global = || KMAP.kmap(page).map_err(|why| alloc::format!("{why:?}"));
    let first = global()?;
    let mine = local()?;
    drop(first);
    check_eq!(open(page), (true, true), "kmap, kmap_local, kunmap");
    let second = global()?;
    drop(mine);
    check_eq!(
        open(page),
        (false, false),
        "kunmap_local while it is shared"
    );
    on_cpu(smp::count() - 1, move || {
        drop(second);
        Ok(())
    })?;
    check_eq!(
        kernel_tables::pkey(page.addr()),
        Some(memory.key.pkey()),
        "the key after kunmap in another context"
    );
    let mine = local()?;
    check_eq!(open(page), (true, true), "mapped once more");
    drop(mine);
    memory.end()
}
