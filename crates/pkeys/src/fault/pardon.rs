//! Pardons: letting a stray access through, and closing the key again behind it.
//!
//! **For one instruction.** The key is opened in the signal frame and the thread goes on with RFLAGS.TF set; the trap after
//! the instruction closes it again. Everything that could run in between is kept out: all signals but SIGSEGV, SIGTRAP
//! and SIGBUS are blocked in the frame until the trap. An instruction that faults on a second key opens that one too. A
//! repeated string instruction runs as a copy with a breakpoint behind it, in one piece.
//!
//! **Until the outermost window closes.** The key is opened in the frame and stays open; the window that ends the thread's
//! last grant closes it. A thread without a window has no such end and gets the pardon for one instruction.
//!
//! What goes wrong with single steps, and what is done:
//!
//! * `siglongjmp(3)` out of a handler leaves the step behind: the next fault elsewhere finds it stale and clears it.
//! * A tracer swallows the SIGTRAP: the thread goes on with the key open and the trap flag set, until the next fault or the
//!   end of the outermost window. Nothing can be done at the time.
//! * In a restartable sequence (`rseq(2)`) the kernel has moved the thread to the abort handler before we see it. Stepping
//!   there never reaches the access: after some repeats the key stays open as for a window.
//! * An instruction that pops the flags, or loads SS, from keyed memory delays or loses its trap: the key is closed by the
//!   next trap, fault or window.
#![allow(unsafe_code, reason = "reads the bytes of the guilty instruction")]

use core::ffi::c_int;
use core::sync::atomic::Ordering::Relaxed;

use pkeys_arch::rep_string::{self, RepString};
use pkeys_core::{AccessBits, KeyRegister, KeySet, Pardon, Pkey, siginfo};

use crate::domain::Protection;
use crate::domain::inner::protect_pages;
use crate::embed;
use crate::fault::frame::{Frame, KernelSigset};
use crate::fault::state::MAX_SOFT;
use crate::registry::regions::{self, Record};
use crate::support::{self, Keys};
use crate::sys::{self, Prot};
use crate::thread::ThreadState;

/// The signature before the abort handler of a restartable sequence, as glibc registers it on x86
/// (`sysdeps/unix/sysv/linux/x86/bits/rseq.h`).
const RSEQ_SIGNATURE: [u8; 4] = 0x5305_3053_u32.to_le_bytes();

/// How often a restartable sequence may be stepped at its abort handler before it is left alone.
const MAX_RSEQ_REPEATS: u32 = 16;

/// The bit of a signal in the kernel's signal set.
pub(super) const fn bit(signal: c_int) -> KernelSigset {
    1 << (signal - 1)
}

/// What may interrupt a pardoned instruction: what it can raise itself.
const STEP_MASK: KernelSigset = !(bit(libc::SIGSEGV) | bit(libc::SIGTRAP) | bit(libc::SIGBUS));

/// Whose trap it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    Ours,
    Theirs,
}

/// Lets the access through. Gives whether that was possible.
pub(super) fn grant(
    thread: &ThreadState,
    frame: &mut Frame,
    region: &Record,
    protection: Protection,
    keys: Option<Keys>,
) -> bool {
    match (protection, keys) {
        (Protection::Pkey(pkey), Some(keys)) => {
            let is_stuck =
                is_rseq_abort(frame.pc()) && thread.fault.repeats.last() > MAX_RSEQ_REPEATS;
            let how = region.domain.pardon();
            let is_context =
                how == Pardon::Context && !thread.holds_nothing() || embed::keeps_open(pkey, how);
            if is_stuck || is_context && !thread.fault.step.is_active() {
                grant_context(thread, frame, pkey, keys, region)
            } else {
                grant_instruction(thread, frame, pkey, keys)
            }
        }
        (Protection::Mprotect, _) => grant_soft(thread, frame, region),
        _ => false,
    }
}

/// Opens the key until the thread's outermost window closes.
fn grant_context(
    thread: &ThreadState,
    frame: &mut Frame,
    pkey: Pkey,
    keys: Keys,
    region: &Record,
) -> bool {
    let Some(register) = frame.pkru(keys.layout) else {
        return false;
    };
    let open = register.with(pkey, AccessBits::UNRESTRICTED);
    if !frame.set_pkru(keys.layout, open) {
        return false;
    }
    let closed = region.domain.closed().access_bits();
    thread.fault.set_closed_bits(pkey, closed);
    thread.set_pardoned(pkey, true);
    true
}

/// Opens the key until the instruction has retired.
fn grant_instruction(thread: &ThreadState, frame: &mut Frame, pkey: Pkey, keys: Keys) -> bool {
    let Some(register) = frame.pkru(keys.layout) else {
        return false;
    };
    let open = register.with(pkey, AccessBits::UNRESTRICTED);
    if !frame.set_pkru(keys.layout, open) {
        return false;
    }
    let step = &thread.fault.step;
    if !step.is_active() {
        step.set_keys(KeySet::EMPTY);
        step.set_register(register);
    }
    step.set_keys(step.keys().with(pkey));
    // Should the trap never come, the end of the outermost window closes the key.
    thread
        .fault
        .set_closed_bits(pkey, step.register().get(pkey));
    thread.set_pardoned(pkey, true);
    start(thread, frame);
    true
}

/// Lets the process into one region until the instruction has retired.
fn grant_soft(thread: &ThreadState, frame: &mut Frame, region: &Record) -> bool {
    let step = &thread.fault.step;
    if !step.is_active() {
        step.set_keys(KeySet::EMPTY);
        for slot in &step.soft {
            slot.store(0, Relaxed);
        }
    }
    let Some(slot) = step
        .soft
        .iter()
        .find(|slot| [0, region.start].contains(&slot.load(Relaxed)))
    else {
        return false;
    };
    if open_region(region).is_err() {
        return false;
    }
    slot.store(region.start, Relaxed);
    start(thread, frame);
    true
}

/// Has the thread trap after the instruction at its program counter.
fn start(thread: &ThreadState, frame: &mut Frame) {
    let step = &thread.fault.step;
    let pc = frame.pc();
    if !step.is_active() {
        step.mask.store(frame.mask(), Relaxed);
        step.had_trap_flag.store(frame.has_trap_flag(), Relaxed);
        step.pc.store(pc, Relaxed);
        let copy = decode(pc);
        let (start, done, next) = copy.map_or((0, 0, 0), |copy| {
            (copy.copy_start(), copy.copy_done(), pc + copy.len_bytes())
        });
        step.copy_start.store(start, Relaxed);
        step.copy_done.store(done, Relaxed);
        step.next_pc.store(next, Relaxed);
        step.is_active.store(true, Relaxed);
    }
    frame.set_mask(STEP_MASK);
    match step.copy_start.load(Relaxed) {
        0 => {
            frame.set_trap_flag(true);
        }
        copy => {
            frame.set_trap_flag(false);
            frame.set_pc(copy);
        }
    }
}

/// SIGTRAP: ends the step when this trap is its.
pub(super) fn retire(thread: &ThreadState, frame: &mut Frame, si_code: i32) -> Trap {
    let step = &thread.fault.step;
    if !step.is_active() {
        return Trap::Theirs;
    }
    let pc = frame.pc();
    let is_copy = step.copy_start.load(Relaxed) != 0;
    if is_copy && pc == step.copy_done.load(Relaxed) {
        frame.set_pc(step.next_pc.load(Relaxed));
    } else if is_copy || si_code != siginfo::TRAP_TRACE {
        return Trap::Theirs;
    } else if pc == step.pc.load(Relaxed) && !is_self_jump(thread) {
        // A repeated string instruction of a form that has no copy: one element is done.
        return Trap::Ours;
    }
    let was_stepped = step.had_trap_flag.load(Relaxed);
    close(thread, frame);
    // Whoever was stepping this thread before is owed the trap.
    if was_stepped {
        Trap::Theirs
    } else {
        Trap::Ours
    }
}

/// Whether the instruction, which has trapped and is where it was, is to be taken for done: it has trapped so often that it
/// must be a jump to itself.
fn is_self_jump(thread: &ThreadState) -> bool {
    /// More elements than a repeated instruction of an odd form will have.
    const MAX_ELEMENTS: u32 = 1 << 24;
    let step = &thread.fault.step;
    thread
        .fault
        .repeats
        .count(step.pc.load(Relaxed), usize::MAX)
        > MAX_ELEMENTS
}

/// Before a fault is looked at: brings a thread that faulted inside a copied instruction back to the original, and clears
/// a step that was left behind.
pub(super) fn settle(thread: &ThreadState, frame: &mut Frame) {
    let step = &thread.fault.step;
    if !step.is_active() {
        return;
    }
    let (pc, copy) = (frame.pc(), step.copy_start.load(Relaxed));
    if copy != 0 && pc == copy {
        // Restartable at any element: the registers say how far it came.
        frame.set_pc(step.pc.load(Relaxed));
    } else if pc != step.pc.load(Relaxed) || rep_string::is_copy(pc) {
        if frame.has_trap_flag() {
            // The trap was swallowed: everything is as it was left for the step.
            close(thread, frame);
        } else {
            // Somebody jumped out; the frame is a new one. Only the keys need closing.
            abandon(thread, frame);
        }
    }
}

/// What a step that was taken back had opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Undone {
    register: Option<KeyRegister>,
    soft: [usize; MAX_SOFT],
}

/// Takes a running step back: the access is to be stopped after all, or is somebody else's fault.
pub(super) fn undo(thread: &ThreadState, frame: &mut Frame) -> Undone {
    let step = &thread.fault.step;
    if !step.is_active() {
        return Undone::default();
    }
    let keys = support::keys().ok().filter(|_| !step.keys().is_empty());
    let undone = Undone {
        register: keys.and_then(|keys| frame.pkru(keys.layout)),
        soft: core::array::from_fn(|index| step.soft[index].load(Relaxed)),
    };
    close(thread, frame);
    undone
}

/// Opens again what a step had opened, for an instruction that is about to be the process's last: it must die of the fault
/// that was not ours, and so get as far as that.
pub(super) fn open_for_death(frame: &mut Frame, undone: Undone) {
    if let (Some(register), Ok(keys)) = (undone.register, support::keys()) {
        let _ = frame.set_pkru(keys.layout, register);
    }
    for region in undone.soft.into_iter().filter_map(regions::find) {
        let _ = open_region(&region);
    }
}

fn open_region(region: &Record) -> std::io::Result<()> {
    let prot = if region.is_writable {
        Prot::ReadWrite
    } else {
        Prot::Read
    };
    // SAFETY: the pages are a region of a domain (1); it only grants.
    unsafe { sys::mprotect(region.start, region.end - region.start, prot) }
}

/// Ends the step: keys, trap flag and signal mask are as before.
fn close(thread: &ThreadState, frame: &mut Frame) {
    let step = &thread.fault.step;
    frame.set_trap_flag(step.had_trap_flag.load(Relaxed));
    frame.set_mask(step.mask.load(Relaxed));
    abandon(thread, frame);
}

/// Closes what a step opened and forgets it.
fn abandon(thread: &ThreadState, frame: &mut Frame) {
    let step = &thread.fault.step;
    if let (false, Ok(keys)) = (step.keys().is_empty(), support::keys())
        && let Some(register) = frame.pkru(keys.layout)
    {
        // The instruction may have been one that writes the register: only what was opened is put back.
        let register = register.merge(step.register(), step.keys());
        // The frame had a place for it when the step began, and it is the same kernel.
        let _ = frame.set_pkru(keys.layout, register);
        for pkey in step.keys().iter() {
            thread.set_pardoned(pkey, false);
        }
    }
    for slot in &step.soft {
        let start = slot.swap(0, Relaxed);
        if let Some(region) = (start != 0).then(|| regions::find(start)).flatten() {
            let len_bytes = region.end - region.start;
            // A whole mapping: the kernel needs no memory for it, and has no reason to refuse.
            let _ = protect_pages(region.domain, start, len_bytes, region.is_writable);
        }
    }
    step.set_keys(KeySet::EMPTY);
    step.is_active.store(false, Relaxed);
}

/// Decodes the instruction at `pc`, if it is a repeated string instruction.
fn decode(pc: usize) -> Option<RepString> {
    with_text_open(|| {
        RepString::decode(|at| {
            let byte = core::ptr::with_exposed_provenance::<u8>(pc.wrapping_add(at));
            // SAFETY: the CPU has just fetched this instruction, and no byte beyond its opcode is asked for.
            unsafe { byte.read_volatile() }
        })
    })
}

/// Whether `pc` is where the kernel sends a thread whose restartable sequence a signal has interrupted.
fn is_rseq_abort(pc: usize) -> bool {
    const LEN_BYTES: usize = RSEQ_SIGNATURE.len();
    // The signature stands in the same section; one that lies on the page before is not looked for.
    if pc % sys::PAGE_BYTES < LEN_BYTES {
        return false;
    }
    let signature = core::ptr::with_exposed_provenance::<[u8; LEN_BYTES]>(pc - LEN_BYTES);
    // SAFETY: the bytes lie on the page that the CPU has just fetched an instruction from.
    with_text_open(|| unsafe { signature.read_volatile() } == RSEQ_SIGNATURE)
}

/// Runs `read` with all keys open on this handler's own register: program text may be execute-only, which is a key that
/// denies reads.
fn with_text_open<R>(read: impl FnOnce() -> R) -> R {
    let Ok(keys) = support::keys() else {
        return read();
    };
    let before = keys.pku.read();
    // SAFETY: opens only (1); the bits are back three lines on, with no other code in between (2).
    unsafe { keys.pku.write(KeyRegister::ALL_OPEN) };
    let result = read();
    // SAFETY: what the handler had.
    unsafe { keys.pku.write(before) };
    result
}
