//! Reports: what they name, where they go, and that they never stand in the way of the end.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};
use std::alloc::System;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use pkeys::{CreateError, Mode};
use serde_json::Value;

use crate::case::{Case, builder, domain, expect_fault, stray_write};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_report_names_everything", names_everything),
    Case::new("a_report_is_written_before_death", before_death),
    Case::new("a_report_on_the_terminal", on_the_terminal)
        .stopped()
        .says(&[
            "\"ledger\"",
            "\"orders\"",
            "write",
            "guilty_writer",
            "cases/report.rs:",
        ]),
    Case::new(
        "a_fault_under_the_allocators_lock_ends",
        under_allocator_lock,
    )
    .stopped()
    .says(&["stray write to domain \"ledger\""]),
    Case::new("a_fault_under_the_loaders_lock_ends", under_loader_lock)
        .stopped()
        .says(&["stray write to domain \"ledger\""]),
    Case::new("a_fault_in_a_forked_child_ends", forked_child),
    Case::new("a_report_file_that_cannot_be_opened", file_missing)
        .env(&[("PKEYS_REPORT", "/nonexistent/folder/report.jsonl")]),
    Case::new("a_report_file_without_permission", file_is_a_folder).env(&[("PKEYS_REPORT", "/")]),
    Case::new("a_report_file_on_a_full_disk", full_disk).env(&[("PKEYS_REPORT", "/dev/full")]),
    Case::new("many_threads_report_at_once", many_threads).keys(),
    Case::new("names_are_escaped", names_are_escaped),
];

/// The line that a report must give: that of the write below.
const GUILTY_LINE: u32 = line!() + 6;

/// The function that a report must name.
#[inline(never)]
fn guilty_writer(addr: *mut u64) {
    // SAFETY: that it is closed is the point.
    unsafe { addr.write_volatile(1) };
}

/// Lets the report take as long as it wants: where a CPU is emulated, unoptimised code reads debug information for many
/// seconds.
fn wait_for_reports() {
    pkeys::report::wait_at_most(core::time::Duration::from_secs(300));
}

/// A file for reports, gone with the value.
struct ReportFile(PathBuf);

impl ReportFile {
    fn new(name: &str) -> Self {
        let name = format!("pkeys-{name}-{}.jsonl", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// The lines, by kind.
    fn lines(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let values = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.filter(|value| value["kind"] == kind).collect()
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn assert_names(raw: &Value, report: &Value, offset: u64) {
    for value in [raw, report] {
        assert_eq!(value["schema"], 1);
        assert_eq!(value["domain"], "ledger");
        assert_eq!(value["region"], "orders");
        assert_eq!(value["offset"], offset);
        assert_eq!(value["access"], "write");
    }
    assert_eq!(raw["seq"], report["seq"]);
    let frames = report["frames"].as_array().unwrap();
    let guilty = frames
        .iter()
        .find(|frame| {
            frame["function"]
                .as_str()
                .is_some_and(|name| name.contains("guilty_writer"))
        })
        .unwrap_or_else(|| panic!("no frame of the guilty function in {frames:#?}"));
    let file = guilty["file"].as_str().unwrap();
    assert!(file.ends_with("cases/report.rs"), "{file}");
    assert_eq!(guilty["line"], GUILTY_LINE, "{guilty}");
}

fn names_everything() {
    wait_for_reports();
    let file = ReportFile::new("everything");
    pkeys::report::append_to(&file.0).unwrap();
    let domain = builder("ledger").mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map_named::<u64>("orders", 1000).unwrap();
    let thread = std::thread::Builder::new().name("culprit".into());
    let addr = rows.as_ptr().wrapping_add(77).expose_provenance();
    let thread = thread.spawn(move || guilty_writer(ptr::with_exposed_provenance_mut(addr)));
    thread.unwrap().join().unwrap();
    let (raw, reports) = (file.lines("raw"), file.lines("report"));
    assert_eq!((raw.len(), reports.len()), (1, 1));
    assert_names(&raw[0], &reports[0], 77 * 8);
    assert_eq!(raw[0]["thread"], "culprit");
    assert_eq!(raw[0]["pid"], std::process::id());
    assert_eq!(raw[0]["mode"], "relaxed");
    assert_eq!(raw[0]["pardoned"], true);
    let expected = if domain.pkey().is_some() {
        Value::from("no access")
    } else {
        Value::Null
    };
    assert_eq!(raw[0]["rights_at_fault"], expected);
}

/// Runs a case of this program with reports to a file, and gives how it ended.
fn run_case(name: &str, file: &Path) -> std::process::Output {
    Command::new("/proc/self/exe")
        .env("PKEYS_CASE", name)
        .env("PKEYS_REPORT", file)
        .output()
        .unwrap()
}

fn before_death() {
    let file = ReportFile::new("death");
    let output = run_case("a_report_on_the_terminal", &file.0);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    let (raw, reports) = (file.lines("raw"), file.lines("report"));
    assert_eq!((raw.len(), reports.len()), (1, 1));
    assert_names(&raw[0], &reports[0], 24);
    assert_eq!(raw[0]["pardoned"], false);
}

fn on_the_terminal() {
    wait_for_reports();
    let domain = domain("ledger");
    let rows = domain.map_named::<u64>("orders", 1000).unwrap();
    let addr = rows.as_ptr().wrapping_add(3);
    expect_fault(&domain, addr.cast());
    guilty_writer(addr);
}

/// An allocator with one lock for everybody, as allocators have: whoever strays while holding it keeps the reporter from
/// allocating.
struct Locked;

static IS_LOCKING: AtomicBool = AtomicBool::new(false);
static LOCK: Mutex<()> = Mutex::new(());

impl Locked {
    fn locked<R>(body: impl FnOnce() -> R) -> R {
        let is_locking = IS_LOCKING.load(SeqCst);
        let _lock = is_locking.then(|| LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        body()
    }
}

// SAFETY: the system's allocator, behind a lock.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        Self::locked(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        Self::locked(|| unsafe { System.dealloc(ptr, layout) });
    }
}

#[global_allocator]
static ALLOCATOR: Locked = Locked;

/// No symbols can be found while the allocator is locked; the raw record must do, and the end must come.
fn under_allocator_lock() {
    pkeys::report::wait_at_most(core::time::Duration::from_millis(300));
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    let _lock = LOCK.lock().unwrap();
    IS_LOCKING.store(true, SeqCst);
    stray_write(rows.as_ptr(), 1);
}

static TARGET: AtomicPtr<u64> = AtomicPtr::new(ptr::null_mut());

/// `dl_iterate_phdr(3)` calls back with the loader's lock held.
fn under_loader_lock() {
    extern "C" fn callback(_: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
        stray_write(TARGET.load(SeqCst), 1);
        0
    }
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    TARGET.store(rows.as_ptr(), SeqCst);
    expect_fault(&domain, rows.as_ptr().cast());
    // SAFETY: the callback strays and returns.
    unsafe { libc::dl_iterate_phdr(Some(callback), ptr::null_mut()) };
}

/// The child has no reporter: it does not wait for one.
fn forked_child() {
    let file = ReportFile::new("child");
    pkeys::report::append_to(&file.0).unwrap();
    let domain = domain("ledger");
    let rows = domain.map::<u64>(10).unwrap();
    // SAFETY: the child strays and dies.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        stray_write(rows.as_ptr(), 1);
        // SAFETY: ends a child that should have died.
        unsafe { libc::_exit(9) };
    }
    let mut status = 0;
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(libc::WIFSIGNALED(status), "{status:#x}");
    assert_eq!(
        (file.lines("raw").len(), file.lines("report").len()),
        (1, 0)
    );
    assert_eq!(file.lines("raw")[0]["pid"], pid);
}

fn assert_report_error(path: &str) {
    let error = builder("ledger").create().unwrap_err();
    assert!(matches!(&error, CreateError::Install(_)), "{error:?}");
    assert!(error.to_string().contains(path), "{error}");
    assert!(core::error::Error::source(&error).is_some());
}

fn file_missing() {
    assert_report_error("/nonexistent/folder/report.jsonl");
    // Nothing was left behind: where the way is clear again a domain comes up.
    assert!(pkeys::report::append_to("/nonexistent/folder/report.jsonl").is_err());
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var("PKEYS_REPORT") };
    let rows = domain("ledger").map::<u64>(1).unwrap();
    assert_eq!(rows.read().unwrap()[0], 0);
}

fn file_is_a_folder() {
    assert_report_error("/");
}

fn full_disk() {
    let domain = builder("ledger").mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 1);
    guilty_writer(rows.as_ptr());
    assert_eq!(domain.counters().reports, 2);
    assert_eq!(rows.read().unwrap()[0], 1);
}

/// More threads than there are places for records: nobody is stuck, and what was lost is counted or was reported.
fn many_threads() {
    wait_for_reports();
    let file = ReportFile::new("many");
    pkeys::report::append_to(&file.0).unwrap();
    let domain = builder("ledger").mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map::<u64>(64).unwrap();
    let addr = rows.as_ptr().expose_provenance();
    std::thread::scope(|scope| {
        for index in 0..32 {
            scope.spawn(move || {
                let addr = ptr::with_exposed_provenance_mut::<u64>(addr);
                stray_write(addr.wrapping_add(index), 1);
            });
        }
    });
    assert_eq!(domain.counters().stray_writes, 32);
    // All strayed in the same instruction: one report.
    assert_eq!(domain.counters().reports, 1);
    assert_eq!(file.lines("raw").len(), 1);
    assert!(rows.read().unwrap()[..32].iter().all(|&value| value == 1));
}

fn names_are_escaped() {
    wait_for_reports();
    let file = ReportFile::new("escaped");
    pkeys::report::append_to(&file.0).unwrap();
    let name = "quote \" backslash \\ umlaut \u{fc}";
    let domain = builder(name).mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 1);
    assert_eq!(file.lines("raw")[0]["domain"], name);
    assert_eq!(file.lines("report")[0]["domain"], name);
}
