//! Signal handlers: they start closed, whatever their thread had open, and what they leave behind.

use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use pkeys::{Domain, History, Mode, Region, Rights, Stray, Verdict};

use crate::case::{
    Case, assert_rights, builder, domain, expect_fault, rights_now, stray_read, stray_write,
};
use crate::jump;

pub(crate) const CASES: &[Case] = &[
    Case::new("a_handler_inside_a_window_is_closed", handler_in_window)
        .keys()
        .stopped(),
    Case::new("a_handler_opens_for_itself", handler_opens),
    Case::new("a_handler_reads_a_read_only_domain", handler_reads),
    Case::new(
        "siglongjmp_out_of_a_handler_leaves_the_key_closed",
        jump_leaves_closed,
    )
    .keys(),
    Case::new("a_stray_after_siglongjmp_is_stopped", stray_after_jump)
        .keys()
        .stopped(),
    Case::new("history_tells_signal_handlers", history_handler).keys(),
    Case::new("history_tells_handlers_without_a_window", history_no_window).keys(),
];

static TARGET: AtomicPtr<u64> = AtomicPtr::new(ptr::null_mut());
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Leaks what a handler has to find.
fn leak(domain: Domain, region: Region<u64>) -> (&'static Domain, &'static mut Region<u64>) {
    TARGET.store(region.as_ptr(), Relaxed);
    (Box::leak(Box::new(domain)), Box::leak(Box::new(region)))
}

fn on_usr1(handler: extern "C" fn(c_int)) {
    // SAFETY: the handlers of this file make system calls and atomic accesses only.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) };
}

fn raise() {
    // SAFETY: to this thread.
    unsafe { libc::raise(libc::SIGUSR1) };
}

fn handler_in_window() {
    extern "C" fn handler(_: c_int) {
        stray_write(TARGET.load(Relaxed), 9);
    }
    let domain = domain("ledger");
    let region = domain.map::<u64>(10).unwrap();
    let (domain, region) = leak(domain, region);
    on_usr1(handler);
    let _window = domain.open(Rights::ReadWrite).unwrap();
    expect_fault(domain, region.as_ptr().cast());
    raise();
}

static DOMAIN: AtomicPtr<Domain> = AtomicPtr::new(ptr::null_mut());

fn handler_opens() {
    extern "C" fn handler(_: c_int) {
        // SAFETY: leaked before the signal.
        let domain = unsafe { &*DOMAIN.load(Relaxed) };
        let window = domain.open(Rights::ReadWrite).unwrap();
        stray_write(TARGET.load(Relaxed), 9);
        drop(window);
        SEEN.fetch_add(1, Relaxed);
    }
    let domain = domain("ledger");
    let region = domain.map::<u64>(10).unwrap();
    let (domain, region) = leak(domain, region);
    DOMAIN.store(ptr::from_ref(domain).cast_mut(), Relaxed);
    on_usr1(handler);
    for rights in [None, Some(Rights::ReadOnly), Some(Rights::ReadWrite)] {
        let window = rights.map(|rights| domain.open(rights).unwrap());
        raise();
        assert_rights(domain, rights.unwrap_or(Rights::NoAccess));
        drop(window);
        assert_rights(domain, Rights::NoAccess);
    }
    assert_eq!(SEEN.load(Relaxed), 3);
    assert_eq!(region.read().unwrap()[0], 9);
    assert_eq!(domain.counters().stray_writes, 0);
}

/// The handler starts with a register that denies the reads which the closed rights allow: mended, silently.
fn handler_reads() {
    extern "C" fn handler(_: c_int) {
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        SEEN.store(stray_read(TARGET.load(Relaxed)) as usize, Relaxed);
    }
    let domain = builder("ledger").closed(Rights::ReadOnly).create().unwrap();
    let region = domain.map::<u64>(10).unwrap();
    let (domain, region) = leak(domain, region);
    region.write().unwrap()[0] = 7;
    on_usr1(handler);
    raise();
    assert_eq!(SEEN.load(Relaxed), 7);
    let counters = domain.counters();
    assert_eq!(counters.stray_reads, 0);
    assert_eq!(counters.repairs, u64::from(domain.pkey().is_some()));
}

extern "C" fn jump_out(_: c_int) {
    jump::jump();
}

fn jump_leaves_closed() {
    let domain = domain("ledger");
    let mut region = domain.map::<u64>(10).unwrap();
    on_usr1(jump_out);
    let outer = domain.open(Rights::ReadWrite).unwrap();
    jump::catch(raise);
    // The counts say open, the register is the handler's: closed.
    assert_eq!(rights_now(&domain), Some(Rights::NoAccess));
    // Opening looks at the register.
    let inner = domain.open(Rights::ReadWrite).unwrap();
    assert_rights(&domain, Rights::ReadWrite);
    region.get_mut(&inner).unwrap()[0] = 5;
    drop(inner);
    drop(outer);
    assert_rights(&domain, Rights::NoAccess);
    assert_eq!(region.read().unwrap()[0], 5);
}

fn stray_after_jump() {
    let domain = domain("ledger");
    let region = domain.map::<u64>(10).unwrap();
    on_usr1(jump_out);
    let _outer = domain.open(Rights::ReadWrite).unwrap();
    jump::catch(raise);
    expect_fault(&domain, region.as_ptr().cast());
    stray_write(region.as_ptr(), 1);
}

fn history_handler() {
    extern "C" fn handler(_: c_int) {
        stray_write(TARGET.load(Relaxed), 9);
    }
    fn judge(stray: &Stray) -> Verdict {
        SEEN.fetch_add(1, Relaxed);
        if stray.history == History::SignalHandler && !stray.grants.is_empty() {
            Verdict::Pardon
        } else {
            Verdict::Stop
        }
    }
    // SAFETY: the function compares and counts.
    let builder = unsafe { builder("ledger").mode(Mode::Strict).on_stray(judge) };
    let domain = builder.create().unwrap();
    let region = domain.map::<u64>(10).unwrap();
    let (domain, _region) = leak(domain, region);
    on_usr1(handler);
    let _window = domain.open(Rights::ReadOnly).unwrap();
    raise();
    assert_eq!(SEEN.load(Relaxed), 1);
}

/// No window is open, but the thread has had one: its register can only be a handler's.
fn history_no_window() {
    extern "C" fn handler(_: c_int) {
        stray_write(TARGET.load(Relaxed), 9);
    }
    fn judge(stray: &Stray) -> Verdict {
        SEEN.fetch_add(1, Relaxed);
        if stray.history == History::SignalHandler && stray.grants.is_empty() {
            Verdict::Pardon
        } else {
            Verdict::Stop
        }
    }
    // SAFETY: the function compares and counts.
    let builder = unsafe { builder("ledger").on_stray(judge) };
    let domain = builder.create().unwrap();
    let region = domain.map::<u64>(10).unwrap();
    let (domain, _region) = leak(domain, region);
    on_usr1(handler);
    let thread = std::thread::spawn(|| {
        drop(domain.open(Rights::ReadOnly).unwrap());
        raise();
    });
    thread.join().unwrap();
    assert_eq!(SEEN.load(Relaxed), 1);
}
