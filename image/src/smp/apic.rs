//! The local APIC: interrupts of this CPU, its timer, and interrupts sent to other CPUs.
//!
//! Its registers are memory at a fixed physical address, the same on each CPU and each its own. The older form, since QEMU's
//! emulation has no x2APIC.
//!
//! Source: SDM Vol. 3A, 10.4 to 10.6.

#![allow(unsafe_code, reason = "registers of a device in memory")]

use crate::cpu::port;
use crate::memory::kernel_tables::{self, NO_EXECUTE, OutOfMemory, UNCACHED, WRITABLE};
use crate::memory::layout::{APIC, to_usize};
use crate::trap::interrupt::{SPURIOUS, TIMER};

use pkeys_core::pte::PRESENT;

const PHYSICAL: u64 = 0xFEE0_0000;

const ID: u64 = 0x20;
const END_OF_INTERRUPT: u64 = 0xB0;
const SPURIOUS_VECTOR: u64 = 0xF0;
const COMMAND_LOW: u64 = 0x300;
const COMMAND_HIGH: u64 = 0x310;
const TIMER_ENTRY: u64 = 0x320;
const LINT0: u64 = 0x350;
const LINT1: u64 = 0x360;
const ERROR: u64 = 0x370;
const TIMER_START: u64 = 0x380;
const TIMER_NOW: u64 = 0x390;
const TIMER_DIVIDE: u64 = 0x3E0;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
/// Dividing by 16.
const DIVIDE_BY_16: u32 = 3;
/// In the spurious vector's register: the APIC is on.
const ENABLED: u32 = 1 << 8;
/// In a command: being sent.
const PENDING: u32 = 1 << 12;
/// In a command: level asserted, as all but one form have it.
const ASSERT: u32 = 1 << 14;
/// In a command: to all but this CPU.
const ALL_OTHERS: u32 = 3 << 18;

/// Maps the registers, once.
pub(crate) fn map() -> Result<(), OutOfMemory> {
    kernel_tables::map(APIC, PHYSICAL, PRESENT | WRITABLE | UNCACHED | NO_EXECUTE)
}

fn read(register: u64) -> u32 {
    let at: *const u32 = core::ptr::with_exposed_provenance(to_usize(APIC + register));
    // SAFETY: `map` has mapped the page before anything of this module is called; the registers are aligned.
    unsafe { at.read_volatile() }
}

fn write(register: u64, value: u32) {
    let at: *mut u32 = core::ptr::with_exposed_provenance_mut(to_usize(APIC + register));
    // SAFETY: as in `read`. No register makes the device write memory.
    unsafe { at.write_volatile(value) }
}

/// Switches it on for this CPU, everything masked but interrupts of other CPUs and NMIs.
pub(crate) fn start() {
    for entry in [TIMER_ENTRY, LINT0, LINT1, ERROR] {
        write(entry, MASKED | u32::from(SPURIOUS));
    }
    write(SPURIOUS_VECTOR, ENABLED | u32::from(SPURIOUS));
}

/// Keeps the old interrupt controllers quiet: moves their vectors from the exceptions' to others and masks everything.
pub(crate) fn mask_old_controllers() {
    for (port, value) in [
        (0x20, 0x11),
        (0xA0, 0x11),
        (0x21, 0x20),
        (0xA1, 0x28),
        (0x21, 4),
        (0xA1, 2),
        (0x21, 1),
        (0xA1, 1),
        (0x21, 0xFF),
        (0xA1, 0xFF),
    ] {
        // SAFETY: (1) the controllers raise no interrupts any more, which nothing relies on.
        unsafe { port::write_u8(port, value) };
    }
}

/// This CPU's number at the interrupt controllers.
pub(crate) fn id() -> u32 {
    read(ID) >> 24
}

/// The interrupt that is being handled is done with.
pub(crate) fn acknowledge() {
    write(END_OF_INTERRUPT, 0);
}

/// What is sent to another CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// An interrupt.
    Interrupt(u8),
    /// An NMI.
    Nmi,
    /// Reset, and wait for a start-up interrupt.
    Init,
    /// Begin at this physical page, in 16-bit mode.
    StartUp(u8),
}

impl Command {
    fn bits(self) -> u32 {
        ASSERT
            | match self {
                Self::Interrupt(vector) => u32::from(vector),
                Self::Nmi => 4 << 8,
                Self::Init => 5 << 8,
                Self::StartUp(page) => 6 << 8 | u32::from(page),
            }
    }
}

/// Sends to one CPU, by its number at the controllers. Interrupts kept out, since the two registers belong together.
pub(crate) fn send(to: u32, command: Command) {
    write(COMMAND_HIGH, to << 24);
    write(COMMAND_LOW, command.bits());
    wait_until_sent();
}

/// Sends to all other CPUs.
pub(crate) fn send_to_others(command: Command) {
    write(COMMAND_LOW, command.bits() | ALL_OTHERS);
    wait_until_sent();
}

fn wait_until_sent() {
    while read(COMMAND_LOW) & PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// Lets the timer count down from its largest value, without interrupts.
pub(super) fn start_count() {
    write(TIMER_DIVIDE, DIVIDE_BY_16);
    write(TIMER_START, u32::MAX);
}

/// How far it has counted since [`start_count`].
pub(super) fn counted() -> u32 {
    u32::MAX - read(TIMER_NOW)
}

/// Has the timer interrupt this CPU every so many counts; 0 stops it.
pub(super) fn start_timer(counts: u32) {
    write(TIMER_DIVIDE, DIVIDE_BY_16);
    write(TIMER_ENTRY, PERIODIC | u32::from(TIMER));
    write(TIMER_START, counts);
}
