//! Cases that end the kernel, each run by name: the image must end with the status of a stopped kernel, or of a panic, and a
//! report. One that returns has failed.

#![allow(unsafe_code, reason = "does what a kernel must not do")]

extern crate alloc;

use alloc::string::ToString;
use core::hint::black_box;
use core::ptr;

use pkeys_core::{KeyRegister, LeafSize, Mode, Pkey, Rights};
use pkeys_kernel::hardware::PhysMemory;
use pkeys_kernel::memory::tables::{Leaf, LeafMode, Tables};
use pkeys_kernel::pks::region::{Openers, Page, Region};

use super::keyed::Keyed;
use super::{Case, Outcome, case};
use crate::cpu::registers::{allow_user_access, write_cr3};
use crate::cpu::{interrupts, pkru};
use crate::keys::memory::Frames;
use crate::keys::{self, DAX, KMAP, PKS, REGIONS};
use crate::user::memory::DirectMap;
use crate::user::tables::SpaceTables;

pub(super) const CASES: &[Case] = &[
    case("die-stray-write", stray_write),
    case("die-stray-read", stray_read),
    case("die-write-with-read-grant", write_with_read_grant),
    case("die-stray-write-to-the-device", device),
    case("die-shared-page-in-strict", shared_page),
    case("die-page-of-a-program", page_of_a_program),
    case("die-null", null),
    case("die-invalid-opcode", invalid_opcode),
    case("die-stack-overflow", stack_overflow),
    case("die-panic", panics),
];

fn went_through() -> Outcome {
    Err("it went through".to_string())
}

fn page() -> Result<Keyed, &'static str> {
    Keyed::new(Pkey::truncate(5))
}

fn stray_write() -> Outcome {
    page()?.store_without_fixup(1);
    went_through()
}

fn stray_read() -> Outcome {
    black_box(page()?.load_without_fixup());
    went_through()
}

fn write_with_read_grant() -> Outcome {
    let page = page()?;
    page.granted(Rights::ReadOnly, || page.store_without_fixup(1));
    went_through()
}

/// A store on the device by code that has nothing to do with it.
fn device() -> Outcome {
    let frames = Frames::allocate(1).ok_or("no frame")?;
    let addr = frames.addr();
    let _region = Region::new(&REGIONS, frames, DAX, Openers::Owner).map_err(|_| "no region")?;
    scribble(addr + 0x123);
    went_through()
}

/// A page that is shared, where the knob for such pages is strict.
fn shared_page() -> Outcome {
    let frames = Frames::allocate(1).ok_or("no frame")?;
    let page = Page::containing(frames.addr());
    let _region = Region::new(&REGIONS, frames, DAX, Openers::Anybody).map_err(|_| "no region")?;
    let mut settings = PKS.settings();
    settings.knobs.shared = Mode::Strict;
    keys::set(settings);
    let _shared = KMAP.kmap(page).map_err(|_| "not shared")?;
    scribble(page.addr());
    went_through()
}

/// The guilty function.
#[inline(never)]
fn scribble(addr: u64) {
    // SAFETY: not sound, which is the point: the memory is somebody's, and its key stops the store.
    unsafe {
        core::arch::asm!("mov byte ptr [{}], 1", in(reg) addr, options(nostack, preserves_flags));
    }
}

/// A program's page, touched by the kernel as no copy does, where PKRU closes its key.
fn page_of_a_program() -> Outcome {
    const ADDR: u64 = 0x40_0000;
    const PKEY: Pkey = Pkey::truncate(3);
    let mut tables = SpaceTables::new(DirectMap).ok_or("no page tables")?;
    let frame = DirectMap.allocate(LeafSize::Size4K).ok_or("no frame")?;
    let mode = LeafMode {
        is_present: true,
        is_writable: true,
        is_executable: false,
        pkey: PKEY,
    };
    let leaf = Leaf {
        frame,
        size: LeafSize::Size4K,
        is_shared: false,
        mode,
    };
    tables.map(ADDR, leaf).map_err(|_| "no page tables")?;
    interrupts::disable();
    // SAFETY: (1) the kernel's half is in every address space.
    unsafe { write_cr3(tables.root().0) };
    pkru::load(KeyRegister::ALL_OPEN.with(PKEY, Rights::NoAccess.access_bits()));
    allow_user_access();
    scribble(ADDR);
    went_through()
}

fn null() -> Outcome {
    let word: *const u64 = ptr::without_provenance(8);
    // SAFETY: not sound, which is the point: nothing is mapped there, and the processor stops it.
    unsafe {
        core::arch::asm!("mov rax, [{}]", in(reg) word, out("rax") _, options(nostack, readonly))
    };
    went_through()
}

fn invalid_opcode() -> Outcome {
    // SAFETY: raises #UD and nothing else.
    unsafe { core::arch::asm!("ud2", options(nomem, nostack)) };
    went_through()
}

/// Touches each page of the stack from its top down, and the one behind it.
fn stack_overflow() -> Outcome {
    #[inline(never)]
    fn deeper(level: u64) -> u64 {
        let room = black_box([level; 400]);
        if level == u64::MAX {
            return 0;
        }
        deeper(black_box(level + 1)) + room[3]
    }
    black_box(deeper(0));
    went_through()
}

fn panics() -> Outcome {
    panic!("as asked for")
}
