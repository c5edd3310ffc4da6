//! Bytes that nobody can know beforehand, as far as the CPU gives any: by RDRAND.
//!
//! A CPU without it gives the time-stamp counter, stirred. That differs from start to start and is no secret.
//!
//! Source: SDM Vol. 1, 7.3.17.

#![allow(unsafe_code, reason = "RDRAND")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use super::registers::read_tsc;

/// CPUID.1:ECX.RDRAND.
const RDRAND: u32 = 1 << 30;

/// How often it is asked before it counts as empty (SDM: 10).
const TRIES: usize = 10;

/// Fills a buffer.
pub(crate) fn fill(bytes: &mut [u8]) {
    let has_rdrand = __cpuid(1).ecx & RDRAND != 0;
    let mut stirred = read_tsc();
    for piece in bytes.chunks_mut(8) {
        // The multiplier and the increment of Knuth's MMIX.
        stirred = stirred
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let drawn = has_rdrand
            .then(|| (0..TRIES).find_map(|_| rdrand()))
            .flatten();
        let word = drawn.unwrap_or(stirred ^ stirred >> 29);
        for (to, from) in piece.iter_mut().zip(word.to_be_bytes()) {
            *to = from;
        }
    }
}

/// RDRAND; `None` if it has nothing to give right now.
fn rdrand() -> Option<u64> {
    let word: u64;
    let has_word: u8;
    // SAFETY: CPUID lists the instruction (`fill`), which changes the two registers and the flags.
    unsafe {
        asm!(
            "rdrand {word}",
            "setc {has_word}",
            word = out(reg) word,
            has_word = out(reg_byte) has_word,
            options(nomem, nostack),
        );
    }
    (has_word != 0).then_some(word)
}
