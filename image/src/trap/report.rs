//! What is said when the kernel stops: what happened, where, and what the registers were.

use core::fmt;

use pkeys_core::PageFaultErrorCode;

use super::GENERAL_PROTECTION;
use super::fixup::{self, Fault};
use super::frame::Frame;
use crate::cpu::pkrs::ThisCpu;
use crate::cpu::registers::halves;
use crate::cpu::{per_cpu, pkrs};
use crate::exit::{Status, exit};
use crate::keys::fault::is_of_user_page;
use crate::{console, say, sched};
use pkeys_kernel::pks::region::Page;
use pkeys_kernel::pks::{Context, PksCpu, Report};

/// Names of exceptions by their vector (SDM Vol. 3A, table 6-1).
const NAMES: [&str; 22] = [
    "divide error",
    "debug exception",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "exception 9",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection fault",
    "page fault",
    "exception 15",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection exception",
];

/// The name of a vector.
fn name(vector: u64) -> &'static str {
    usize::try_from(vector)
        .ok()
        .and_then(|vector| NAMES.get(vector))
        .unwrap_or(&"exception")
}

/// An exception of the kernel that nobody handles: its end.
pub(crate) fn exception(frame: &mut Frame, interrupted: &Context) {
    let [code, _] = halves(frame.code);
    let fault = Fault {
        addr: 0,
        code: PageFaultErrorCode::from_bits(code),
    };
    if frame.vector == GENERAL_PROTECTION && fixup::apply(frame, fault) {
        return;
    }
    die(
        frame,
        interrupted,
        format_args!(
            "{} (vector {}, error code {:#x})",
            name(frame.vector),
            frame.vector,
            frame.code
        ),
    )
}

/// A page fault of the kernel that nobody forgives.
pub(super) fn page_fault(frame: &Frame, fault: Fault, interrupted: &Context) -> ! {
    let page = if is_of_user_page(fault) {
        ", a user page"
    } else {
        ""
    };
    die(
        frame,
        interrupted,
        format_args!("page fault at {:#x}: {}{page}", fault.addr, fault.code),
    )
}

/// A stray access that the modes stop.
pub(crate) fn stray(frame: &Frame, interrupted: &Context, report: &Report) -> ! {
    let page = Page::containing(report.fault.addr).addr();
    die(frame, interrupted, format_args!("{report}; page {page:#x}"))
}

/// Reports and ends.
fn die(frame: &Frame, interrupted: &Context, what: fmt::Arguments<'_>) -> ! {
    if console::begin_dying() {
        crate::cpu::interrupts::stop();
    }
    say!("pkeys: {what}");
    let (id, name) = sched::current().map_or((0, "none"), |thread| (thread.id(), thread.name()));
    say!(" CPU {}, thread {id} ({name})", per_cpu::id());
    say!(
        " PKRS: the interrupted context has {}, the handler {}",
        interrupted.value(ThisCpu.closed()),
        pkrs::read(),
    );
    say!("{frame}");
    say!(" at          {:#018x}", frame.rip);
    for address in calls(frame) {
        say!(" called from {address:#018x}");
    }
    exit(Status::Stopped)
}

/// Return addresses, by the chain of frame pointers (the kernel is compiled with them): the innermost first.
fn calls(frame: &Frame) -> impl Iterator<Item = u64> {
    let mut pointer = frame.rbp;
    core::iter::from_fn(move || {
        if pointer >> 63 == 0 || !pointer.is_multiple_of(8) {
            return None;
        }
        let address = fixup::try_read(pointer + 8).ok()?;
        let next = fixup::try_read(pointer).ok()?;
        pointer = if next > pointer { next } else { 0 };
        (address != 0).then_some(address)
    })
    .take(16)
}
