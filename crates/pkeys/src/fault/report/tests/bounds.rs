//! Nobody waits for long, and what is lost is counted.
#![allow(unsafe_code, reason = "fork(2)")]

use std::fs;
use std::path::Path;
use std::thread;

use super::{Bench, LONG_NS, aim, raise, stray};
use crate::fault::report::clock::monotonic_ns;
use crate::fault::report::outlets;

#[test]
fn without_a_reporter_nobody_waits() {
    let bench = Bench::new(LONG_NS);
    for _ in 0..40 {
        stray(&bench);
    }
    assert_eq!(bench.lines("raw").len(), 40);
    assert_eq!(bench.channel.outlets.lost(), 0);
}

/// A child that was made past the C library, which could have told it that the reporter is gone.
#[test]
fn a_child_does_not_wait_for_its_parents_reporter() {
    let bench = Bench::served(LONG_NS);
    aim(&bench);
    // SAFETY: the child calls the handler under test, which allocates nothing and takes no lock, and ends.
    let child = unsafe { libc::syscall(libc::SYS_fork) };
    if child == 0 {
        raise(libc::SIGUSR1);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    let child = i32::try_from(child).unwrap();
    let mut status = 0;
    // SAFETY: the status is this function's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    let [raw] = &bench.lines("raw")[..] else {
        panic!("one record")
    };
    assert_eq!(raw["pid"], child);
    assert!(bench.lines("report").is_empty());
    stray(&bench);
    assert_eq!(bench.lines("report").len(), 1, "the parent's still works");
    bench.channel.forget();
    stray(&bench);
    assert_eq!(bench.lines("report").len(), 1);
}

/// A reporter that does not come: all slots are taken, later records are lost, and the next one that is written says so.
#[test]
fn records_beyond_the_slots_are_counted() {
    let bench = Bench::new(LONG_NS);
    bench.channel.set_reporter(true);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| stray(&bench));
        }
        while bench.lines("raw").len() < 16 {
            thread::yield_now();
        }
        let start = monotonic_ns();
        stray(&bench);
        stray(&bench);
        let took_ns = monotonic_ns() - start;
        assert!(took_ns < LONG_NS, "nobody waits without a slot");
        assert_eq!(bench.channel.outlets.lost(), 2);
        // Now it comes, and lets one after the other go.
        let mut taken = Vec::new();
        while taken.len() < 16 {
            taken.extend(bench.channel.take().map(|taken| taken.record().sequence));
        }
        taken.sort_unstable();
        assert_eq!(taken, Vec::from_iter(1..=16));
    });
    bench.channel.set_reporter(false);
    stray(&bench);
    let raw = bench.lines("raw");
    assert_eq!(raw.len(), 17);
    assert_eq!((&raw[15]["lost"], &raw[16]["lost"]), (&0.into(), &2.into()));
    assert!(bench.terminal().contains("2 records lost so far"));
}

#[test]
fn a_full_disk_is_counted_and_survived() {
    let bench = Bench::served(LONG_NS);
    bench
        .channel
        .outlets
        .set_file(outlets::open(Path::new("/dev/full")).unwrap())
        .unwrap();
    stray(&bench);
    assert_eq!(bench.channel.outlets.lost(), 2, "both lines");
    bench
        .channel
        .outlets
        .set_file(outlets::open(&bench.file).unwrap())
        .unwrap();
    stray(&bench);
    assert_eq!(bench.lines("raw")[0]["lost"], 2);
}

#[test]
fn the_reporter_takes_no_signals() {
    let mask = |tid: &str| {
        let status = fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // SAFETY: takes nothing.
    let own = unsafe { libc::gettid() }.to_string();
    let before = mask(&own);
    let _bench = Bench::served(LONG_NS);
    assert_eq!(mask(&own), before);
    let reporters = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        let tid = task.unwrap().file_name().into_string().unwrap();
        let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).ok()?;
        (name.trim_end() == "pkeys-report").then_some(tid)
    });
    let reporters: Vec<String> = reporters.collect();
    assert!(!reporters.is_empty());
    // All but SIGKILL and SIGSTOP, which nobody blocks, and the C library's own two or three.
    let library = 7 << 31;
    let all = !(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1) | library);
    for tid in reporters {
        assert_eq!(mask(&tid) & all, all, "thread {tid}");
    }
}
