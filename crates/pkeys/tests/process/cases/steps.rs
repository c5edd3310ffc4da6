//! Pardons for one instruction, and everything that is known to go wrong with single steps.

use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pkeys::{Domain, Mode, Region, Rights};

use crate::case::{Case, assert_rights, builder, expect_signal, stray_read, stray_write};
use crate::jump;

pub(crate) const CASES: &[Case] = &[
    Case::new("a_rep_stos_of_a_mebibyte_counts_once", rep_stos),
    Case::new("rep_forms_count_once_and_do_their_work", rep_forms),
    Case::new("rep_movs_backwards", rep_backwards),
    Case::new("a_rep_form_without_a_copy_counts_once", rep_odd),
    Case::new("memset_and_memcpy_do_their_work", libc_memory),
    Case::new("two_keys_in_one_instruction", two_keys),
    Case::new("two_keys_in_one_rep_movs", two_keys_rep),
    Case::new("a_foreign_fault_in_mid_step_is_passed_on", fault_in_step).stopped(),
    Case::new("a_fault_in_the_middle_of_a_rep_copy", fault_in_copy).stopped(),
    Case::new("a_bus_error_in_mid_step", bus_in_step).signal(libc::SIGBUS),
    Case::new("siglongjmp_out_of_a_chained_handler", jump_out_of_chain),
    Case::new("sigtrap_blocked_by_the_thread", trap_blocked),
    Case::new("signals_do_not_land_in_mid_step", no_signals_in_step),
    Case::new("the_signal_mask_comes_back", mask_comes_back),
    Case::new("an_unaligned_write_across_a_page", across_a_page),
    Case::new("a_wide_vector_write", vector_write),
    Case::new("a_locked_add", locked_add),
    Case::new("a_write_of_the_register_while_stepped", step_keeps_register).keys(),
    Case::new("an_instruction_that_loads_the_register", loads_register).keys(),
    Case::new("a_restartable_sequence_gives_up", restartable).keys(),
    Case::new("a_breakpoint_of_the_programs_own", own_breakpoint).signal(libc::SIGTRAP),
    Case::new("threads_stray_at_once", threads_at_once).keys(),
];

fn silent(name: &str) -> Domain {
    builder(name).mode(Mode::Silent).create().unwrap()
}

fn bytes(domain: &Domain, len: usize) -> Region<u8> {
    domain.map::<u8>(len).unwrap()
}

fn strays(domain: &Domain) -> u64 {
    let counters = domain.counters();
    counters.stray_reads + counters.stray_writes
}

fn rep_stos() {
    const LEN: usize = 1 << 20;
    let domain = silent("ledger");
    let region = bytes(&domain, LEN);
    // SAFETY: writes the region's bytes, which its pardon allows.
    unsafe {
        asm!("rep stosb", inout("rcx") LEN => _, inout("rdi") region.as_ptr() => _, in("al") 0x5A_u8);
    }
    assert_eq!(strays(&domain), 1);
    assert!(region.read().unwrap().iter().all(|&byte| byte == 0x5A));
    assert_rights(&domain, Rights::NoAccess);
}

/// Every operation and element size, with the registers as an unstepped run leaves them.
fn rep_forms() {
    macro_rules! run {
        ($text:literal, $count:expr, $from:expr, $to:expr) => {{
            let (rcx, rsi, rdi, flags): (u64, u64, u64, u64);
            // SAFETY: reads and writes the two buffers, `$count` elements of at most eight bytes.
            unsafe {
                asm!(
                    "xor eax, eax", "inc eax", "dec eax", $text, "pushfq", "pop {flags}",
                    flags = lateout(reg) flags,
                    inout("rcx") $count => rcx,
                    inout("rsi") $from => rsi,
                    inout("rdi") $to => rdi,
                    out("rax") _,
                );
            }
            (rcx, rsi.wrapping_sub($from as u64), rdi.wrapping_sub($to as u64), flags & 0x8D5)
        }};
    }
    let domain = silent("ledger");
    let region = bytes(&domain, 8192);
    let keyed = region.as_ptr();
    let mut plain = vec![0_u8; 8192];
    let plain = plain.as_mut_ptr();
    let mut source: Vec<u8> = (0..8192).map(|at| (at % 251) as u8).collect();
    source[300] = 0;
    let source = source.as_mut_ptr();
    macro_rules! compare {
        ($($text:literal),*) => {$(
            let expected = run!($text, 300_u64, source as u64, plain as u64);
            let before = strays(&domain);
            let found = run!($text, 300_u64, source as u64, keyed as u64);
            assert_eq!(found, expected, $text);
            assert!(strays(&domain) - before <= 1, $text);
        )*};
    }
    compare!(
        "rep stosb",
        "rep stosw",
        "rep stosd",
        "rep stosq",
        "rep movsb",
        "rep movsw",
        "rep movsd",
        "rep movsq",
        "repe cmpsb",
        "repe cmpsw",
        "repe cmpsd",
        "repe cmpsq",
        "repne cmpsb",
        "repne scasb",
        "repe scasb",
        "repne scasw",
        "repne scasd",
        "repne scasq"
    );
    // SAFETY: both buffers have that many bytes.
    let plain = unsafe { core::slice::from_raw_parts(plain, 8192) };
    assert_eq!(&*region.read().unwrap(), plain);
}

fn rep_backwards() {
    const LEN: usize = 5000;
    let domain = silent("ledger");
    let region = bytes(&domain, 8192);
    let source: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    // SAFETY: from the last bytes down; the direction flag is cleared again.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") LEN => _,
            inout("rsi") source.as_ptr().add(LEN - 1) => _,
            inout("rdi") region.as_ptr().add(LEN - 1) => _,
        );
    }
    assert_eq!(strays(&domain), 1);
    assert_eq!(region.read().unwrap()[..LEN], source);
}

/// With an address-size prefix there is no copy: stepped an element at a time, and still one stray access.
fn rep_odd() {
    let domain = silent("ledger");
    let region = bytes(&domain, 4096);
    // SAFETY: reads 100 bytes of the region; a segment override of DS changes nothing on x86-64.
    unsafe {
        asm!(
            ".byte 0x3e, 0xf3, 0xac", // ds rep lodsb
            inout("rcx") 100_u64 => _, inout("rsi") region.as_ptr() => _, out("al") _,
        );
    }
    assert_eq!(strays(&domain), 1);
}

fn libc_memory() {
    const LEN: usize = 300_000;
    let domain = silent("ledger");
    let region = bytes(&domain, LEN);
    let source: Vec<u8> = (0..LEN).map(|at| (at % 253) as u8).collect();
    // SAFETY: the region's bytes, which its pardon allows.
    unsafe {
        libc::memset(region.as_ptr().cast(), 0x11, LEN);
        libc::memcpy(region.as_ptr().cast(), source.as_ptr().cast(), LEN - 1);
    }
    assert_eq!(region.read().unwrap()[..LEN - 1], source[..LEN - 1]);
    assert_eq!(region.read().unwrap()[LEN - 1], 0x11);
    assert_rights(&domain, Rights::NoAccess);
}

fn two_keys() {
    let (ledger, vault) = (silent("ledger"), silent("vault"));
    let (from, to) = (bytes(&ledger, 64), bytes(&vault, 64));
    let mut from = from;
    from.write().unwrap()[0] = 0x77;
    // SAFETY: one byte from one region to the other.
    unsafe { asm!("movsb", inout("rsi") from.as_ptr() => _, inout("rdi") to.as_ptr() => _) };
    // At once: the end of any window would close what a step forgot.
    assert_rights(&ledger, Rights::NoAccess);
    assert_rights(&vault, Rights::NoAccess);
    assert_eq!(to.read().unwrap()[0], 0x77);
    assert_eq!(ledger.counters().stray_reads, 1);
    assert_eq!(vault.counters().stray_writes, 1);
}

fn two_keys_rep() {
    const LEN: usize = 100_000;
    let (ledger, vault) = (silent("ledger"), silent("vault"));
    let (mut from, to) = (bytes(&ledger, LEN), bytes(&vault, LEN));
    from.write().unwrap().fill(0x77);
    // SAFETY: all bytes from one region to the other.
    unsafe {
        asm!("rep movsb", inout("rcx") LEN => _, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_ptr() => _);
    }
    assert_rights(&ledger, Rights::NoAccess);
    assert_rights(&vault, Rights::NoAccess);
    assert!(to.read().unwrap().iter().all(|&byte| byte == 0x77));
    assert_eq!((strays(&ledger), strays(&vault)), (1, 1));
}

/// Reads a keyed byte and writes it to address 16, in one instruction: the second fault is nobody's.
fn fault_in_step() {
    let ledger = silent("ledger");
    let from = bytes(&ledger, 64);
    // SEGV_MAPERR.
    expect_signal(libc::SIGSEGV, 1, None, ptr::without_provenance(16));
    // SAFETY: stops at address 16.
    unsafe { asm!("movsb", inout("rsi") from.as_ptr() => _, inout("rdi") 16_usize => _) };
}

/// A page of keyed memory, then nothing: the copy stops in the middle, with the program counter of the original.
fn fault_in_copy() {
    let ledger = silent("ledger");
    let from = bytes(&ledger, 8192);
    // SAFETY: a page of the case's own, with nothing behind it.
    let to = unsafe {
        let to = libc::mmap(
            ptr::null_mut(),
            8192,
            3,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_eq!(libc::munmap(to.add(4096), 4096), 0);
        to
    };
    expect_signal(libc::SIGSEGV, 1, None, to.cast::<u8>().wrapping_add(4096));
    // SAFETY: stops at the end of the page.
    unsafe {
        asm!("rep movsb", inout("rcx") 8192_u64 => _, inout("rsi") from.as_ptr() => _, inout("rdi") to => _);
    }
}

fn bus_in_step() {
    let ledger = silent("ledger");
    let from = bytes(&ledger, 64);
    let file = std::fs::File::from(memfd());
    file.set_len(4096).unwrap();
    use std::os::fd::AsRawFd as _;
    // SAFETY: a mapping of the case's own, whose file then loses its contents.
    let to = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            3,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    file.set_len(0).unwrap();
    // SAFETY: SIGBUS.
    unsafe { asm!("movsb", inout("rsi") from.as_ptr() => _, inout("rdi") to => _) };
}

fn memfd() -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd as _;
    // SAFETY: a name; the descriptor is new and nobody else's.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::memfd_create(c"case".as_ptr(), 0)) }
}

/// The program's handler jumps out of a fault in mid-step. What the step left must not harm what follows.
fn jump_out_of_chain() {
    extern "C" fn handler(_: c_int) {
        jump::jump();
    }
    fn fault(from: *const u8) {
        // SAFETY: the handler takes over.
        unsafe { asm!("movsb", inout("rsi") from => _, inout("rdi") 16_usize => _) };
    }
    // SAFETY: the handler jumps.
    unsafe { libc::signal(libc::SIGSEGV, handler as *const () as usize) };
    let ledger = silent("ledger");
    let from = bytes(&ledger, 64);
    for round in 1..=20 {
        jump::catch(|| fault(from.as_ptr()));
        assert_rights(&ledger, Rights::NoAccess);
        stray_write(from.as_ptr(), 1);
        assert_rights(&ledger, Rights::NoAccess);
        assert_eq!(strays(&ledger), 2 * round);
    }
    assert!(blocked().iter().all(|is_blocked| !is_blocked));
}

/// Which of the signals 1 to 31 the calling thread has blocked.
fn blocked() -> Vec<bool> {
    let mut set = core::mem::MaybeUninit::zeroed();
    // SAFETY: reads the mask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
        let set = set.assume_init();
        (1..32)
            .map(|signal| libc::sigismember(&raw const set, signal) == 1)
            .collect()
    }
}

fn block(signals: &[c_int]) {
    let mut set = core::mem::MaybeUninit::zeroed();
    // SAFETY: a set of the case's own.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

fn trap_blocked() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 64);
    block(&[libc::SIGTRAP]);
    for _ in 0..100 {
        stray_write(region.as_ptr(), 1);
    }
    assert_eq!(strays(&ledger), 100);
    assert!(
        blocked()[libc::SIGTRAP as usize - 1],
        "the thread's mask is its own again"
    );
}

static HITS: AtomicUsize = AtomicUsize::new(0);
static OPEN_HITS: AtomicUsize = AtomicUsize::new(0);

/// A timer fires as fast as it can while the thread strays. Its handler looks at the interrupted thread's trap flag: a
/// signal in mid-step would find it set.
fn no_signals_in_step() {
    extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the kernel's frame.
        let flags = unsafe { (*context).uc_mcontext.gregs[libc::REG_EFL as usize] };
        HITS.fetch_add(1, Relaxed);
        if flags & 0x100 != 0 {
            OPEN_HITS.fetch_add(1, Relaxed);
        }
    }
    let ledger = silent("ledger");
    let region = bytes(&ledger, 64);
    // SAFETY: the handler reads its frame and counts.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
        let often = libc::timeval {
            tv_sec: 0,
            tv_usec: 100,
        };
        let timer = libc::itimerval {
            it_interval: often,
            it_value: often,
        };
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut());
    }
    let mut count = 0_u64;
    while HITS.load(Relaxed) < 200 {
        stray_write(region.as_ptr(), 1);
        count += 1;
    }
    assert_eq!(strays(&ledger), count);
    assert_eq!(OPEN_HITS.load(Relaxed), 0);
}

fn mask_comes_back() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 4096);
    for signals in [
        &[][..],
        &[libc::SIGUSR1, libc::SIGTERM],
        &[libc::SIGTRAP, libc::SIGBUS],
    ] {
        block(signals);
        let before = blocked();
        stray_write(region.as_ptr(), 1);
        // SAFETY: writes the region.
        unsafe {
            asm!("rep stosb", inout("rcx") 4096_u64 => _, inout("rdi") region.as_ptr() => _, in("al") 1_u8)
        };
        assert_eq!(blocked(), before);
    }
}

/// Eight bytes over the edge of an ordinary page into a keyed one do not exist side by side here: over two keyed pages.
fn across_a_page() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 8192);
    let addr = region.as_ptr().wrapping_add(4092).cast::<u64>();
    // SAFETY: inside the region, unaligned.
    unsafe { asm!("mov [{}], {}", in(reg) addr, in(reg) 0x1122_3344_5566_7788_u64) };
    let reading = region.read().unwrap();
    assert_eq!(reading[4092..4100], 0x1122_3344_5566_7788_u64.to_le_bytes());
    assert_eq!(strays(&ledger), 1);
}

fn vector_write() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 64);
    // SAFETY: sixteen bytes of the region.
    unsafe {
        asm!("pcmpeqd xmm3, xmm3", "movups [{}], xmm3", in(reg) region.as_ptr(), out("xmm3") _);
    }
    assert_eq!(
        region.read().unwrap()[..17],
        [[0xFF; 16].as_slice(), &[0]].concat()
    );
    assert_eq!(strays(&ledger), 1);
}

fn locked_add() {
    let ledger = silent("ledger");
    let region = ledger.map::<u64>(1).unwrap();
    for _ in 0..100 {
        // SAFETY: one word of the region.
        unsafe { asm!("lock add qword ptr [{}], 1", in(reg) region.as_ptr()) };
    }
    assert_eq!(region.read().unwrap()[0], 100);
    assert_eq!(ledger.counters().stray_writes, 100);
}

/// The step puts back what it opened, not the whole register: rights that changed meanwhile stay changed.
fn step_keeps_register() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 64);
    let other = pkeys::Key::alloc(Rights::NoAccess).unwrap();
    for rights in [Rights::ReadOnly, Rights::ReadWrite, Rights::NoAccess] {
        other.set(rights).unwrap();
        stray_write(region.as_ptr(), 1);
        assert_eq!(other.get().unwrap(), rights);
        assert_rights(&ledger, Rights::NoAccess);
    }
}

/// XRSTOR out of keyed memory reads by the key and writes the register: what it wrote stays, but for the step's key.
fn loads_register() {
    const PKRU: u32 = 1 << 9;
    let ledger = silent("ledger");
    let mut region = bytes(&ledger, 8192);
    let foreign = pkeys::Key::alloc(Rights::ReadWrite).unwrap();
    {
        let mut writing = region.write().unwrap();
        // SAFETY: the area is larger than any saved state's first ten components, and aligned to 2 MiB.
        unsafe {
            asm!("xsave [{}]", in(reg) writing.as_mut_ptr(), in("eax") PKRU, in("edx") 0);
        }
    }
    foreign.set(Rights::NoAccess).unwrap();
    // SAFETY: loads the register that was saved, in which both keys are open.
    unsafe { asm!("xrstor [{}]", in(reg) region.as_ptr(), in("eax") PKRU, in("edx") 0) };
    assert_eq!(foreign.get().unwrap(), Rights::ReadWrite);
    assert_rights(&ledger, Rights::NoAccess);
    assert!(strays(&ledger) >= 1);
}

/// A store in a restartable sequence: the signal moves the thread to the abort handler, which starts over. Stepping never
/// gets there; after some repeats the library lets the key stay open.
fn restartable() {
    #[repr(C, align(32))]
    struct Rseq {
        cpu_id_start: u32,
        cpu_id: u32,
        rseq_cs: u64,
        flags: u32,
        pad: [u32; 3],
    }
    const SIGNATURE: u32 = 0x5305_3053;
    static mut AREA: Rseq = Rseq {
        cpu_id_start: 0,
        cpu_id: 0,
        rseq_cs: 0,
        flags: 0,
        pad: [0; 3],
    };
    let ledger = silent("ledger");
    let region = ledger.map::<u64>(8).unwrap();
    let other = silent("other");
    // glibc has registered an area of its own for this thread: a new thread would have one too. It is used in place:
    // at __rseq_offset from the thread pointer.
    unsafe extern "C" {
        static __rseq_offset: isize;
        static __rseq_size: u32;
    }
    // SAFETY: constants that glibc set up before main.
    let (offset, size) = unsafe { (__rseq_offset, __rseq_size) };
    let area: *mut Rseq = if size == 0 {
        let area = &raw mut AREA;
        // SAFETY: registers the case's own area.
        let result = unsafe { libc::syscall(libc::SYS_rseq, area, 32, 0, SIGNATURE) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        area
    } else {
        let thread: *mut u8;
        // SAFETY: the thread pointer stands at fs:0.
        unsafe { asm!("mov {}, fs:0", out(reg) thread) };
        thread.wrapping_offset(offset).cast()
    };
    let window = other.open(Rights::ReadOnly).unwrap();
    let aborts: u64;
    // SAFETY: a sequence of one store to the region, whose abort handler counts and starts over.
    unsafe {
        asm!(
            // The descriptor: version, flags, start, length, abort handler.
            ".pushsection .data.rel.local.rseq, \"aw\"",
            ".balign 32",
            "77: .long 0, 0", ".quad 22f", ".quad 33f - 22f", ".quad 44f",
            ".popsection",
            "xor {aborts:e}, {aborts:e}",
            "jmp 55f",
            ".long {signature}",
            "44: inc {aborts}",
            "55: lea {scratch}, [rip + 77b]",
            "mov [{area} + 8], {scratch}",
            "22: mov qword ptr [{target}], 42",
            "33:",
            "mov qword ptr [{area} + 8], 0",
            aborts = out(reg) aborts,
            scratch = out(reg) _,
            area = in(reg) area,
            target = in(reg) region.as_ptr(),
            signature = const SIGNATURE,
        );
    }
    println!("aborted {aborts} times");
    assert!(aborts > 0, "the kernel did restart the sequence");
    assert!(aborts < 1000, "and the library gave up");
    drop(window);
    assert_rights(&ledger, Rights::NoAccess);
    assert_eq!(region.read().unwrap()[0], 42);
}

/// INT3 in the program is none of ours: its default action is death.
fn own_breakpoint() {
    let ledger = silent("ledger");
    let region = bytes(&ledger, 64);
    stray_write(region.as_ptr(), 1);
    // SAFETY: raises SIGTRAP.
    unsafe { asm!("int3") };
}

fn threads_at_once() {
    const NR_THREADS: usize = 4;
    const NR_STRAYS: u64 = 200;
    let ledger = silent("ledger");
    let region = ledger.map::<u64>(NR_THREADS * 512).unwrap();
    std::thread::scope(|scope| {
        for index in 0..NR_THREADS {
            let addr = region.as_ptr().wrapping_add(index * 512).addr();
            let ledger = &ledger;
            scope.spawn(move || {
                let addr = ptr::with_exposed_provenance_mut::<u64>(addr);
                for value in 0..NR_STRAYS {
                    stray_write(addr, value + 1);
                    assert_eq!(stray_read(addr), value + 1);
                    assert_rights(ledger, Rights::NoAccess);
                }
            });
        }
    });
    let counters = ledger.counters();
    assert_eq!(counters.stray_writes, NR_STRAYS * NR_THREADS as u64);
    assert_eq!(counters.stray_reads, NR_STRAYS * NR_THREADS as u64);
}
