//! Time: how fast the counters of the CPU run, and what day it is.
//!
//! Neither the time-stamp counter nor the timer of the local APIC says how fast it is. Both are measured once against the old
//! timer chip, whose 1193182 Hz are the same in every PC. The day and the second are read from the battery-backed clock,
//! once.

#![allow(unsafe_code, reason = "ports of the timer chip and of the clock")]

use core::hint;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use pkeys_image::calendar::{self, Reading};

use super::apic;
use crate::cpu::{port, registers};

/// The chip's frequency.
const CHIP_HZ: u64 = 1_193_182;
/// How long is measured, in microseconds.
const SAMPLE_US: u64 = 1000;
/// How often. An emulator loses the CPU now and then, which only ever makes a sample longer: the shortest counts.
const SAMPLES: usize = 4;

/// The gate of the chip's third counter (bit 0), and its output (bit 5).
const GATE: u16 = 0x61;
const COUNTER: u16 = 0x42;
const MODE: u16 = 0x43;
/// The battery-backed clock: which of its registers, and what is in it.
const CLOCK_INDEX: u16 = 0x70;
const CLOCK_DATA: u16 = 0x71;
/// How often the clock is read until two readings agree.
const MAX_READINGS: usize = 1000;
/// The third counter, both bytes, one shot.
const ONE_SHOT: u8 = 0b1011_0000;

static TSC_PER_MS: AtomicU64 = AtomicU64::new(1_000_000);
static COUNTS_PER_MS: AtomicU32 = AtomicU32::new(1000);
/// The time of 1970 at which the time-stamp counter was 0, in nanoseconds.
static START_NS: AtomicU64 = AtomicU64::new(0);

/// Measures, once.
pub(crate) fn start() {
    let samples: [_; SAMPLES] = core::array::from_fn(|_| sample());
    let per_ms = |amount: u64| (amount * 1000 / SAMPLE_US).max(1);
    let ticks = samples.iter().map(|sample| sample.0).min().unwrap_or(1);
    let counts = samples.iter().map(|sample| sample.1).min().unwrap_or(1);
    TSC_PER_MS.store(per_ms(ticks), Relaxed);
    COUNTS_PER_MS.store(u32::try_from(per_ms(counts)).unwrap_or(u32::MAX), Relaxed);
    let now_ns = read_clock() * 1_000_000_000;
    START_NS.store(now_ns.saturating_sub(self::now_ns()), Relaxed);
}

/// The battery-backed clock, in seconds since 1970; 0 where there is none.
fn read_clock() -> u64 {
    let read = || {
        calendar::REGISTERS.map(|register| {
            // SAFETY: (1) chooses a register of the clock; bit 7, NMIs by this old way, stays clear as it was.
            unsafe { port::write_u8(CLOCK_INDEX, register) };
            // SAFETY: (1) reading a register of the clock that has no side effects.
            unsafe { port::read_u8(CLOCK_DATA) }
        })
    };
    // It changes while it is read: two equal readings are from one second.
    let mut last = read();
    for _ in 0..MAX_READINGS {
        let next = read();
        if next == last {
            return Reading(next).seconds().unwrap_or(0);
        }
        last = next;
    }
    0
}

/// How far the time-stamp counter and the local timer get while the chip counts one sample.
fn sample() -> (u64, u64) {
    let [low, high, ..] = (CHIP_HZ * SAMPLE_US / 1_000_000).to_le_bytes();
    // SAFETY: (1) the chip's third counter drives the speaker, which is kept off (bit 1), and nothing else.
    let gate = unsafe { port::read_u8(GATE) } & !0b11;
    for (port, value) in [
        (GATE, gate),
        (MODE, ONE_SHOT),
        (COUNTER, low),
        (COUNTER, high),
    ] {
        // SAFETY: (1) as above.
        unsafe { port::write_u8(port, value) };
    }
    apic::start_count();
    let start = registers::read_tsc();
    // SAFETY: (1) as above; the counter runs from here.
    unsafe { port::write_u8(GATE, gate | 1) };
    // SAFETY: (1) as above.
    while unsafe { port::read_u8(GATE) } & 1 << 5 == 0 {
        hint::spin_loop();
    }
    (registers::read_tsc() - start, u64::from(apic::counted()))
}

/// Microseconds since the machine was started.
pub(crate) fn now_us() -> u64 {
    now_ns() / 1000
}

/// Nanoseconds since the machine was started.
pub(crate) fn now_ns() -> u64 {
    let per_ms = TSC_PER_MS.load(Relaxed);
    let ticks = registers::read_tsc();
    ticks / per_ms * 1_000_000 + ticks % per_ms * 1_000_000 / per_ms
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    START_NS.load(Relaxed) + now_ns()
}

/// Waits, doing nothing else.
pub(crate) fn delay_us(us: u64) {
    wait_until(us, || false);
}

/// Waits until something holds, doing nothing else; `false` when the time is over.
pub(crate) fn wait_until(us: u64, holds: impl Fn() -> bool) -> bool {
    let end = now_us() + us;
    while !holds() {
        if now_us() > end {
            return false;
        }
        hint::spin_loop();
    }
    true
}

/// Has this CPU's timer interrupt it at this interval; 0 stops it.
pub(crate) fn start_timer(us: u32) {
    let counts = u64::from(COUNTS_PER_MS.load(Relaxed)) * u64::from(us) / 1000;
    apic::start_timer(u32::try_from(counts).unwrap_or(u32::MAX));
}
