//! What is done about a stray access, by mode: told, counted, let through for an instruction or for a context, or nothing.
//!
//! That strict ends the kernel is shown by the cases that end it.

#![allow(unsafe_code, reason = "accesses pages that it owns, as any code does")]

extern crate alloc;

use alloc::sync::Arc;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use pkeys_core::{Knobs, Mode, PageState, Pardon, Pkey, Rights};
use pkeys_kernel::pks::region::{Openers, Protected};
use pkeys_kernel::pks::{self, PksKey, Settings};

use super::keyed::Keyed;
use super::protocol::{agrees, is_closed, page};
use super::{Case, Outcome, case, check, check_eq, on_cpu};
use crate::cpu::interrupts;
use crate::cpu::pkrs::ThisCpu;
use crate::keys::memory::Frames;
use crate::keys::{self, PKS, REGIONS, told};
use crate::memory::kernel_tables;
use crate::memory::layout::{PAGE, to_usize};
use crate::{sched, smp};

pub(super) const CASES: &[Case] = &[case("the-command-line-sets-the-mode", by_option)];

/// Those that go by the closed rights.
pub(super) const OF_PROTECTION: &[Case] = &[
    case("a-callback-may-open", callback_opens),
    case("relaxed-tells-once-a-place", relaxed),
    case("silent-counts", silent),
    case("off-stops-nothing", off),
    case("a-mode-reaches-threads-that-wait", reaches_waiting),
    case("a-pardon-ends-with-its-context", for_a_context),
    case("a-pardon-ends-with-the-last-grant", until_last_grant),
    case("string-instructions-are-let-through", string_instruction),
    case("a-load-of-ss-is-let-through", load_of_ss),
];

/// Runs something under other settings.
pub(super) fn under<R>(knobs: Knobs, pardon: Pardon, run: impl FnOnce() -> R) -> R {
    let before = PKS.settings();
    keys::set(Settings { knobs, pardon });
    let result = run();
    keys::set(before);
    result
}

/// The knobs with another mode for pages that are not shared.
fn stray(mode: Mode) -> Knobs {
    Knobs {
        stray: mode,
        ..PKS.knobs()
    }
}

/// A store that nothing catches.
#[inline(always)]
pub(super) fn store(addr: u64, value: u64) {
    // SAFETY: the caller owns the page.
    unsafe { asm!("mov [{}], {}", in(reg) addr, in(reg) value, options(nostack, preserves_flags)) };
}

fn key_of(page: &Keyed) -> Result<PksKey, &'static str> {
    PksKey::new(page.pkey()).map_err(|_| "key 0")
}

/// The word behind a grant.
fn word(page: &Keyed) -> Option<u64> {
    page.granted(Rights::ReadOnly, || page.read().ok())
}

/// As the kernel was started: one stray store, where that does not end it.
fn by_option() -> Outcome {
    let mode = PKS.knobs().stray;
    let page = page(7)?;
    let key = key_of(&page)?;
    let counted = PKS.counters().of(key, mode);
    if mode == Mode::Strict {
        check!(page.write(1).is_err(), "a stray store went through");
        return Ok(());
    }
    store(page.addr(), 0x77);
    check_eq!(word(&page), Some(0x77), "the word");
    let expected = u64::from(mode != Mode::Off);
    check_eq!(
        PKS.counters().of(key, mode) - counted,
        expected,
        "accesses counted in mode {mode}"
    );
    check_eq!(is_closed() && agrees(), true, "closed afterwards");
    let frames = Frames::allocate(1).ok_or("no frame")?;
    let pages = pkeys_kernel::pks::region::KeyedMemory::pages(&frames).map_err(|_| "no pages")?;
    let protected = Protected::new(&REGIONS, pages, key, Openers::Owner);
    if mode == Mode::Off {
        let protected = protected.map_err(|_| "refused while off")?;
        check_eq!(protected.key(), None, "the key of a region while off");
    }
    Ok(())
}

/// The function of a key opens it for the context that faulted: the second store does not fault.
fn callback_opens() -> Outcome {
    let allocated = PKS
        .keys()
        .allocate("callback case", Rights::NoAccess, PageState::Stray);
    let key = allocated.map_err(|why| alloc::format!("{why}"))?;
    let outcome = with_callback(key);
    let released = PKS.keys().release(key, []);
    check!(released.is_ok(), "the key is not given back: {released:?}");
    outcome
}

fn with_callback(key: PksKey) -> Outcome {
    let set = PKS
        .keys()
        .set_callback(key, Some(keys::CALLBACKS.id("opens")));
    check!(set.is_ok(), "{set:?}");
    let page = Keyed::new(key.pkey())?;
    store(page.addr(), 1);
    check_eq!(page.open(), (true, true), "the context afterwards");
    check!(agrees(), "register, cache and context differ");
    pks::end_of_context(&ThisCpu);
    check_eq!(page.open(), (false, false), "the context after its end");
    let nr_counted = PKS.counters().of(key, Mode::Strict);
    check_eq!(nr_counted, 0, "accesses counted");
    Ok(())
}

fn relaxed() -> Outcome {
    let page = page(6)?;
    let key = key_of(&page)?;
    under(stray(Mode::Relaxed), Pardon::Instruction, || {
        let (told, counted) = (told::nr_printed(), PKS.counters().of(key, Mode::Relaxed));
        for value in 1..=3 {
            store(page.addr(), value);
            check!(is_closed() && agrees(), "open behind store {value}");
            check!(
                interrupts::are_enabled(),
                "interrupts are off behind store {value}"
            );
            check_eq!(word(&page), Some(value), "the word");
        }
        check_eq!(told::nr_printed() - told, 1, "reports of one place");
        let counted = PKS.counters().of(key, Mode::Relaxed) - counted;
        check_eq!(counted, 3, "accesses counted");
        Ok(())
    })
}

fn silent() -> Outcome {
    let page = page(12)?;
    let key = key_of(&page)?;
    under(stray(Mode::Silent), Pardon::Instruction, || {
        let (told, counted) = (told::nr_printed(), PKS.counters().of(key, Mode::Silent));
        for value in 1..=3 {
            store(page.addr(), value);
            check!(is_closed() && agrees(), "open behind store {value}");
        }
        check_eq!(told::nr_printed() - told, 0, "reports");
        let counted = PKS.counters().of(key, Mode::Silent) - counted;
        check_eq!(counted, 3, "accesses counted");
        check_eq!(word(&page), Some(3), "the word");
        Ok(())
    })
}

fn nr_counted() -> u64 {
    Mode::ALL
        .into_iter()
        .map(|mode| PKS.counters().of_mode(mode))
        .sum()
}

fn off() -> Outcome {
    let page = Arc::new(page(9)?);
    let counted = nr_counted();
    under(stray(Mode::Off), Pardon::Instruction, || {
        for cpu in 0..smp::count() {
            let page = Arc::clone(&page);
            on_cpu(cpu, move || {
                store(page.addr(), u64::from(cpu));
                check_eq!(page.open(), (true, true), "while off, on CPU {cpu}");
                Ok(())
            })?;
        }
        Outcome::Ok(())
    })?;
    check_eq!(nr_counted() - counted, 0, "accesses counted");
    for cpu in 0..smp::count() {
        let page = Arc::clone(&page);
        on_cpu(cpu, move || {
            check_eq!(page.open(), (false, false), "on CPU {cpu} afterwards");
            Ok(())
        })?;
    }
    Ok(())
}

/// A thread that was preempted before the mode was changed, with a grant of its own, finds the change when it goes on.
fn reaches_waiting() -> Outcome {
    static PHASE: AtomicU32 = AtomicU32::new(0);
    static FOUND: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
    PHASE.store(0, SeqCst);
    let pages = Arc::new([page(5)?, page(4)?]);
    let theirs = Arc::clone(&pages);
    let thread = sched::spawn("waits", 1, move || {
        let [mine, other] = &*theirs;
        mine.granted(Rights::ReadOnly, || {
            for (phase, found) in (1..).zip(&FOUND) {
                while PHASE.load(SeqCst) < phase {
                    sched::yield_now();
                }
                let open = [mine.open(), other.open()].map(|(read, write)| [read, write]);
                let bits = open.as_flattened().iter().enumerate();
                let bits = bits.fold(0, |bits, (at, is_open)| bits | u32::from(*is_open) << at);
                found.store(bits | 1 << 31, SeqCst);
            }
        });
    });
    let thread = thread.map_err(|_| "no memory for a thread")?;
    let look = |phase: u32, found: &AtomicU32| {
        PHASE.store(phase, SeqCst);
        while found.load(SeqCst) == 0 {
            sched::yield_now();
        }
        found.swap(0, SeqCst) & !(1 << 31)
    };
    let [first, second, third] = &FOUND;
    let before = look(1, first);
    let during = under(stray(Mode::Off), Pardon::Instruction, || look(2, second));
    let after = look(3, third);
    thread.join();
    check_eq!(
        [before, during, after],
        [0b0001, 0b1111, 0b0001],
        "what the thread may do, two bits a page"
    );
    Ok(())
}

fn for_a_context() -> Outcome {
    let page = page(5)?;
    let key = key_of(&page)?;
    under(stray(Mode::Silent), Pardon::Context, || {
        let counted = PKS.counters().of(key, Mode::Silent);
        for value in 1..=3 {
            store(page.addr(), value);
        }
        let counted = PKS.counters().of(key, Mode::Silent) - counted;
        check_eq!(counted, 1, "accesses counted");
        check_eq!(page.open(), (true, true), "the context");
        for cpu in 0..smp::count() {
            sched::move_to(1 << cpu);
            check!(page.open() == (true, true) && agrees(), "not on CPU {cpu}");
        }
        sched::move_to(sched::ANYWHERE);
        pks::end_of_context(&ThisCpu);
        check_eq!(page.open(), (false, false), "the context after its end");
        check!(is_closed() && agrees(), "open after the end");
        Ok(())
    })
}

fn until_last_grant() -> Outcome {
    let (page, other) = (page(5)?, page(8)?);
    under(stray(Mode::Silent), Pardon::Context, || {
        let inside = other.granted(Rights::ReadOnly, || {
            store(page.addr(), 1);
            other.granted(Rights::ReadWrite, || ());
            page.open()
        });
        check_eq!(inside, (true, true), "while a grant is open");
        check_eq!(page.open(), (false, false), "after the last one");
        check!(is_closed() && agrees(), "open after the last grant");
        Ok(())
    })
}

/// `rep stosb` over the border of two pages with two keys.
fn string_instruction() -> Outcome {
    let frames = Frames::allocate(2).ok_or("no frames")?;
    let start = frames.addr();
    let set = |at: u64, pkey| {
        kernel_tables::set_pkey(at, at + PAGE, pkey).map_err(|_| "no memory for page tables")
    };
    set(start, Pkey::truncate(10))?;
    set(start + PAGE, Pkey::truncate(11))?;
    let first = start + PAGE - 100;
    let (end, rest) = under(stray(Mode::Silent), Pardon::Instruction, || {
        let (end, rest): (u64, u64);
        // SAFETY: 200 bytes in the middle of two frames that are its own.
        unsafe {
            asm!("rep stosb", inout("rdi") first => end, inout("rcx") 200_u64 => rest, in("al") 0x5A_u8, options(nostack, preserves_flags))
        };
        (end, rest)
    });
    let closed = is_closed() && agrees() && interrupts::are_enabled();
    set(start, Pkey::DEFAULT)?;
    set(start + PAGE, Pkey::DEFAULT)?;
    check!(
        closed,
        "open, or with interrupts off, behind the instruction"
    );
    check_eq!((end, rest), (first + 200, 0), "where it ended");
    let mut bytes = [0; 202];
    let read =
        pkeys_kernel::pks::region::KeyedMemory::read(&frames, to_usize(PAGE) - 101, &mut bytes);
    check!(read.is_ok(), "{read:?}");
    let is_right =
        |(at, byte): (usize, &u8)| *byte == if (1..=200).contains(&at) { 0x5A } else { 0 };
    check!(bytes.iter().enumerate().all(is_right), "{bytes:x?}");
    Ok(())
}

/// MOV SS from a page with a key: the trap comes one instruction later.
fn load_of_ss() -> Outcome {
    let page = page(13)?;
    let ss: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, ss", out(reg) ss, options(nomem, nostack, preserves_flags)) };
    page.granted(Rights::ReadWrite, || page.write(ss & 0xFFFF))
        .map_err(|fault| alloc::format!("{fault:?}"))?;
    under(stray(Mode::Silent), Pardon::Instruction, || {
        let (before, after): (u64, u64);
        // SAFETY: loads SS with what it has.
        unsafe {
            asm!(
                "mov {before}, 3",
                "mov ss, word ptr [{page}]",
                "inc {before}",
                "mov {after}, {before}",
                page = in(reg) page.addr(),
                before = out(reg) before,
                after = lateout(reg) after,
                options(nostack)
            );
        }
        check_eq!((before, after), (4, 4), "the instructions behind it");
        check!(is_closed() && agrees(), "open behind the instruction");
        check!(interrupts::are_enabled(), "interrupts are off");
        Ok(())
    })
}
