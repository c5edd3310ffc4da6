//! The serial console: what the kernel and programs say goes to COM1; what the kernel says goes to COM2 where that is asked
//! for, so that programs have a line of their own.
//!
//! One line at a time: a lock keeps the CPUs apart. Who already holds it, because a handler interrupted its printing, writes
//! nevertheless, and so does everybody once the kernel dies: better a mixed line than none. The kernel's lines begin at the
//! beginning of a line, even if a program has stopped in the midst of one.

#![allow(unsafe_code, reason = "the ports of a serial line")]

use core::fmt::{self, Write};
use core::hint;
use core::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::cpu::{interrupts, per_cpu, port};

const COM1: u16 = 0x3F8;
const COM2: u16 = 0x2F8;
/// The offset of the status of a line. Where there is none, all its bits are read as set.
const LINE_STATUS: u16 = 5;
/// The line can take another byte.
const READY: u8 = 1 << 5;

/// Nobody holds the console.
const NOBODY: u32 = u32::MAX;

static HOLDER: AtomicU32 = AtomicU32::new(NOBODY);
static IS_DYING: AtomicBool = AtomicBool::new(false);
/// The line that the kernel's own words go to.
static OWN: AtomicU16 = AtomicU16::new(COM1);
/// A program has written the beginning of a line.
static IS_MID_LINE: AtomicBool = AtomicBool::new(false);

/// A serial line.
struct Serial(u16);

impl Serial {
    fn send(&self, bytes: &[u8]) {
        for byte in bytes {
            // SAFETY: (1) the line's status; reading changes nothing that is used.
            while unsafe { port::read_u8(self.0 + LINE_STATUS) } & READY == 0 {
                hint::spin_loop();
            }
            // SAFETY: (1) sends a byte.
            unsafe { port::write_u8(self.0, *byte) };
        }
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}

/// From now on the kernel's own words go to COM2.
pub(crate) fn speak_apart() {
    OWN.store(COM2, Relaxed);
}

/// Prints a line; see [`crate::say`].
pub(crate) fn print(line: fmt::Arguments<'_>) {
    holding(|| {
        let own = OWN.load(Relaxed);
        let is_mid_line = own == COM1 && IS_MID_LINE.swap(false, Relaxed);
        let start = if is_mid_line { "\n" } else { "" };
        // The serial line takes everything.
        let _ = Serial(own).write_fmt(format_args!("{start}{line}\n"));
    });
}

/// Writes what a program says.
pub(crate) fn write(bytes: &[u8]) {
    holding(|| {
        Serial(COM1).send(bytes);
        if let Some(last) = bytes.last() {
            IS_MID_LINE.store(*last != b'\n', Relaxed);
        }
    });
}

/// Does something while nobody else writes.
fn holding(work: impl FnOnce()) {
    interrupts::without(|| {
        let me = per_cpu::id();
        let is_mine = HOLDER.load(Relaxed) != me && acquire(me);
        work();
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
