//! A key fault that is pardoned and resumed, against the least that a handler of the same kind can do.
//!
//! The bare handlers do what any such handler must: open the key in the signal frame and return; for one instruction, set
//! the trap flag too and close the key in the trap. They look nothing up, count nothing and decide nothing.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pkeys::{Domain, Mode, Pardon, Rights};
use pkeys_arch::Pku;
use pkeys_core::{AccessBits, KeyRegister, Pkey, SignalFrame, XsaveLayout, signal_frame};

use crate::figure::Figure;
use crate::sample::{Effort, compare};

pub(crate) const NAMES: &[&str] = &["pardon-context", "pardon-instruction"];

/// The key that the bare handlers open, and where PKRU lies: set before the first fault.
static BARE_KEY: AtomicU32 = AtomicU32::new(0);
static OFFSET: AtomicU32 = AtomicU32::new(0);

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    vec![context(effort), instruction(effort)]
}

/// One trap: the pardon ends with the window, which is opened and closed on both sides.
fn context(effort: Effort) -> Figure {
    let domain = domain(Pardon::Context);
    let outer = Domain::builder("outer").create().expect("a domain");
    let rows = domain.map::<u64>(512).expect("a region");
    let addr = rows.as_ptr();
    prepare(&domain);
    let mut pardoned = |iterations| {
        for value in 0..iterations {
            let _window = outer.open(Rights::ReadWrite).expect("a window");
            // SAFETY: the region's first element; the pardon opens it.
            unsafe { addr.write_volatile(u64::from(value)) };
        }
    };
    let (pku, _) = Pku::probe().expect("keys");
    let closed = pku.read();
    let mut bare = |iterations| {
        let library = Handlers::install(open_only, ignore);
        for value in 0..iterations {
            let _window = outer.open(Rights::ReadWrite).expect("a window");
            // SAFETY: as above; the bare handler opens it.
            unsafe { addr.write_volatile(u64::from(value)) };
            // SAFETY: closes the domain's key again.
            unsafe { pku.write(closed) };
        }
        library.restore();
    };
    let rounds = compare(
        effort.rounds(101),
        effort.iterations(200),
        &mut [&mut pardoned, &mut bare],
    );
    Figure::at_most(
        "pardon-context",
        "key fault pardoned until the window ends, against a bare handler (one trap)",
        1.3,
        rounds.ratio(0, 1),
        (rounds.cycles(0), rounds.cycles(1)),
    )
}

/// Two traps: the fault and the single step.
fn instruction(effort: Effort) -> Figure {
    let domain = domain(Pardon::Instruction);
    let rows = domain.map::<u64>(512).expect("a region");
    let addr = rows.as_ptr();
    prepare(&domain);
    let mut store = |iterations| {
        for value in 0..iterations {
            // SAFETY: the region's first element; the pardon opens it.
            unsafe { addr.write_volatile(u64::from(value)) };
        }
    };
    let mut bare = |iterations| {
        let library = Handlers::install(open_and_step, close_again);
        for value in 0..iterations {
            // SAFETY: as above; the bare handler opens it.
            unsafe { addr.write_volatile(u64::from(value)) };
        }
        library.restore();
    };
    let rounds = compare(
        effort.rounds(101),
        effort.iterations(200),
        &mut [&mut store, &mut bare],
    );
    Figure::at_most(
        "pardon-instruction",
        "key fault pardoned for one instruction, against bare handlers (two traps)",
        1.3,
        rounds.ratio(0, 1),
        (rounds.cycles(0), rounds.cycles(1)),
    )
}

fn domain(pardon: Pardon) -> Domain {
    let builder = Domain::builder("bars").mode(Mode::Silent).pardon(pardon);
    builder.pin_mode().create().expect("a domain")
}

fn prepare(domain: &Domain) {
    let (_, layout) = Pku::probe().expect("keys");
    let pkey = domain.pkey().expect("a key").get();
    BARE_KEY.store(u32::from(pkey), Relaxed);
    OFFSET.store(layout.pkru_offset, Relaxed);
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The handlers that bare ones stand in for.
struct Handlers([libc::sigaction; 2]);

impl Handlers {
    fn install(segv: Handler, trap: Handler) -> Self {
        let replace = |signal, handler: Handler| {
            // SAFETY: zeros are an action without flags.
            let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: as above, to be filled in.
            let mut before: libc::sigaction = unsafe { core::mem::zeroed() };
            // SAFETY: handlers that edit their frame and nothing else.
            unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
            before
        };
        Self([replace(libc::SIGSEGV, segv), replace(libc::SIGTRAP, trap)])
    }

    fn restore(self) {
        for (signal, action) in [libc::SIGSEGV, libc::SIGTRAP].into_iter().zip(&self.0) {
            // SAFETY: what was there before.
            unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
        }
    }
}

extern "C" fn open_only(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    edit(context, |register, pkey| {
        register.with(pkey, AccessBits::UNRESTRICTED)
    });
}

extern "C" fn ignore(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

extern "C" fn open_and_step(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    open_only(signal, info, context);
    set_trap_flag(context, true);
}

extern "C" fn close_again(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    edit(context, |register, pkey| {
        register.with(pkey, AccessBits::ALL)
    });
    set_trap_flag(context, false);
}

fn set_trap_flag(context: *mut c_void, is_set: bool) {
    const TRAP_FLAG: i64 = 1 << 8;
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel's frame, until the handler returns.
    let flags = unsafe { &mut (*context).uc_mcontext.gregs[libc::REG_EFL.unsigned_abs() as usize] };
    *flags = *flags & !TRAP_FLAG | if is_set { TRAP_FLAG } else { 0 };
}

fn edit(context: *mut c_void, change: impl FnOnce(KeyRegister, Pkey) -> KeyRegister) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel's frame, until the handler returns.
    let state = unsafe { (*context).uc_mcontext.fpregs }.cast::<u8>();
    // SAFETY: the legacy state has 512 bytes.
    let legacy = unsafe { core::slice::from_raw_parts(state, signal_frame::SW_RESERVED_END) };
    let (Some(legacy), Some(pkey)) = (
        legacy.first_chunk(),
        u8::try_from(BARE_KEY.load(Relaxed))
            .ok()
            .and_then(Pkey::new),
    ) else {
        return;
    };
    let Ok(len_bytes) = SignalFrame::len_bytes(legacy) else {
        return;
    };
    let layout = XsaveLayout {
        pkru_offset: OFFSET.load(Relaxed),
    };
    // SAFETY: the kernel's magic number vouches for the length.
    let state = unsafe { core::slice::from_raw_parts_mut(state, len_bytes) };
    if let Ok(register) = SignalFrame::read_pkru(state, layout) {
        let _ = SignalFrame::write_pkru(state, layout, change(register, pkey));
    }
}
