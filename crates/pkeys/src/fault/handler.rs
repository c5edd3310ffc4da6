//! The three handlers: entry, whose fault it is, and what becomes of it.
//!
//! A fault is ours when its address lies in a region and its `si_code` is that of the region's protection: `SEGV_PKUERR` for
//! a key, `SEGV_ACCERR` for `mprotect(2)`. The error code's PK bit does not decide: a page that was never touched
//! faults without it, and the kernel still reports the key (`arch/x86/mm/fault.c`). Read or write is bit 1.
#![allow(unsafe_code, reason = "signal handlers")]

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pkeys_core::{
    Access, AccessBits, GrantCounts, KeyRegister, Mode, Outcome, Pkey, Rights, decide, effective,
    siginfo,
};

use crate::domain::Protection;
use crate::domain::record::{DomainRecord, NAME_MAX_BYTES};
use crate::embed;
use crate::fault::frame::Frame;
use crate::fault::install::{chain, die, is_default};
use crate::fault::pardon::Undone;
use crate::fault::sites::SITES;
use crate::fault::stray::{History, Stray, Verdict};
use crate::fault::{pardon, report};
use crate::registry::regions::{self, Record};
use crate::support::{self, Keys};
use crate::thread::{self, ThreadState};

/// How often the same instruction may fault on the same address although the register allows it, before the fault is
/// called somebody else's. It happens legitimately where pages change their key at that moment.
const MAX_RETRIES: u32 = 64;

/// How often the handler that was there before may return from the same fault without having done anything about it.
const MAX_CHANCES: u32 = 8;

/// What the handler does at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The thread goes on, with the frame as it is now.
    Resume,
    /// The handler that was there before decides.
    Chain,
    /// The process dies.
    Die,
}

/// SIGSEGV.
pub(super) extern "C" fn on_segv(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = read_errno();
    // SAFETY: the kernel's own argument to this handler (1), wrapped once (2).
    let mut frame = unsafe { Frame::new(context) };
    let (next, undone) = thread::with(|thread| {
        let depth = thread.fault.depth.load(Relaxed);
        thread.fault.depth.store(depth.saturating_add(1), Relaxed);
        pardon::settle(thread, &mut frame);
        let next = segv(thread, &mut frame, info, depth);
        let undone = match next {
            Next::Resume => Undone::default(),
            Next::Chain | Next::Die => pardon::undo(thread, &mut frame),
        };
        thread.fault.depth.store(depth, Relaxed);
        (next, undone)
    });
    finish(next, signal, info, context, undone);
    if next == Next::Chain {
        thread::with(|thread| thread.fault.repeats.note_returned());
    }
    write_errno(errno);
}

/// SIGBUS: an access beyond the end of a mapped file, which may come in the middle of a pardoned instruction.
pub(super) extern "C" fn on_bus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = read_errno();
    // SAFETY: the kernel's own argument to this handler (1), wrapped once (2).
    let mut frame = unsafe { Frame::new(context) };
    let undone = thread::with(|thread| {
        pardon::settle(thread, &mut frame);
        pardon::undo(thread, &mut frame)
    });
    finish(Next::Chain, signal, info, context, undone);
    write_errno(errno);
}

/// SIGTRAP: a pardoned instruction has retired.
pub(super) extern "C" fn on_trap(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = read_errno();
    // SAFETY: the kernel's own argument to this handler (1), wrapped once (2).
    let mut frame = unsafe { Frame::new(context) };
    // SAFETY: the kernel's siginfo is there while its handler runs.
    let si_code = unsafe { (*info).si_code };
    let end = thread::with(|thread| pardon::retire(thread, &mut frame, si_code));
    let next = match end {
        pardon::Trap::Ours => Next::Resume,
        pardon::Trap::Theirs => Next::Chain,
    };
    finish(next, signal, info, context, Undone::default());
    write_errno(errno);
}

fn finish(
    next: Next,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    undone: Undone,
) {
    match next {
        Next::Resume => return,
        Next::Chain => chain(signal, info, context),
        Next::Die => die(signal, info),
    }
    if is_default(signal) {
        // SAFETY: the kernel's own argument to this handler (1); no other wrapper of it is used any more (2).
        pardon::open_for_death(&mut unsafe { Frame::new(context) }, undone);
    }
}

/// One key fault, with what is needed to judge it.
struct Fault {
    addr: usize,
    access: Access,
    si_code: i32,
    region: Record,
    protection: Protection,
    keys: Option<Keys>,
    /// The thread's register, where a key protects the region.
    register: Option<KeyRegister>,
}

fn segv(thread: &ThreadState, frame: &mut Frame, info: *mut libc::siginfo_t, depth: u8) -> Next {
    let Some(fault) = ours(frame, info) else {
        embed::tell_other(fault_addr(info));
        return Next::Chain;
    };
    let domain = fault.region.domain;
    let repeats = thread.fault.repeats.count(frame.pc(), fault.addr);
    if let (Protection::Pkey(pkey), Some(keys), Some(register)) =
        (fault.protection, fault.keys, fault.register)
    {
        // Whatever the register should show and does not is mended without a word.
        let due = due(thread, domain, pkey);
        if due.allows(fault.access) {
            let register = register.with(pkey, due.access_bits());
            if frame.set_pkru(keys.layout, register) && repeats < MAX_RETRIES {
                domain.counters.repairs.fetch_add(1, Relaxed);
                return Next::Resume;
            }
        } else if register.allows(pkey, fault.access) && repeats < MAX_RETRIES {
            // The page had another key when it faulted: the access is tried again.
            return Next::Resume;
        }
    } else if effective(domain.closed(), domain.soft_grants().held()).allows(fault.access)
        && repeats < MAX_RETRIES
    {
        return Next::Resume;
    }
    if depth > 1 {
        // A stray access of a handler on top of a handler: the alternate stack has room for no more.
        return Next::Die;
    }
    judge(thread, frame, &fault, info)
}

/// The address that faulted; of no meaning where the signal was sent.
fn fault_addr(info: *mut libc::siginfo_t) -> usize {
    // SAFETY: the kernel's siginfo is there while its handler runs.
    let info = unsafe { &*info };
    // SAFETY: whatever raised the signal, the field's bytes are there.
    unsafe { info.si_addr() }.addr()
}

/// Whose fault it is: `None` when no domain's.
fn ours(frame: &Frame, info: *mut libc::siginfo_t) -> Option<Fault> {
    let addr = fault_addr(info);
    // SAFETY: the kernel's siginfo is there while its handler runs.
    let si_code = unsafe { (*info).si_code };
    if si_code != siginfo::SEGV_PKUERR && si_code != siginfo::SEGV_ACCERR {
        return None;
    }
    let region = regions::find(addr)?;
    let protection = region.domain.protection();
    let (expected, keys) = match protection {
        Protection::Pkey(_) => (siginfo::SEGV_PKUERR, support::keys().ok()),
        Protection::Mprotect => (siginfo::SEGV_ACCERR, None),
        Protection::Unprotected => return None,
    };
    if si_code != expected {
        return None;
    }
    Some(Fault {
        addr,
        access: frame.error_code().access(),
        si_code,
        region,
        protection,
        keys,
        register: keys.and_then(|keys| frame.pkru(keys.layout)),
    })
}

/// The rights that the thread has for certain, whatever its register shows: the closed ones, and grants that were opened
/// while the mode was off and therefore never written to the register.
fn due(thread: &ThreadState, domain: &DomainRecord, pkey: Pkey) -> Rights {
    let held = if thread.unwritten().contains(pkey) {
        thread.grants(pkey).held()
    } else {
        Rights::NoAccess
    };
    effective(domain.closed(), held)
}

fn judge(
    thread: &ThreadState,
    frame: &mut Frame,
    fault: &Fault,
    info: *mut libc::siginfo_t,
) -> Next {
    let domain = fault.region.domain;
    let mode = domain.mode();
    let mut stray = describe(thread, frame, fault, info);
    let is_first = SITES.is_first(frame.pc(), fault.region.serial);
    let mut action = decide(mode, is_first);
    match domain.verdict().map(|verdict| verdict(&stray)) {
        None | Some(Verdict::AsMode) => {}
        Some(Verdict::Pardon) => action.outcome = Outcome::Pardon,
        Some(Verdict::Allow) => {
            action = decide(Mode::Off, false);
        }
        Some(Verdict::Stop) => {
            action.outcome = Outcome::Stop;
            action.report = true;
        }
    }
    if action.count {
        counter(domain, fault.access).fetch_add(1, Relaxed);
    }
    let is_pardoned = action.outcome == Outcome::Pardon
        && pardon::grant(thread, frame, &fault.region, fault.protection, fault.keys);
    // What cannot be pardoned is stopped, and said.
    action.report |= !is_pardoned;
    stray.is_pardoned = is_pardoned;
    if is_pardoned && action.count {
        domain.counters.pardons.fetch_add(1, Relaxed);
    }
    let came_back = thread.fault.repeats.came_back(stray.pc, stray.addr);
    if action.report && !came_back {
        domain.counters.reports.fetch_add(1, Relaxed);
        report::emit(&stray);
    }
    match is_pardoned {
        true => Next::Resume,
        // The previous handler has had its chances with this very fault.
        false if came_back && thread.fault.repeats.last() > MAX_CHANCES => Next::Die,
        false => Next::Chain,
    }
}

fn counter(domain: &DomainRecord, access: Access) -> &AtomicU64 {
    match access {
        Access::Write => &domain.counters.stray_writes,
        _ => &domain.counters.stray_reads,
    }
}

fn describe(
    thread: &ThreadState,
    frame: &Frame,
    fault: &Fault,
    info: *mut libc::siginfo_t,
) -> Stray {
    let domain = fault.region.domain;
    let (grants, rights, history) = match (fault.protection, fault.register) {
        (Protection::Pkey(pkey), Some(register)) => {
            let grants = thread.grants(pkey);
            let history = history(thread, fault, register.get(pkey), grants, pkey);
            (grants, Some(register.rights(pkey)), history)
        }
        _ => (domain.soft_grants(), None, History::Unknown),
    };
    let mut name = [0; NAME_MAX_BYTES];
    let name_len = domain.copy_name(&mut name).len();
    Stray {
        addr: fault.addr,
        access: fault.access,
        pc: frame.pc(),
        region_start: fault.region.start,
        region_len_bytes: fault.region.end - fault.region.start,
        region: fault.region.label,
        block: domain.block().and_then(|block| block(fault.addr)),
        closed: domain.closed(),
        rights_at_fault: rights,
        register_at_fault: fault.register,
        grants,
        history,
        si_code: fault.si_code,
        si_pkey: si_pkey(fault.si_code, info),
        error_code: frame.error_code(),
        mode: domain.mode(),
        is_pardoned: false,
        tid: gettid(),
        domain_serial: fault.region.serial,
        domain_created_ticks: domain.created_ticks.load(Relaxed),
        registers: frame.registers(),
        has_gates: embed::has_gates(),
        name,
        name_len,
    }
}

/// What the register tells of the thread: the library closes a key with other bits than the kernel starts threads and
/// signal handlers with.
fn history(
    thread: &ThreadState,
    fault: &Fault,
    bits: AccessBits,
    grants: GrantCounts,
    pkey: Pkey,
) -> History {
    let is_initial = bits == AccessBits::DISABLE_ACCESS;
    if !grants.is_empty() {
        if !is_initial && bits.rights() == grants.held() {
            return History::Window;
        }
        return History::SignalHandler;
    }
    match (is_initial, thread.has_opened(pkey, fault.region.serial)) {
        (false, _) => History::Closed,
        (true, true) => History::SignalHandler,
        (true, false) => History::Untouched,
    }
}

/// `si_pkey`, which lies at a fixed offset that libc's binding does not name.
fn si_pkey(si_code: i32, info: *mut libc::siginfo_t) -> Option<Pkey> {
    if si_code != siginfo::SEGV_PKUERR {
        return None;
    }
    let place = info
        .cast::<u8>()
        .wrapping_add(siginfo::SI_PKEY_OFFSET)
        .cast::<u32>();
    // SAFETY: the kernel's siginfo has 128 bytes; the field is four bytes at offset 0x20 (`siginfo.h`).
    let value = unsafe { place.read_unaligned() };
    u8::try_from(value).ok().and_then(Pkey::new)
}

fn gettid() -> i32 {
    // SAFETY: takes nothing; the raw call, as a C library may cache its answer across fork.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    i32::try_from(tid).unwrap_or(-1)
}

fn read_errno() -> c_int {
    // SAFETY: the thread's own errno, which is there as long as the thread.
    unsafe { errno().read() }
}

fn write_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { errno().write(value) };
}

fn errno() -> *mut c_int {
    // SAFETY: gives an address.
    unsafe { libc::__errno_location() }
}
