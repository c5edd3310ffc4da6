//! The serial console: what the kernel says goes to COM1.
//!
//! One line at a time: a lock keeps the CPUs apart. Who already holds it, because a handler interrupted its printing, writes
//! nevertheless, and so does everybody once the kernel dies: better a mixed line than none.

#![allow(unsafe_code, reason = "the ports of a serial line")]

use core::fmt::{self, Write};
use core::hint;
use core::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::cpu::{interrupts, per_cpu, port};

const DATA: u16 = 0x3F8;
const LINE_STATUS: u16 = DATA + 5;
/// The line can take another byte.
const READY: u8 = 1 << 5;

/// Nobody holds the console.
const NOBODY: u32 = u32::MAX;

static HOLDER: AtomicU32 = AtomicU32::new(NOBODY);
static IS_DYING: AtomicBool = AtomicBool::new(false);

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: (1) the serial line's status; reading changes nothing that is used.
            while unsafe { port::read_u8(LINE_STATUS) } & READY == 0 {
                hint::spin_loop();
            }
            // SAFETY: (1) sends a byte.
            unsafe { port::write_u8(DATA, byte) };
        }
        Ok(())
    }
}

/// Prints a line; see [`crate::say`].
pub(crate) fn print(line: fmt::Arguments<'_>) {
    interrupts::without(|| {
        let me = per_cpu::id();
        let is_mine = HOLDER.load(Relaxed) != me && acquire(me);
        // The serial line takes everything.
        let _ = Serial.write_fmt(format_args!("{line}\n"));
        if is_mine {
            HOLDER.store(NOBODY, Release);
        }
    });
}

/// Waits for the console; `false` when it is not to be waited for any more.
fn acquire(me: u32) -> bool {
    while HOLDER
        .compare_exchange_weak(NOBODY, me, Acquire, Relaxed)
        .is_err()
    {
        if IS_DYING.load(Relaxed) {
            return false;
        }
        hint::spin_loop();
    }
    true
}

/// From now on nobody waits for the console. Gives whether the kernel was dying already.
pub(crate) fn begin_dying() -> bool {
    IS_DYING.swap(true, Relaxed)
}

/// Prints a line on the console, as `println!` does.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}
