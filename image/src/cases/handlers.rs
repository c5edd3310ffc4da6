//! Handlers on top of open threads: exceptions, interrupts, softirqs and NMIs start closed, however deep, and leave behind
//! what they found.

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use pkeys_core::{Pkey, Rights};

use super::protocol::{agrees, is_closed, page};
use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::pkrs::ThisCpu;
use crate::cpu::{interrupts, per_cpu};
use crate::memory::kernel_tables;
use crate::memory::layout::PAGE;
use crate::sched::{self, ANYWHERE};
use crate::smp::apic::Command;
use crate::smp::{self, time};
use crate::trap::fixup::try_read;
use crate::trap::frame::Frame;
use crate::trap::softirq::Softirq;
use crate::trap::{interrupt, nmi, page_fault};
use pkeys_kernel::pks::{self, PksKey};

pub(super) const CASES: &[Case] = &[
    case("handlers-run-closed", handlers_run_closed),
    case("softirqs-do-not-share-rights", softirqs_do_not_share),
    case("nmis-nest", nmis_nest),
    case("a-judge-may-let-an-access-through", judge_may_let_through),
    case(
        "a-handler-that-waits-stays-closed",
        waiting_handler_stays_closed,
    ),
    case("storm", storm),
];

/// How long a handler may take to come, in microseconds.
const PATIENCE_US: u64 = 1_000_000;

/// What a handler that interrupts an open thread found: bits of the below.
static FOUND: AtomicU32 = AtomicU32::new(0);
const RAN: u32 = 1;
const OPEN: u32 = 2;
const READ_WENT_THROUGH: u32 = 4;
/// The page that handlers try.
static TARGET: AtomicU64 = AtomicU64::new(0);

/// What a handler does: looks at the register, and tries the page, which is a fault in a handler.
fn look() {
    let mut found = RAN;
    if !is_closed() {
        found |= OPEN;
    }
    if try_read(TARGET.load(SeqCst)).is_ok() {
        found |= READ_WENT_THROUGH;
    }
    if !is_closed() {
        found |= OPEN;
    }
    FOUND.fetch_or(found, SeqCst);
}

/// Waits until a handler has run.
fn wait_for_handler() {
    time::wait_until(PATIENCE_US, || FOUND.load(SeqCst) != 0);
}

fn handlers_run_closed() -> Outcome {
    for cpu in 0..smp::count() {
        on_cpu(cpu, || {
            let page = page(9)?;
            TARGET.store(page.addr(), SeqCst);
            Softirq::CASE.set(look);
            let ways: [(&str, fn()); 2] = [
                ("an NMI", || smp::send(per_cpu::id(), Command::Nmi)),
                ("a softirq", || {
                    interrupts::without(|| Softirq::CASE.raise());
                    smp::send(per_cpu::id(), Command::Interrupt(interrupt::RESCHEDULE));
                }),
            ];
            nmi::set_hook(Some(|_| look()));
            for (what, start) in &ways {
                FOUND.store(0, SeqCst);
                let open = page.granted(Rights::ReadWrite, || {
                    start();
                    wait_for_handler();
                    page.open()
                });
                check_eq!(FOUND.load(SeqCst), RAN, "what {what} found");
                check_eq!(open, (true, true), "the thread after {what}");
                check!(agrees(), "register, cache and context differ after {what}");
            }
            nmi::set_hook(None);
            Ok(())
        })?;
    }
    Ok(())
}

/// A softirq that leaves a grant open, and one after it.
fn softirqs_do_not_share() -> Outcome {
    let page = page(14)?;
    TARGET.store(page.addr(), SeqCst);
    FOUND.store(0, SeqCst);
    Softirq::CASE.set(|| {
        // Not given back.
        if let Ok(key) = PksKey::try_from(14) {
            let _granted = pks::grant(&ThisCpu, key, Rights::ReadWrite);
        }
        Softirq::CASE_AFTER.raise();
    });
    Softirq::CASE_AFTER.set(look);
    interrupts::without(|| {
        Softirq::CASE.raise();
        smp::send(per_cpu::id(), Command::Interrupt(interrupt::RESCHEDULE));
    });
    wait_for_handler();
    check_eq!(FOUND.load(SeqCst), RAN, "what the second softirq found");
    check_eq!(page.open(), (false, false), "the thread afterwards");
    Ok(())
}

/// An NMI whose handler faults, so that NMIs come again, and sends itself another one, three deep.
fn nmis_nest() -> Outcome {
    static DEPTH: AtomicU32 = AtomicU32::new(0);
    static DEEPEST: AtomicU32 = AtomicU32::new(0);
    static OPEN_HANDLERS: AtomicU32 = AtomicU32::new(0);
    let hook = |_: &Frame| {
        let depth = DEPTH.fetch_add(1, SeqCst) + 1;
        DEEPEST.fetch_max(depth, SeqCst);
        let went_through = try_read(TARGET.load(SeqCst)).is_ok();
        if depth < 4 {
            smp::send(per_cpu::id(), Command::Nmi);
            time::wait_until(PATIENCE_US / 10, || DEEPEST.load(SeqCst) != depth);
        }
        if went_through || !is_closed() {
            OPEN_HANDLERS.fetch_add(1, SeqCst);
        }
        DEPTH.fetch_sub(1, SeqCst);
    };
    let page = page(4)?;
    TARGET.store(page.addr(), SeqCst);
    DEEPEST.store(0, SeqCst);
    nmi::set_hook(Some(hook));
    let open = page.granted(Rights::ReadWrite, || {
        sched::move_to(1);
        smp::send(0, Command::Nmi);
        time::wait_until(PATIENCE_US, || {
            DEEPEST.load(SeqCst) >= 4 && DEPTH.load(SeqCst) == 0
        });
        page.open()
    });
    nmi::set_hook(None);
    sched::move_to(ANYWHERE);
    check_eq!(DEEPEST.load(SeqCst), 4, "nested NMIs");
    check_eq!(OPEN_HANDLERS.load(SeqCst), 0, "handlers with rights");
    check_eq!(open, (true, true), "the thread afterwards");
    check!(agrees(), "register, cache and context differ");
    Ok(())
}

/// What judges here: counts, and takes the key off the page, so that the access goes through the next time.
fn judge_may_let_through() -> Outcome {
    static JUDGED: AtomicU32 = AtomicU32::new(0);
    static WAS_CLOSED: AtomicBool = AtomicBool::new(false);
    let page = page(8)?;
    JUDGED.store(0, SeqCst);
    page_fault::set_key_fault(Some(|_, fault, interrupted| {
        JUDGED.fetch_add(1, SeqCst);
        WAS_CLOSED.store(interrupted.is_closed() && is_closed(), SeqCst);
        let page = fault.addr & !(PAGE - 1);
        kernel_tables::set_pkey(page, page + PAGE, Pkey::DEFAULT).is_ok()
    }));
    let went_through = page.store_without_fixup(0x51);
    page_fault::set_key_fault(None);
    check_eq!(went_through, 0x51, "the word afterwards");
    check_eq!(JUDGED.load(SeqCst), 1, "faults");
    check!(WAS_CLOSED.load(SeqCst), "the judge had rights");
    Ok(())
}

/// A fault handler on top of an open thread lets another open thread run: the handler goes on closed, the two threads open.
fn waiting_handler_stays_closed() -> Outcome {
    static CLOSED: AtomicU32 = AtomicU32::new(0);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    CLOSED.store(0, SeqCst);
    IS_OVER.store(false, SeqCst);
    on_cpu(0, || {
        let (mine, stray) = (page(5)?, page(10)?);
        TARGET.store(mine.addr(), SeqCst);
        let theirs = page(12)?;
        let other = sched::spawn("other", 1, move || {
            theirs.granted(Rights::ReadWrite, || {
                while !IS_OVER.load(SeqCst) {
                    sched::yield_now();
                }
            });
        });
        let other = other.map_err(|_| "no memory for a thread")?;
        page_fault::set_key_fault(Some(|_, fault, _| {
            for _ in 0..10 {
                sched::yield_now();
                let is_shut = is_closed() && try_read(TARGET.load(SeqCst)).is_err();
                CLOSED.fetch_add(u32::from(is_shut), SeqCst);
            }
            let page = fault.addr & !(PAGE - 1);
            kernel_tables::set_pkey(page, page + PAGE, Pkey::DEFAULT).is_ok()
        }));
        let open = mine.granted(Rights::ReadWrite, || {
            stray.store_without_fixup(1);
            mine.open()
        });
        page_fault::set_key_fault(None);
        IS_OVER.store(true, SeqCst);
        other.join();
        check_eq!(CLOSED.load(SeqCst), 10, "how often the handler was closed");
        check_eq!(open, (true, true), "the thread afterwards");
        check!(agrees(), "register, cache and context differ");
        Ok(())
    })
}

/// NMIs and interrupts at every CPU from every CPU, while threads open, close, switch and fault.
fn storm() -> Outcome {
    static OPEN_HANDLERS: AtomicU32 = AtomicU32::new(0);
    OPEN_HANDLERS.store(0, SeqCst);
    let check_closed = || {
        if !is_closed() {
            OPEN_HANDLERS.fetch_add(1, SeqCst);
        }
    };
    nmi::set_hook(Some(|_| {
        if !is_closed() {
            OPEN_HANDLERS.fetch_add(1, SeqCst);
        }
    }));
    Softirq::CASE.set(check_closed);
    let pages = Arc::new([page(1)?, page(15)?]);
    let wrong = Arc::new(AtomicU32::new(0));
    let mut threads = alloc::vec::Vec::new();
    for mine in 0..2 * smp::count() {
        let (pages, wrong) = (Arc::clone(&pages), Arc::clone(&wrong));
        let thread = sched::spawn("storm", ANYWHERE, move || {
            let page = &pages[mine as usize % 2];
            for round in 0..60 {
                let target = (mine + round) % smp::count();
                let open = page.granted(Rights::ReadWrite, || {
                    smp::send(target, Command::Nmi);
                    interrupts::without(|| Softirq::CASE.raise());
                    smp::send(target, Command::Interrupt(interrupt::RESCHEDULE));
                    if round.is_multiple_of(3) {
                        sched::yield_now();
                    }
                    page.open()
                });
                if open != (true, true) || page.open() != (false, false) || !agrees() {
                    wrong.fetch_add(1, SeqCst);
                }
            }
        });
        threads.push(thread.map_err(|_| "no memory for a thread")?);
    }
    for thread in &threads {
        thread.join();
    }
    nmi::set_hook(None);
    check_eq!(OPEN_HANDLERS.load(SeqCst), 0, "handlers with rights");
    check_eq!(wrong.load(SeqCst), 0, "wrong rights");
    Ok(())
}
