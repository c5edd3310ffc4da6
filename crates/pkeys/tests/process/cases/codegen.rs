//! What the optimiser does around a change of rights: the three rules that keep a window a window.
//!
//! Each rule has the code that keeps it, which must hold, and in release builds a copy that breaks it, which must fail: were
//! LLVM to change so that the broken copy works, the test would have lost its power and says so.

#![allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "hides accesses from the compiler, on purpose"
)]

use core::arch::asm;
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pkeys::{Key, Mode, Rights, Stray, Verdict};
use pkeys_core::{AccessBits, KeyRegister};

use crate::case::{Case, builder, domain, in_child};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_store_stays_in_its_window", store_stays).keys(),
    Case::new("a_load_is_not_hoisted_out_of_a_window", load_stays).keys(),
    Case::new("two_reads_of_the_register_stay_two", reads_stay).keys(),
    Case::new("a_handler_reads_the_counts_of_nested_windows", counts_stay),
];

/// One page, seen twice: through pages with a key and through pages without.
struct Twice {
    key: Key,
    keyed: *mut u64,
    plain: *const u64,
}

fn twice() -> Twice {
    // SAFETY: two shared mappings of a new file of one page.
    let (keyed, plain) = unsafe {
        let fd = libc::memfd_create(c"twice".as_ptr(), 0);
        assert_eq!(libc::ftruncate(fd, 4096), 0);
        let map = || libc::mmap(ptr::null_mut(), 4096, 3, libc::MAP_SHARED, fd, 0).cast::<u64>();
        (map(), map())
    };
    let key = Key::alloc(Rights::NoAccess).unwrap();
    // SAFETY: the page is the case's own, reached by raw pointers only.
    unsafe { key.protect(keyed.cast(), 4096) }.unwrap();
    Twice { key, keyed, plain }
}

/// Reads behind the compiler's back: for LLVM this touches no memory at all, so it can be no reason to keep a store.
#[inline(always)]
fn spy(addr: *const u64) -> u64 {
    let value;
    // SAFETY: mapped and readable. The wrong `nomem` is the point.
    unsafe {
        asm!("mov {}, qword ptr [{}]", out(reg) value, in(reg) addr, options(nomem, nostack, preserves_flags));
    }
    value
}

/// WRPKRU with the option that breaks the first rule.
#[inline(always)]
fn wrpkru_nomem(register: KeyRegister) {
    // SAFETY: the callers hold a key.
    unsafe {
        asm!("wrpkru", in("eax") register.bits(), in("ecx") 0, in("edx") 0, options(nomem, nostack, preserves_flags));
    }
}

#[inline(always)]
fn wrpkru(register: KeyRegister) {
    let (pku, _) = pkeys_arch::Pku::probe().expect("keys");
    // SAFETY: the callers change the bits of a key of their own.
    unsafe { pku.write(register) };
}

/// Two windows with a store each; gives what the first left in memory.
macro_rules! two_windows {
    ($name:ident, $write:ident) => {
        #[inline(never)]
        fn $name(cell: *mut u64, plain: *const u64, open: KeyRegister, closed: KeyRegister) -> u64 {
            $write(open);
            // SAFETY: mapped, and the window is open.
            unsafe { *cell = 1 };
            $write(closed);
            let seen = spy(plain);
            $write(open);
            // SAFETY: as above.
            unsafe { *cell = 2 };
            $write(closed);
            seen
        }
    };
}

two_windows!(two_windows_kept, wrpkru);
two_windows!(two_windows_broken, wrpkru_nomem);

fn registers(key: Key) -> (KeyRegister, KeyRegister) {
    let (pku, _) = pkeys_arch::Pku::probe().expect("keys");
    let closed = pku.read();
    (closed.with(key.pkey(), AccessBits::UNRESTRICTED), closed)
}

/// Rule 1: WRPKRU is a memory access like no other.
fn store_stays() {
    let Twice { key, keyed, plain } = twice();
    let (open, closed) = registers(key);
    assert_eq!(two_windows_kept(keyed, plain, open, closed), 1);
    assert_eq!(spy(plain), 2);
    // SAFETY: the page is the case's own.
    unsafe { plain.cast_mut().write_volatile(0) };
    if !cfg!(debug_assertions) {
        let seen = two_windows_broken(keyed, plain, open, closed);
        assert_ne!(
            seen, 1,
            "with `nomem` the first store is gone: the test can see it"
        );
    }
}

/// Sums a cell in windows of its own; by reference, which breaks the second rule.
#[inline(never)]
fn sum_by_reference(cell: &u64, rounds: u64, open: KeyRegister, closed: KeyRegister) -> u64 {
    let mut sum = 0;
    for _ in 0..rounds {
        wrpkru(open);
        sum += *cell;
        wrpkru(closed);
    }
    sum
}

/// Rule 2: a reference is loaded from when LLVM likes. The library's handles hold addresses.
fn load_stays() {
    let domain = domain("ledger");
    let mut rows = domain.map::<u64>(10).unwrap();
    rows.write().unwrap()[0] = 7;
    #[inline(never)]
    fn sum(rows: &pkeys::Region<u64>, rounds: u64) -> u64 {
        (0..rounds).map(|_| rows.read().unwrap()[0]).sum()
    }
    assert_eq!(sum(&rows, 0), 0);
    assert_eq!(sum(&rows, 100), 700);
    assert_eq!(domain.counters().stray_reads, 0);
    if !cfg!(debug_assertions) {
        let Twice { key, keyed, .. } = twice();
        let (open, closed) = registers(key);
        // SAFETY: breaks the rule on purpose, in a child.
        let status = in_child(|| unsafe {
            core::hint::black_box(sum_by_reference(
                &*keyed,
                core::hint::black_box(3),
                open,
                closed,
            ));
        });
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV,
            "by reference the load leaves the window: the test can see it ({status:#x})"
        );
    }
}

/// RDPKRU with the option that breaks the first rule's other half.
#[inline(always)]
fn rdpkru_pure() -> KeyRegister {
    let bits;
    // SAFETY: the callers know that there are keys.
    unsafe {
        asm!("rdpkru", in("ecx") 0, out("eax") bits, out("edx") _, options(pure, nomem, nostack, preserves_flags));
    }
    KeyRegister::from_bits(bits)
}

fn reads_stay() {
    let key = Key::alloc(Rights::NoAccess).unwrap();
    let (open, closed) = registers(key);
    let (pku, _) = pkeys_arch::Pku::probe().expect("keys");
    let before = pku.read();
    wrpkru(open);
    let between = pku.read();
    wrpkru(closed);
    assert_eq!((before, between), (closed, open));
    if !cfg!(debug_assertions) {
        let before = rdpkru_pure();
        wrpkru(open);
        let between = rdpkru_pure();
        wrpkru(closed);
        assert_eq!(
            before, between,
            "with `pure` the two reads are one: the test can see it"
        );
    }
}

static SEEN: AtomicU32 = AtomicU32::new(u32::MAX);

thread_local! {
    static PLAIN: Cell<u32> = const { Cell::new(0) };
}

/// A stray write that for LLVM touches no memory.
#[inline(always)]
fn hidden_write(addr: *mut u64) {
    // SAFETY: mapped, and pardoned. The wrong `nomem` is the point.
    unsafe {
        asm!("mov qword ptr [{}], 1", in(reg) addr, options(nomem, nostack, preserves_flags));
    }
}

/// Rule 3: what a handler reads is in memory when it reads it. A nested window executes nothing that the compiler takes
/// for a barrier.
fn counts_stay() {
    fn judge(stray: &Stray) -> Verdict {
        SEEN.store(u32::from(stray.grants.reads()), Relaxed);
        Verdict::Pardon
    }
    fn judge_plain(_: &Stray) -> Verdict {
        SEEN.store(PLAIN.get(), Relaxed);
        Verdict::Pardon
    }
    #[inline(never)]
    fn nested(domain: &pkeys::Domain, addr: *mut u64) {
        let _window = domain.open(Rights::ReadOnly).unwrap();
        hidden_write(addr);
    }
    #[inline(never)]
    fn nested_plain(addr: *mut u64) {
        PLAIN.set(PLAIN.get() + 1);
        hidden_write(addr);
        PLAIN.set(PLAIN.get() - 1);
    }
    // SAFETY: the function stores a number.
    let kept = unsafe { builder("kept").mode(Mode::Silent).on_stray(judge) }
        .create()
        .unwrap();
    let rows = kept.map::<u64>(1).unwrap();
    let _outer = kept.open(Rights::ReadOnly).unwrap();
    nested(&kept, rows.as_ptr());
    assert_eq!(SEEN.load(Relaxed), 2);
    if !cfg!(debug_assertions) {
        // SAFETY: as above.
        let broken = unsafe { builder("broken").mode(Mode::Silent).on_stray(judge_plain) };
        let broken = broken.create().unwrap();
        let rows = broken.map::<u64>(1).unwrap();
        nested_plain(rows.as_ptr());
        assert_eq!(
            SEEN.load(Relaxed),
            0,
            "a plain count is not in memory: the test can see it"
        );
    }
}
