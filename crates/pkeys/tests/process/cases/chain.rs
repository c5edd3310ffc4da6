//! Handlers that were there before, or come after: they go on working.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use pkeys::{Mode, Rights};

use crate::case::{Case, assert_rights, builder, domain, expect_fault, expect_signal, stray_write};
use crate::jump;

pub(crate) const CASES: &[Case] = &[
    Case::new("an_earlier_handler_gets_foreign_faults", foreign_fault),
    Case::new(
        "an_earlier_handler_is_called_after_the_report",
        after_report,
    ),
    Case::new(
        "an_earlier_handler_that_does_nothing_ends_in_death",
        does_nothing,
    )
    .stopped(),
    Case::new("an_earlier_handler_runs_under_its_own_mask", own_mask),
    Case::new(
        "an_earlier_handler_sees_the_original_instruction",
        original_instruction,
    ),
    Case::new("an_earlier_one_shot_handler", one_shot).stopped(),
    Case::new("an_ignored_sigsegv_that_was_sent", ignored_sent),
    Case::new("a_sigsegv_that_was_sent_kills", sent_kills).signal(libc::SIGSEGV),
    Case::new("a_foreign_fault_dies_as_without_us", foreign_dies).stopped(),
    Case::new("rust_still_tells_a_stack_overflow", stack_overflow),
    Case::new("errno_survives_a_pardon", errno_survives),
];

static CALLS: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);

extern "C" fn note_and_jump(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    CALLS.fetch_add(1, Relaxed);
    // SAFETY: the kernel's siginfo, handed on.
    CODE.store(unsafe { (*info).si_code }, Relaxed);
    jump::jump();
}

fn install(handler: *const (), flags: c_int) {
    // SAFETY: the handlers of this file do what a handler may.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()),
            0
        );
    }
}

fn foreign_fault() {
    install(note_and_jump as *const (), libc::SA_SIGINFO);
    let domain = domain("ledger");
    for round in 1..=5 {
        jump::catch(|| stray_write(ptr::without_provenance_mut(16), 1));
        assert_eq!((CALLS.load(Relaxed), CODE.load(Relaxed)), (round, 1));
    }
    assert_eq!(domain.counters().stray_writes, 0);
}

fn after_report() {
    install(note_and_jump as *const (), libc::SA_SIGINFO);
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    for round in 1..=3 {
        jump::catch(|| stray_write(rows.as_ptr(), 1));
        assert_eq!(CALLS.load(Relaxed), round);
        assert_rights(&domain, Rights::NoAccess);
    }
    let counters = domain.counters();
    assert_eq!((counters.stray_writes, counters.pardons), (3, 0));
    let expected = if domain.pkey().is_some() { 4 } else { 2 };
    assert_eq!(CODE.load(Relaxed), expected);
}

/// A handler may be interrupted by what it did not ask to have blocked.
fn own_mask() {
    extern "C" fn handler(_: c_int) {
        let mut set = core::mem::MaybeUninit::zeroed();
        // SAFETY: reads the mask into a set of this handler's own.
        let is_blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
            let set = set.assume_init();
            [libc::SIGSEGV, libc::SIGUSR1].map(|signal| libc::sigismember(&raw const set, signal))
        };
        // Its own signal is blocked, as without SA_NODEFER; others are not.
        CALLS.store(usize::from(is_blocked == [1, 0]), Relaxed);
        jump::jump();
    }
    install(handler as *const (), 0);
    let _domain = domain("ledger");
    jump::catch(|| stray_write(ptr::without_provenance_mut::<u64>(16), 1));
    assert_eq!(CALLS.load(Relaxed), 1);
}

/// A fault in the middle of a string instruction that runs as a copy is handed on as one of the original.
fn original_instruction() {
    static PC: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel's frame, handed on.
        let pc = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[16] };
        PC.store(pc as usize, Relaxed);
        jump::jump();
    }
    install(handler as *const (), libc::SA_SIGINFO);
    let ledger = builder("ledger").mode(Mode::Silent).create().unwrap();
    let from = ledger.map::<u8>(64).unwrap();
    jump::catch(|| {
        // SAFETY: stops at address 16; the handler takes over.
        unsafe {
            core::arch::asm!("rep movsb", inout("rcx") 64_u64 => _, inout("rsi") from.as_ptr() => _, inout("rdi") 16_usize => _);
        }
    });
    let pc = PC.load(Relaxed);
    assert!(pc != 0 && !pkeys_arch::rep_string::is_copy(pc), "{pc:#x}");
    assert_rights(&ledger, Rights::NoAccess);
}

fn does_nothing() {
    extern "C" fn handler(_: c_int) {
        CALLS.fetch_add(1, Relaxed);
    }
    install(handler as *const (), 0);
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}

fn one_shot() {
    extern "C" fn handler(_: c_int) {
        println!("one shot");
    }
    install(handler as *const (), libc::SA_RESETHAND);
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}

fn ignored_sent() {
    // SAFETY: ignores the signal; a fault would still kill.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_IGN) };
    let _domain = domain("ledger");
    // SAFETY: to this thread.
    unsafe { libc::raise(libc::SIGSEGV) };
}

fn sent_kills() {
    // SAFETY: the default action, in place of Rust's own handler.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    let _domain = domain("ledger");
    // SAFETY: to this thread.
    unsafe { libc::raise(libc::SIGSEGV) };
}

fn foreign_dies() {
    let _domain = domain("ledger");
    expect_signal(libc::SIGSEGV, 1, None, ptr::without_provenance(16));
    stray_write(ptr::without_provenance_mut::<u64>(16), 1);
}

/// In a child, whose last words are read: Rust's handler knows its guard page and aborts with a message.
fn stack_overflow() {
    #[inline(never)]
    fn deeper(n: u64) -> u64 {
        let big = core::hint::black_box([n; 512]);
        if n == u64::MAX {
            big[7]
        } else {
            deeper(n + 1) + big[3]
        }
    }
    if std::env::var_os("PKEYS_OVERFLOW_INNER").is_some() {
        let _domain = domain("ledger");
        let thread = std::thread::Builder::new()
            .name("deep".into())
            .stack_size(256 << 10);
        let _ = thread
            .spawn(|| core::hint::black_box(deeper(0)))
            .unwrap()
            .join();
        return;
    }
    use std::os::unix::process::ExitStatusExt as _;
    let output = std::process::Command::new("/proc/self/exe")
        .env("PKEYS_CASE", "rust_still_tells_a_stack_overflow")
        .env("PKEYS_OVERFLOW_INNER", "1")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{words}");
    assert!(words.contains("has overflowed its stack"), "{words}");
    assert!(words.contains("deep"), "{words}");
}

fn errno_survives() {
    let domain = builder("ledger").mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    for value in [libc::ENOENT, libc::EXDEV] {
        // SAFETY: the thread's own errno.
        unsafe { *libc::__errno_location() = value };
        stray_write(rows.as_ptr(), 1);
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, value);
    }
}
