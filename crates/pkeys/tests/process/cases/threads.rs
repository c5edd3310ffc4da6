//! Threads: older than the domain, made inside a window, lent a reference; and `fork(2)`.

use std::sync::mpsc::channel;
use std::thread;

use pkeys::{History, Rights, Stray, Verdict};

use crate::case::{
    Case, assert_rights, builder, domain, expect_fault, in_child, rights_now, stray_read,
    stray_write,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_thread_older_than_the_domain_writes", older_writes)
        .keys()
        .stopped(),
    Case::new("a_thread_older_than_the_domain_reads", older_reads)
        .keys()
        .stopped(),
    Case::new("an_older_thread_is_repaired", older_is_repaired).keys(),
    Case::new("an_older_thread_opens_for_itself", older_opens),
    Case::new("a_thread_made_inside_a_window_inherits", inherits).keys(),
    Case::new("a_thread_made_outside_a_window_is_closed", made_outside)
        .keys()
        .stopped(),
    Case::new("a_window_is_the_threads_own", own_window)
        .keys()
        .stopped(),
    Case::new("a_reference_lent_to_a_closed_thread", lent)
        .keys()
        .stopped(),
    Case::new("a_reference_lent_to_a_thread_that_opens", lent_and_opened),
    Case::new("a_forked_child_goes_on", fork_goes_on),
    Case::new("a_forked_child_strays", fork_strays),
    Case::new("a_forked_child_makes_a_domain", fork_makes),
    Case::new("history_tells_older_threads", history_older).keys(),
];

/// Runs `body` on a thread that is older than what `make` makes.
fn on_older_thread<T: Send + 'static>(
    make: impl FnOnce() -> T,
    body: impl FnOnce(&T) + Send + 'static,
) -> T {
    let (give, take) = channel::<T>();
    let thread = thread::spawn(move || {
        let made = take.recv().unwrap();
        body(&made);
        made
    });
    give.send(make()).unwrap();
    thread.join().unwrap()
}

fn older_writes() {
    on_older_thread(
        || {
            let domain = domain("ledger");
            let rows = domain.map::<u64>(10).unwrap();
            (domain, rows)
        },
        |(domain, rows)| {
            expect_fault(domain, rows.as_ptr().cast());
            stray_write(rows.as_ptr(), 1);
        },
    );
}

fn older_reads() {
    on_older_thread(
        || {
            let domain = domain("ledger");
            let mut rows = domain.map::<u64>(10).unwrap();
            rows.write().unwrap()[0] = 1;
            (domain, rows)
        },
        |(domain, rows)| {
            expect_fault(domain, rows.as_ptr().cast());
            stray_read(rows.as_ptr());
        },
    );
}

/// Closed rights of read only: the kernel starts the thread without them, the handler mends that once.
fn older_is_repaired() {
    let (domain, _rows) = on_older_thread(
        || {
            let domain = builder("ledger").closed(Rights::ReadOnly).create().unwrap();
            let mut rows = domain.map::<u64>(10).unwrap();
            rows.write().unwrap()[3] = 33;
            (domain, rows)
        },
        |(domain, rows)| {
            assert_rights(domain, Rights::NoAccess);
            for _ in 0..10 {
                assert_eq!(stray_read(rows.as_ptr().wrapping_add(3)), 33);
            }
            assert_rights(domain, Rights::ReadOnly);
        },
    );
    let counters = domain.counters();
    assert_eq!(
        (counters.repairs, counters.stray_reads, counters.reports),
        (1, 0, 0)
    );
}

fn older_opens() {
    let domain = on_older_thread(
        || domain("ledger"),
        |domain| {
            let mut rows = domain.map::<u64>(10).unwrap();
            rows.write().unwrap()[0] = 1;
            assert_eq!(rows.read().unwrap()[0], 1);
            assert_rights(domain, Rights::NoAccess);
        },
    );
    assert_eq!(domain.counters().stray_writes, 0);
}

/// Linux gives a new thread its creator's register. It is closed by a window of the thread's own.
fn inherits() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    let window = domain.open(Rights::ReadWrite).unwrap();
    thread::scope(|scope| {
        let inheritor = scope.spawn(|| {
            assert_rights(&domain, Rights::ReadWrite);
            stray_write(rows.as_ptr(), 1);
            drop(domain.open(Rights::ReadOnly).unwrap());
            assert_rights(&domain, Rights::NoAccess);
        });
        inheritor.join().unwrap();
    });
    assert_rights(&domain, Rights::ReadWrite);
    drop(window);
    assert_rights(&domain, Rights::NoAccess);
}

fn made_outside() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            expect_fault(&domain, rows.as_ptr().cast());
            stray_write(rows.as_ptr(), 1);
        });
    });
}

/// Another thread's window opens nothing here.
fn own_window() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    let (is_open, opened) = channel();
    let (stay, staying) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let window = domain.open(Rights::ReadWrite).unwrap();
            is_open.send(()).unwrap();
            let _ = { staying }.recv();
            drop(window);
        });
        opened.recv().unwrap();
        expect_fault(&domain, rows.as_ptr().cast());
        stray_write(rows.as_ptr(), 1);
        drop(stay);
    });
}

/// Safe code only: a reference that was born in this thread's window and is used on a thread whose register is closed.
fn lent() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    let lent = rows.read().unwrap();
    let slice: &[u64] = &lent;
    thread::scope(|scope| {
        scope.spawn(|| {
            // The thread inherited the window; one of its own closes it again.
            drop(domain.open(Rights::ReadOnly).unwrap());
            expect_fault(&domain, slice.as_ptr().cast());
            core::hint::black_box(slice[0]);
        });
    });
}

fn lent_and_opened() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(10).unwrap();
    rows.write().unwrap()[4] = 44;
    let lent = rows.read().unwrap();
    let slice: &[u64] = &lent;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _window = domain.open(Rights::ReadOnly).unwrap();
            assert_eq!(slice[4], 44);
        });
    });
}

/// Rights, grants and tags are inherited; what the child writes is its own.
fn fork_goes_on() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(10).unwrap();
    rows.write().unwrap()[0] = 1;
    let outer = domain.open(Rights::ReadOnly).unwrap();
    let status = in_child(|| {
        assert_rights(&domain, Rights::ReadOnly);
        assert_eq!(rows.get(&outer).unwrap()[0], 1);
        let inner = domain.open(Rights::ReadWrite).unwrap();
        rows.get_mut(&inner).unwrap()[0] = 2;
        drop(inner);
        assert_rights(&domain, Rights::ReadOnly);
    });
    assert_eq!(status, 0);
    assert_rights(&domain, Rights::ReadOnly);
    assert_eq!(rows.get(&outer).unwrap()[0], 1);
}

fn fork_strays() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    let status = in_child(|| stray_write(rows.as_ptr(), 1));
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
    assert_rights(&domain, Rights::NoAccess);
}

fn fork_makes() {
    let first = domain("first");
    let status = in_child(|| {
        let second = domain("second");
        assert!(second.pkey() != first.pkey() || second.pkey().is_none());
        second.map::<u64>(10).unwrap().write().unwrap()[0] = 1;
        drop(first.open(Rights::ReadWrite).unwrap());
    });
    assert_eq!(status, 0);
}

fn history_older() {
    fn judge(stray: &Stray) -> Verdict {
        assert!(matches!(stray.history, History::Untouched));
        assert_eq!(stray.rights_at_fault, Some(Rights::NoAccess));
        Verdict::Pardon
    }
    on_older_thread(
        || {
            // SAFETY: the function compares and returns.
            let builder = unsafe { builder("ledger").on_stray(judge) };
            let domain = builder.create().unwrap();
            let rows = domain.map::<u64>(10).unwrap();
            (domain, rows)
        },
        |(domain, rows)| {
            stray_write(rows.as_ptr(), 1);
            assert_eq!(domain.counters().pardons, 1);
            assert_eq!(rights_now(domain), Some(Rights::NoAccess));
        },
    );
}
