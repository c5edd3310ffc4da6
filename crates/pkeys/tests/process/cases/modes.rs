//! Modes: what each does with a stray access, from code and from the environment, and changes while running.

use pkeys::{CreateError, Mode, Pardon, Rights, Stray, Verdict};

use crate::case::{
    Case, assert_rights, builder, domain, expect_fault, smaps, stray_read, stray_write,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("relaxed_counts_every_write_and_reports_once", relaxed_loop),
    Case::new("silent_counts_and_says_nothing", silent),
    Case::new("off_lets_everything_through", off),
    Case::new("off_keeps_windows_working", off_windows),
    Case::new("off_takes_the_key_from_the_pages", off_untags).keys(),
    Case::new("strict_again_after_off", strict_after_off).stopped(),
    Case::new("a_window_open_across_changes_of_mode", window_across),
    Case::new("regions_made_while_off_are_protected_later", made_while_off).stopped(),
    Case::new("the_environment_overrides", env_overrides).env(&[("PKEYS_MODE", "silent")]),
    Case::new("a_pinned_mode_stays", env_pinned)
        .env(&[("PKEYS_MODE", "off")])
        .stopped(),
    Case::new("a_mode_that_is_none_is_refused", env_nonsense).env(&[("PKEYS_MODE", "nonsense")]),
    Case::new("an_empty_variable_is_none", env_empty).env(&[("PKEYS_MODE", "")]),
    Case::new("a_set_user_id_program_ignores_the_environment", env_secure),
    Case::new("a_verdict_of_stop_in_a_silent_domain", verdict_stops).stopped(),
    Case::new("a_verdict_of_pardon_in_a_strict_domain", verdict_pardons),
    Case::new("a_verdict_as_the_mode_says", verdict_as_mode).stopped(),
];

/// The loop that a stale pointer makes, with a result to compare.
fn loop_of_strays(addr: *mut u64) -> u64 {
    let mut sum = 0;
    for round in 0..1000 {
        stray_write(addr.wrapping_add(round % 512), round as u64);
        sum += 1;
    }
    sum
}

fn relaxed_loop() {
    let plain: Vec<u64> = {
        let mut plain = vec![0; 512];
        loop_of_strays(plain.as_mut_ptr());
        plain
    };
    let domain = builder("ledger").mode(Mode::Relaxed).create().unwrap();
    let rows = domain.map::<u64>(512).unwrap();
    assert_eq!(loop_of_strays(rows.as_ptr()), 1000);
    let counters = domain.counters();
    assert_eq!(
        (counters.stray_writes, counters.pardons, counters.reports),
        (1000, 1000, 1)
    );
    assert_eq!(*rows.read().unwrap(), *plain);
    assert_rights(&domain, Rights::NoAccess);
}

fn silent() {
    let domain = builder("ledger").mode(Mode::Silent).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 5);
    assert_eq!(stray_read(rows.as_ptr()), 5);
    let counters = domain.counters();
    assert_eq!((counters.stray_writes, counters.stray_reads), (1, 1));
    assert_eq!((counters.pardons, counters.reports), (2, 0));
}

fn off() {
    let domain = builder("ledger").mode(Mode::Off).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 5);
    assert_eq!(stray_read(rows.as_ptr()), 5);
    assert_eq!(domain.counters(), pkeys::Counters::default());
}

fn off_windows() {
    let domain = builder("ledger").mode(Mode::Off).create().unwrap();
    let mut rows = domain.map::<u64>(10).unwrap();
    rows.write().unwrap()[1] = 1;
    let outer = domain.open(Rights::ReadWrite).unwrap();
    let inner = domain.open(Rights::ReadOnly).unwrap();
    assert_eq!(rows.get(&inner).unwrap()[1], 1);
    drop(outer);
    drop(inner);
    // Nothing was opened in the register, and nothing is left open.
    assert_rights(&domain, Rights::NoAccess);
}

/// What the kernel says that a page's key is (`/proc/self/smaps`).
fn key_of_page(addr: usize) -> Option<u32> {
    smaps(addr, "ProtectionKey:")?.parse().ok()
}

fn off_untags() {
    let domain = builder("ledger").create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    let addr = rows.as_ptr().addr();
    let key = domain.pkey().map(|pkey| u32::from(pkey.get()));
    for _ in 0..3 {
        assert_eq!(key_of_page(addr), key);
        domain.set_mode(Mode::Off).unwrap();
        assert_eq!(key_of_page(addr), Some(0));
        domain.set_mode(Mode::Relaxed).unwrap();
    }
}

fn strict_after_off() {
    let domain = builder("ledger").mode(Mode::Off).create().unwrap();
    let mut rows = domain.map::<u64>(10).unwrap();
    rows.write().unwrap()[0] = 1;
    domain.set_mode(Mode::Strict).unwrap();
    rows.write().unwrap()[0] = 2;
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 3);
}

/// A window that was opened in one mode is used in another, every pair of modes.
fn window_across() {
    const MODES: [Mode; 4] = [Mode::Strict, Mode::Relaxed, Mode::Silent, Mode::Off];
    for first in MODES {
        for second in MODES {
            let domain = builder("ledger").mode(first).create().unwrap();
            let mut rows = domain.map::<u64>(10).unwrap();
            let window = domain.open(Rights::ReadWrite).unwrap();
            rows.get_mut(&window).unwrap()[0] = 1;
            domain.set_mode(second).unwrap();
            rows.get_mut(&window).unwrap()[0] += 1;
            let inner = domain.open(Rights::ReadWrite).unwrap();
            rows.get_mut(&inner).unwrap()[0] += 1;
            drop(window);
            rows.get_mut(&inner).unwrap()[0] += 1;
            drop(inner);
            assert_rights(&domain, Rights::NoAccess);
            assert_eq!(rows.read().unwrap()[0], 4, "{first} to {second}");
            assert_eq!(domain.counters().stray_writes, 0, "{first} to {second}");
        }
    }
}

fn made_while_off() {
    let domain = builder("ledger").mode(Mode::Off).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 1);
    domain.set_mode(Mode::Strict).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}

fn env_overrides() {
    let domain = builder("ledger").mode(Mode::Strict).create().unwrap();
    assert_eq!(domain.mode(), Mode::Silent);
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr(), 1);
    assert_eq!(domain.counters().stray_writes, 1);
}

fn env_pinned() {
    let domain = builder("ledger").pin_mode().create().unwrap();
    assert_eq!(domain.mode(), Mode::Strict);
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}

fn env_nonsense() {
    let error = builder("ledger").create().unwrap_err();
    let CreateError::Environment(inner) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (inner.variable, inner.value.to_str()),
        ("PKEYS_MODE", Some("nonsense"))
    );
    assert_eq!(
        error.to_string(),
        "PKEYS_MODE is \"nonsense\", expected strict, relaxed, silent or off"
    );
}

fn env_empty() {
    assert_eq!(domain("ledger").mode(), Mode::Strict);
}

/// A copy of this program that belongs to root and is set-user-ID, run by somebody else: `AT_SECURE`.
fn env_secure() {
    const NOBODY: u32 = 65534;
    // SAFETY: reads who we are.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can make such a program; said, and the rest of the case is the tier's run as root.
        println!("not root: the set-user-ID copy is not made");
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if std::env::var_os("PKEYS_SECURE_INNER").is_some() {
        assert_eq!(domain("ledger").mode(), Mode::Strict);
        return;
    }
    let folder = std::env::temp_dir().join(format!("pkeys-secure-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join("copy");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let status = std::process::Command::new(&copy)
        .env(
            "PKEYS_CASE",
            "a_set_user_id_program_ignores_the_environment",
        )
        .env("PKEYS_SECURE_INNER", "1")
        .env("PKEYS_MODE", "nonsense")
        .uid(NOBODY)
        .status();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(status.unwrap().success());
}

fn verdict_stops() {
    // SAFETY: the function returns a constant.
    let builder = unsafe {
        builder("ledger")
            .mode(Mode::Silent)
            .on_stray(|_| Verdict::Stop)
    };
    let domain = builder.create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}

fn verdict_pardons() {
    fn judge(stray: &Stray) -> Verdict {
        if stray.offset_bytes() == 24 && stray.domain() == "ledger" {
            Verdict::Pardon
        } else {
            Verdict::Stop
        }
    }
    // SAFETY: the function compares and returns.
    let builder = unsafe { builder("ledger").on_stray(judge) };
    let domain = builder.pardon(Pardon::Instruction).create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    stray_write(rows.as_ptr().wrapping_add(3), 33);
    assert_eq!(rows.read().unwrap()[3], 33);
    assert_eq!(domain.counters().pardons, 1);
}

fn verdict_as_mode() {
    // SAFETY: the function returns a constant.
    let builder = unsafe { builder("ledger").on_stray(|_| Verdict::AsMode) };
    let domain = builder.create().unwrap();
    let rows = domain.map::<u64>(10).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 1);
}
