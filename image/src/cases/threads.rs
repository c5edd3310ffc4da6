//! Several CPUs, threads, and interrupts between them.

#![allow(unsafe_code, reason = "holds values in registers across interrupts")]

extern crate alloc;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::{interrupts, per_cpu};
use crate::memory::layout::STACKS;
use crate::memory::{frames, kernel_tables};
use crate::sched::mutex::Mutex;
use crate::sched::{self, ANYWHERE, Thread};
use crate::smp::apic::Command;
use crate::smp::{self, call, time};
use crate::trap::fixup::try_read;
use crate::trap::softirq::Softirq;

pub(super) const CASES: &[Case] = &[
    case("every-cpu-answers", every_cpu_answers),
    case("an-unmapped-page-is-gone-everywhere", unmapped_page_is_gone),
    case("every-cpu-takes-nmis", every_cpu_takes_nmis),
    case("threads-are-preempted", threads_are_preempted),
    case("threads-move-between-cpus", threads_move),
    case("threads-sleep", threads_sleep),
    case("a-mutex-excludes", mutex_excludes),
    case(
        "vector-registers-survive-preemption",
        vector_registers_survive,
    ),
    case("softirqs-run-after-interrupts", softirqs_run),
    case("threads-give-back-their-memory", threads_give_back),
];

/// How long a handler may take to come, in microseconds.
const PATIENCE_US: u64 = 1_000_000;

/// The CPUs, by number.
fn cpus() -> core::ops::Range<u32> {
    0..smp::count()
}

fn spawn(affinity: u64, work: impl FnOnce() + Send + 'static) -> Result<Arc<Thread>, &'static str> {
    sched::spawn("case", affinity, work).map_err(|_| "no memory for a thread")
}

fn every_cpu_answers() -> Outcome {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    for round in 0..10 {
        ANSWERS.store(0, SeqCst);
        call::on_all(
            |[first, second, third]| {
                ANSWERS.fetch_add(
                    first << (per_cpu::id() * 4) | second << 60 | third << 60,
                    SeqCst,
                );
            },
            [1, 0, 0],
        );
        let expected = cpus().fold(0, |sum, cpu| sum | 1 << (cpu * 4));
        check_eq!(ANSWERS.load(SeqCst), expected, "answers in round {round}");
    }
    Ok(())
}

/// Each CPU reads a page, which its TLB then knows; the page is taken away, and each must fault.
fn unmapped_page_is_gone() -> Outcome {
    const AT: u64 = STACKS + (1 << 38);
    for round in 0..3 {
        let frame = frames::allocate_one().ok_or("no frame")?;
        kernel_tables::map(AT, frame, kernel_tables::DATA).map_err(|_| "no page table")?;
        let read_everywhere = |expected: bool| -> Outcome {
            for cpu in cpus() {
                on_cpu(cpu, move || {
                    check_eq!(
                        try_read(AT).is_ok(),
                        expected,
                        "CPU {cpu} reads in round {round}"
                    );
                    Ok(())
                })?;
            }
            Ok(())
        };
        read_everywhere(true)?;
        check_eq!(kernel_tables::unmap(AT), Some(frame), "the frame");
        read_everywhere(false)?;
        frames::free(frame, 1);
    }
    Ok(())
}

fn every_cpu_takes_nmis() -> Outcome {
    for id in cpus() {
        let cpu = smp::cpu(id).ok_or("no such CPU")?;
        for _ in 0..5 {
            let before = cpu.nmis.load(SeqCst);
            smp::send(id, Command::Nmi);
            time::wait_until(PATIENCE_US, || cpu.nmis.load(SeqCst) != before);
            check_eq!(cpu.nmis.load(SeqCst), before + 1, "NMIs on CPU {id}");
        }
    }
    Ok(())
}

/// A thread that waits for another one without ever giving up the CPU, on the only CPU that the other may use.
fn threads_are_preempted() -> Outcome {
    for cpu in cpus() {
        let flag = Arc::new(AtomicBool::new(false));
        let (waits, sets) = (Arc::clone(&flag), Arc::clone(&flag));
        let waiting = spawn(1 << cpu, move || {
            while !waits.load(SeqCst) {
                core::hint::spin_loop();
            }
        })?;
        let setting = spawn(1 << cpu, move || sets.store(true, SeqCst))?;
        waiting.join();
        setting.join();
    }
    Ok(())
}

fn threads_move() -> Outcome {
    let thread_moves = || {
        for cpu in cpus().chain(cpus().rev()) {
            sched::move_to(1 << cpu);
            if interrupts::without(per_cpu::id) != cpu {
                return Some(cpu);
            }
        }
        None
    };
    let wrong = thread_moves();
    sched::move_to(ANYWHERE);
    check_eq!(wrong, None, "the thread is not on");
    Ok(())
}

fn threads_sleep() -> Outcome {
    let start = time::now_us();
    sched::sleep_us(3000);
    let slept = time::now_us() - start;
    check!(
        (3000..2_000_000).contains(&slept),
        "3000 us took {slept} us"
    );
    Ok(())
}

fn mutex_excludes() -> Outcome {
    const ROUNDS: u32 = 50;
    let shared = Arc::new(Mutex::new((0_u32, 0_u32)));
    let mut threads = Vec::new();
    for _ in 0..6 {
        let shared = Arc::clone(&shared);
        threads.push(spawn(ANYWHERE, move || {
            for round in 0..ROUNDS {
                let mut pair = shared.lock();
                pair.0 += 1;
                if round % 8 == 0 {
                    // Others meet the lock while it is held.
                    sched::yield_now();
                }
                pair.1 += 1;
            }
        })?);
    }
    for thread in &threads {
        thread.join();
    }
    check_eq!(*shared.lock(), (6 * ROUNDS, 6 * ROUNDS), "counts");
    Ok(())
}

/// Holds a value in vector registers for a while, and gives what is there then.
fn hold(value: u64, rounds: u64) -> (u64, u64) {
    let (first, last);
    // SAFETY: works on declared registers alone.
    unsafe {
        core::arch::asm!(
            "movq xmm3, {value}",
            "movq xmm14, {value}",
            "2:",
            "dec {rounds}",
            "jnz 2b",
            "movq {first}, xmm3",
            "movq {last}, xmm14",
            value = in(reg) value,
            rounds = inout(reg) rounds => _,
            first = out(reg) first,
            last = out(reg) last,
            out("xmm3") _,
            out("xmm14") _,
            options(nomem, nostack),
        );
    }
    (first, last)
}

fn vector_registers_survive() -> Outcome {
    let wrong = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for value in 1..=4 {
        let wrong = Arc::clone(&wrong);
        let cpu = value % u64::from(smp::count());
        threads.push(spawn(1 << cpu, move || {
            let start = time::now_us();
            while time::now_us() < start + 15_000 {
                if hold(value, 100_000) != (value, value) {
                    wrong.fetch_add(1, SeqCst);
                }
            }
        })?);
    }
    for thread in &threads {
        thread.join();
    }
    check_eq!(wrong.load(SeqCst), 0, "changed values");
    Ok(())
}

fn softirqs_run() -> Outcome {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    static WITH_INTERRUPTS: AtomicU32 = AtomicU32::new(0);
    for count in [&RUNS, &WITH_INTERRUPTS] {
        count.store(0, SeqCst);
    }
    Softirq::CASE.set(|| {
        RUNS.fetch_add(1, SeqCst);
        WITH_INTERRUPTS.fetch_add(u32::from(interrupts::are_enabled()), SeqCst);
    });
    for cpu in cpus() {
        on_cpu(cpu, || {
            let before = RUNS.load(Relaxed);
            interrupts::without(|| {
                Softirq::CASE.raise();
                smp::send(
                    per_cpu::id(),
                    Command::Interrupt(crate::trap::interrupt::CALL),
                );
            });
            time::wait_until(PATIENCE_US, || RUNS.load(Relaxed) != before);
            Ok(())
        })?;
    }
    check_eq!(RUNS.load(SeqCst), smp::count(), "softirqs");
    check_eq!(
        WITH_INTERRUPTS.load(SeqCst),
        smp::count(),
        "softirqs with interrupts let in"
    );
    Ok(())
}

fn threads_give_back() -> Outcome {
    let run = || {
        for _ in 0..20 {
            spawn(ANYWHERE, || {})?.join();
            sched::bury();
        }
        Ok::<(), &str>(())
    };
    run()?;
    let before = frames::nr_free();
    for _ in 0..5 {
        run()?;
    }
    // A thread that has just said that it is done may not have left its CPU yet.
    let lost = before.saturating_sub(frames::nr_free());
    check!(lost <= 24, "{lost} frames are lost");
    Ok(())
}
