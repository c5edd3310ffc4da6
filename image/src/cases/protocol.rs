//! The protocol of supervisor keys on real registers: who holds what, and how often PKRS is written.

extern crate alloc;

use alloc::sync::Arc;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use pkeys_core::{Pkey, Rights};

use super::keyed::Keyed;
use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::pkrs::{self, ThisCpu};
use crate::cpu::{interrupts, per_cpu};
use crate::sched::{self, ANYWHERE};
use crate::smp::{self, call, time};
use crate::trap::fixup::try_read;
use pkeys_kernel::pks::PksCpu;

pub(super) const CASES: &[Case] = &[
    case("closed-on-every-cpu", closed_everywhere),
    case("grants-nest", grants_nest),
    case("new-threads-are-closed", new_threads_are_closed),
    case("a-switch-keeps-and-isolates", switch_keeps_and_isolates),
    case("grants-move-with-the-thread", grants_move),
    case("equal-rights-cost-no-write", equal_rights_cost_no_write),
    case(
        "exceptions-cost-two-writes-at-most",
        exceptions_cost_two_writes,
    ),
];

/// Whether register, cache and context agree on this CPU.
pub(super) fn agrees() -> bool {
    interrupts::without(|| {
        let wanted = ThisCpu.current().value(ThisCpu.closed());
        pkrs::read() == wanted && ThisCpu.cached() == u64::from(wanted.bits())
    })
}

/// Whether what runs now has no rights: the register says so.
pub(super) fn is_closed() -> bool {
    pkrs::read() == ThisCpu.closed()
}

pub(super) fn page(pkey: u32) -> Result<Keyed, &'static str> {
    Keyed::new(Pkey::truncate(pkey))
}

fn closed_everywhere() -> Outcome {
    static WRONG: AtomicU64 = AtomicU64::new(0);
    WRONG.store(0, SeqCst);
    call::on_all(
        |_| {
            if !is_closed() || !agrees() {
                WRONG.fetch_or(1 << per_cpu::id(), SeqCst);
            }
        },
        [0; 3],
    );
    check_eq!(WRONG.load(SeqCst), 0, "CPUs that are open");
    for cpu in 0..smp::count() {
        on_cpu(cpu, || {
            check!(is_closed() && agrees(), "the register is {}", pkrs::read());
            Ok(())
        })?;
    }
    Ok(())
}

fn grants_nest() -> Outcome {
    for page in &Keyed::each()? {
        let key = page.pkey();
        check_eq!(page.open(), (false, false), "key {key} without a grant");
        let (outer, inner, after) = page.granted(Rights::ReadOnly, || {
            let outer = page.open();
            let inner = page.granted(Rights::ReadWrite, || {
                page.granted(Rights::ReadOnly, || page.open())
            });
            (outer, inner, page.open())
        });
        check_eq!(
            (outer, inner, after),
            ((true, false), (true, true), (true, false)),
            "key {key} with grants"
        );
        check_eq!(page.open(), (false, false), "key {key} after its grants");
        check!(agrees(), "register, cache and context differ");
    }
    Ok(())
}

fn new_threads_are_closed() -> Outcome {
    let page = Arc::new(page(3)?);
    let inner = Arc::clone(&page);
    page.granted(Rights::ReadWrite, || {
        on_cpu(0, move || {
            check_eq!(inner.open(), (false, false), "in the new thread");
            Ok(())
        })
    })
}

/// Two threads on one CPU, each with a grant of its own, taking turns and being preempted.
fn switch_keeps_and_isolates() -> Outcome {
    let pages = Arc::new([page(6)?, page(11)?]);
    let wrong = Arc::new(AtomicU32::new(0));
    for cpu in 0..smp::count() {
        let threads = [0, 1].map(|mine| {
            let (pages, wrong) = (Arc::clone(&pages), Arc::clone(&wrong));
            sched::spawn("grants", 1 << cpu, move || {
                pages[mine].granted(Rights::ReadWrite, || {
                    let end = time::now_us() + 12_000;
                    let mut round = 0_u32;
                    while time::now_us() < end || round < 50 {
                        let mine_and_other = (pages[mine].open(), pages[1 - mine].open());
                        if mine_and_other != ((true, true), (false, false)) {
                            wrong.fetch_add(1, SeqCst);
                        }
                        if round.is_multiple_of(4) {
                            sched::yield_now();
                        }
                        round += 1;
                    }
                });
            })
        });
        for thread in threads {
            thread.map_err(|_| "no memory for a thread")?.join();
        }
    }
    check_eq!(wrong.load(SeqCst), 0, "wrong rights");
    Ok(())
}

fn grants_move() -> Outcome {
    let page = page(13)?;
    let wrong = page.granted(Rights::ReadOnly, || {
        let mut wrong = None;
        for cpu in (0..smp::count()).chain((0..smp::count()).rev()) {
            sched::move_to(1 << cpu);
            if page.open() != (true, false) || !agrees() {
                wrong = Some(cpu);
            }
        }
        wrong
    });
    sched::move_to(ANYWHERE);
    check_eq!(wrong, None, "the grant is lost on CPU");
    Ok(())
}

/// How often PKRS is written on this CPU while something runs.
fn writes(run: impl FnOnce()) -> u64 {
    let before = per_cpu::this().pks_writes();
    run();
    per_cpu::this().pks_writes() - before
}

fn equal_rights_cost_no_write() -> Outcome {
    on_cpu(0, || {
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&is_over);
        let other = sched::spawn("other", 1, move || {
            while !theirs.load(SeqCst) {
                sched::yield_now();
            }
        });
        let other = other.map_err(|_| "no memory for a thread")?;
        let switches = writes(|| (0..100).for_each(|_| sched::yield_now()));
        let exceptions = writes(|| (0..100).for_each(|_| assert!(try_read(8).is_err())));
        let end = per_cpu::this().ticks.load(Relaxed) + 3;
        let interrupts = writes(|| while per_cpu::this().ticks.load(Relaxed) < end {});
        is_over.store(true, SeqCst);
        other.join();
        check_eq!(
            (switches, exceptions, interrupts),
            (0, 0, 0),
            "writes of PKRS"
        );
        Ok(())
    })
}

fn exceptions_cost_two_writes() -> Outcome {
    on_cpu(0, || {
        let page = page(2)?;
        let (faults, grant) = page.granted(Rights::ReadWrite, || {
            let faults = interrupts::without(|| {
                writes(|| (0..100).for_each(|_| assert!(try_read(8).is_err())))
            });
            (
                faults,
                interrupts::without(|| writes(|| page.granted(Rights::ReadOnly, || ()))),
            )
        });
        check_eq!(
            faults,
            200,
            "writes of PKRS at 100 exceptions of an open thread"
        );
        check_eq!(
            grant,
            0,
            "writes of PKRS at a nested grant that changes nothing"
        );
        let pair = interrupts::without(|| writes(|| page.granted(Rights::ReadOnly, || ())));
        check_eq!(pair, 2, "writes of PKRS at a grant and its end");
        Ok(())
    })
}
