//! A single stray access from the thread that made the domain: it stops, at the exact address, by the exact key.

use pkeys::Rights;

use crate::case::{Case, builder, domain, expect_fault, expect_signal, stray_read, stray_write};

pub(crate) const CASES: &[Case] = &[
    Case::new("stray_write", stray_write_stops).stopped(),
    Case::new("stray_read", stray_read_stops).stopped(),
    Case::new("stray_write_of_an_untouched_page", untouched_write).stopped(),
    Case::new("stray_read_of_an_untouched_page", untouched_read).stopped(),
    Case::new("stray_write_at_the_last_byte", last_byte).stopped(),
    Case::new("stray_write_of_a_read_only_domain", read_only_write).stopped(),
    Case::new("read_of_a_read_only_domain", read_only_read),
    Case::new("write_inside_a_read_window", write_in_read_window).stopped(),
    Case::new("stray_free", stray_free).stopped(),
    Case::new("use_after_the_region_is_dropped", use_after_drop).stopped(),
    Case::new("kernel_write_gives_efault", kernel_write),
];

fn stray_write_stops() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[700] = 1;
    let addr = rows.as_ptr().wrapping_add(700);
    expect_fault(&domain, addr.cast());
    stray_write(addr, 2);
}

fn stray_read_stops() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[0] = 1;
    expect_fault(&domain, rows.as_ptr().cast());
    stray_read(rows.as_ptr());
}

/// The page is not there yet: the hardware reports no key (error code 6), the kernel does.
fn untouched_write() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(1000).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 2);
}

fn untouched_read() {
    let domain = domain("ledger");
    let rows = domain.map::<u64>(1000).unwrap();
    expect_fault(&domain, rows.as_ptr().cast());
    stray_read(rows.as_ptr());
}

/// A region is protected to the end of its last page.
fn last_byte() {
    let domain = domain("ledger");
    let bytes = domain.map::<u8>(4097).unwrap();
    let addr = bytes.as_ptr().wrapping_add(8191);
    expect_fault(&domain, addr);
    stray_write(addr, 2);
}

fn read_only_write() {
    let domain = builder("ledger").closed(Rights::ReadOnly).create().unwrap();
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[5] = 55;
    assert_eq!(stray_read(rows.as_ptr().wrapping_add(5)), 55);
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 2);
}

fn read_only_read() {
    let domain = builder("ledger").closed(Rights::ReadOnly).create().unwrap();
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[5] = 55;
    assert_eq!(stray_read(rows.as_ptr().wrapping_add(5)), 55);
    assert_eq!(rows.read().unwrap()[5], 55);
    assert_eq!(domain.counters().stray_reads, 0);
}

fn write_in_read_window() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[0] = 1;
    let _window = domain.open(Rights::ReadOnly).unwrap();
    assert_eq!(stray_read(rows.as_ptr()), 1);
    expect_fault(&domain, rows.as_ptr().cast());
    stray_write(rows.as_ptr(), 2);
}

/// `free(3)` reads the size of what it is to free, eight bytes before it.
fn stray_free() {
    let domain = domain("ledger");
    let bytes = domain.map::<u64>(1000).unwrap();
    let addr = bytes.as_ptr().wrapping_add(64);
    expect_fault(&domain, addr.wrapping_sub(1).cast());
    // SAFETY: not at all; it stops before anything happens.
    unsafe { libc::free(addr.cast()) };
}

fn use_after_drop() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(1000).unwrap();
    rows.write().unwrap()[0] = 1;
    let addr = rows.as_ptr();
    drop(rows);
    // SEGV_MAPERR: nothing is mapped there any more.
    expect_signal(libc::SIGSEGV, 1, None, addr.cast());
    stray_write(addr, 2);
}

/// A system call on closed memory is an error, not a signal: nobody reports it (documented).
fn kernel_write() {
    let domain = domain("ledger");
    let mut bytes = domain.map::<u8>(4096).unwrap();
    bytes.write().unwrap()[0] = 7;
    let mut ends = [0; 2];
    // SAFETY: an array of two descriptors; a buffer that the kernel checks.
    let result = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        assert_eq!(libc::write(ends[1], b"x".as_ptr().cast(), 1), 1);
        libc::read(ends[0], bytes.as_ptr().cast(), 1)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, -1);
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    assert_eq!(bytes.read().unwrap()[0], 7);
}
