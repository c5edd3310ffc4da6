//! Programs in ring 3, under `pkeys-kernel`: keys, signals through real frames, state, threads on several CPUs.
//!
//! Each is a small ELF file in this kernel (`programs.s`), loaded and run as any program is; it judges by itself, and says
//! so by its status.

#![allow(unsafe_code, reason = "programs as bytes between two symbols")]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::slice;
use core::sync::atomic::Ordering::Relaxed;

use pkeys_kernel::platform::Program;
use pkeys_kernel::task::ExitStatus;

use super::{Case, Outcome, case, check, check_eq};
use crate::memory::frames;
use crate::sched;
use crate::smp::{self, apic::Command, time};
use crate::user::files::File;
use crate::user::{self, process};

pub(super) const CASES: &[Case] = &[
    case("user-starts-with-init-pkru", starts_with_init_pkru),
    case("user-keys", || ends_well(b"keys", &[])),
    case("the-kernel-heeds-user-keys", || ends_well(b"copies", &[])),
    case("user-state-is-switched", state_is_switched),
    case("user-state-survives-nmis", state_survives_nmis),
    case("user-exceptions-are-signals", || {
        ends_well(b"exceptions", &[])
    }),
    case("user-threads-share-memory", || ends_well(b"threads", &[])),
    case("the-kernel-changes-words-in-one-step", || {
        ends_well(b"wake-op", &[])
    }),
    case("user-locks-of-the-dead-are-marked", || {
        ends_well(b"robust", &[])
    }),
    case("user-pages-go-everywhere", pages_go_everywhere),
    case("user-signals-reach-every-cpu", signals_reach_every_cpu),
    case("user-sleeps", || ends_well(b"sleep", &[])),
    case(
        "user-memory-ends-for-programs-alone",
        memory_ends_for_programs,
    ),
    case("user-cannot-reach-the-kernel", || dies(b"stray", SIGSEGV)),
    case("user-cannot-jump-nowhere", || dies(b"nowhere", SIGSEGV)),
];

/// Numbers of signals.
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

global_asm!(include_str!("programs.s"));

/// How long the memory of a program may take to come back, and how many frames may stay with the kernel: stacks, pieces of the
/// heap.
const PATIENCE_US: u64 = 10_000_000;
const FEW_FRAMES: usize = 64;

/// Declares the symbols of programs, and gives them as files.
macro_rules! programs {
    ($($path:literal $start:ident $end:ident)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }

        /// The programs, by path.
        pub(super) fn programs() -> impl Iterator<Item = File> {
            [$(($path.as_slice(), &raw const $start, &raw const $end)),*].into_iter().map(|(path, start, end)| File {
                path,
                // SAFETY: the bytes between two symbols of `programs.s`, which are read-only.
                bytes: unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) },
            })
        }
    };
}

programs! {
    b"start" user_start user_start_end
    b"keys" user_keys user_keys_end
    b"copies" user_copies user_copies_end
    b"state" user_state user_state_end
    b"stray" user_stray user_stray_end
    b"nowhere" user_nowhere user_nowhere_end
    b"exceptions" user_exceptions user_exceptions_end
    b"threads" user_threads user_threads_end
    b"wake-op" user_wake_op user_wake_op_end
    b"robust" user_robust user_robust_end
    b"shoot-down" user_shoot_down user_shoot_down_end
    b"kill" user_kill user_kill_end
    b"sleep" user_sleep user_sleep_end
    b"hog" user_hog user_hog_end
}

fn start(path: &[u8], args: &[&[u8]]) -> Result<i32, &'static str> {
    let mut argv = vec![path.to_vec()];
    argv.extend(args.iter().map(|arg| arg.to_vec()));
    let program = Program {
        path: path.to_vec(),
        argv,
        envp: Vec::new(),
    };
    process::start(program).map_err(|_| "the program cannot be started")
}

fn ends_well(path: &[u8], args: &[&[u8]]) -> Outcome {
    let status = process::wait(start(path, args)?);
    check_eq!(status, ExitStatus::Exited(0), "the step that failed");
    Ok(())
}

fn dies(path: &[u8], signo: i32) -> Outcome {
    let status = process::wait(start(path, &[])?);
    check_eq!(status, ExitStatus::Killed(signo), "the program's end");
    Ok(())
}

/// A program is asked for each byte of its first PKRU.
fn starts_with_init_pkru() -> Outcome {
    let wanted = user::init_pkru().to_le_bytes();
    for (byte, wanted) in [b"0", b"1", b"2", b"3"].into_iter().zip(wanted) {
        let status = process::wait(start(b"start", &[byte])?);
        check_eq!(status, ExitStatus::Exited(wanted), "a byte of PKRU");
    }
    Ok(())
}

/// More programs than there are CPUs, each with another value in all registers.
fn state_is_switched() -> Outcome {
    let numbers: [&[u8]; 6] = [b"1", b"2", b"3", b"4", b"5", b"6"];
    let mut started = Vec::new();
    for number in numbers {
        started.push(start(b"state", &[number])?);
    }
    for pid in started {
        check_eq!(
            process::wait(pid),
            ExitStatus::Exited(0),
            "what a program found"
        );
    }
    Ok(())
}

/// Programs on all CPUs, and NMIs at any moment: in user mode, on the way into the kernel and on the way out.
fn state_survives_nmis() -> Outcome {
    let mut running = Vec::new();
    for number in [b"1", b"2", b"3"] {
        running.push(start(b"state", &[number])?);
    }
    let before: u64 = nmis();
    while let Some(&pid) = running.last() {
        for cpu in 0..smp::count() {
            smp::send(cpu, Command::Nmi);
        }
        if let Some(status) = process::ended(pid) {
            check_eq!(status, ExitStatus::Exited(0), "what a program found");
            running.pop();
        }
        sched::yield_now();
    }
    check!(nmis() > before, "no NMI came");
    Ok(())
}

/// How many NMIs there were, on all CPUs.
fn nmis() -> u64 {
    let cpus = (0..smp::count()).filter_map(smp::cpu);
    cpus.map(|cpu| cpu.nmis.load(Relaxed)).sum()
}

fn pages_go_everywhere() -> Outcome {
    for _ in 0..5 {
        ends_well(b"shoot-down", &[])?;
    }
    Ok(())
}

/// As many programs at once as there are CPUs, so that children run on all of them.
fn signals_reach_every_cpu() -> Outcome {
    let mut started = Vec::new();
    for _ in 0..smp::count() {
        started.push(start(b"kill", &[])?);
    }
    for pid in started {
        check_eq!(
            process::wait(pid),
            ExitStatus::Exited(0),
            "the step that failed"
        );
    }
    Ok(())
}

/// A program takes all memory, and is killed; then there is as much as before.
fn memory_ends_for_programs() -> Outcome {
    ends_well(b"copies", &[])?;
    let before = frames::nr_free();
    dies(b"hog", SIGKILL)?;
    // Who waits hears of the end before all of it is cleared away.
    let lost = || before.saturating_sub(frames::nr_free());
    let end = time::now_us() + PATIENCE_US;
    while lost() > FEW_FRAMES && time::now_us() < end {
        sched::yield_now();
    }
    check!(lost() <= FEW_FRAMES, "{} frames are lost", lost());
    ends_well(b"copies", &[])
}
