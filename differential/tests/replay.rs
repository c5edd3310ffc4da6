//! Programs on which Linux and the machine once differed, with what Linux says.
//!
//! A report of `cargo xtask differential` is such a test, to be pasted here under a name that says what it is about. It
//! runs on the machine alone.

use pkeys_differential::compare::run_all;
use pkeys_differential::op::{Edit, HandledAct};
use pkeys_differential::op::{Fixing, Futex, Inside, Mapping, Move, Offset, Op, Place, Way};
use pkeys_differential::report::in_words;
use pkeys_differential::side::MachineSide;
use pkeys_differential::witness::{Fact, What};

/// Runs the steps and holds the last one against what Linux says.
#[track_caller]
fn replay(steps: &[Op], linux: &[Fact]) {
    let told = run_all(&mut MachineSide::default(), steps, true).expect("a machine");
    assert_eq!(told.len(), steps.len(), "it died before its last step");
    let machine = &told.last().expect("a step").facts;
    let words = |facts: &[Fact]| facts.iter().map(|fact| in_words(*fact)).collect::<Vec<_>>();
    assert_eq!(words(machine), words(linux), "the machine, and Linux");
}

#[test]
fn a_mapping_that_was_never_written_to_is_forked_without_its_pages() {
    let steps = [
        Op::Mmap {
            page: 9,
            nr: 1,
            prot: 0,
            what: Mapping::Private,
            fixing: Fixing::Fixed,
        },
        Op::Mprotect {
            page: 9,
            nr: 1,
            prot: 4,
        },
        Op::Handled {
            act: HandledAct::Raise,
            page: 12,
            edit: Edit::Set,
            pkru: 0x5555_5468,
            way: Way::Skip,
            inside: Inside::Wrpkru,
        },
        Op::Read {
            page: 9,
            offset: Offset::First,
        },
        Op::Start {
            place: Place::Child,
        },
        Op::Switch {
            place: Place::Child,
        },
        Op::Write {
            page: 9,
            offset: Offset::Last,
            value: 88,
        },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x4),
        (What::Addr, 0x1000_0020_1FFF),
        (What::Pkey, 0x1),
        (What::Err, 0x6),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_0020_1FFF),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x5555_5468),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}

#[test]
fn a_first_read_of_shared_memory_brings_in_the_pages_around() {
    let steps = [
        Op::Mmap {
            page: 0,
            nr: 16,
            prot: 3,
            what: Mapping::Shared,
            fixing: Fixing::Fixed,
        },
        Op::PkeyAlloc { rights: 2 },
        Op::Read {
            page: 7,
            offset: Offset::Ninth,
        },
        Op::Mremap {
            page: 6,
            nr: 1,
            to: 10,
            how: Move::Growing,
        },
        Op::Read {
            page: 10,
            offset: Offset::Last,
        },
        Op::PkeyMprotect {
            page: 11,
            nr: 3,
            prot: 3,
            key: 1,
        },
        Op::Wrpkru { pkru: 0x33C },
        Op::Read {
            page: 11,
            offset: Offset::Middle,
        },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x4),
        (What::Addr, 0x1000_0020_37F8),
        (What::Pkey, 0x1),
        (What::Err, 0x25),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_0020_37F8),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x33C),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}

#[test]
fn a_read_behind_the_end_of_shared_memory_brings_in_the_pages_around() {
    let steps = [
        Op::Mmap {
            page: 0,
            nr: 16,
            prot: 3,
            what: Mapping::Shared,
            fixing: Fixing::Fixed,
        },
        Op::Mremap {
            page: 15,
            nr: 1,
            to: 3,
            how: Move::Growing,
        },
        Op::Read {
            page: 3,
            offset: Offset::Middle,
        },
        Op::Start {
            place: Place::Child,
        },
        Op::Switch {
            place: Place::Child,
        },
        Op::Read {
            page: 4,
            offset: Offset::First,
        },
        Op::Mprotect {
            page: 3,
            nr: 1,
            prot: 5,
        },
        Op::Call { page: 3 },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x2),
        (What::Addr, 0x1000_001F_BF00),
        (What::Pkey, 0x0),
        (What::Err, 0x7),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_001F_BF00),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x5555_5554),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}

#[test]
fn a_futex_that_waits_brings_in_a_page_that_it_may_only_read() {
    let steps = [
        Op::PkeyAlloc { rights: 0 },
        Op::PkeyAlloc { rights: 2 },
        Op::Mmap {
            page: 7,
            nr: 9,
            prot: 7,
            what: Mapping::Private,
            fixing: Fixing::Fixed,
        },
        Op::PkeyMprotect {
            page: 10,
            nr: 1,
            prot: 3,
            key: 2,
        },
        Op::Futex {
            how: Futex::Wait,
            page: 10,
        },
        Op::Wrpkru { pkru: 0x5555_55B8 },
        Op::Read {
            page: 10,
            offset: Offset::Last,
        },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x4),
        (What::Addr, 0x1000_0020_2FFF),
        (What::Pkey, 0x2),
        (What::Err, 0x25),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_0020_2FFF),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x5555_55B8),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}

#[test]
fn a_futex_that_wakes_brings_in_a_page_that_it_may_only_read() {
    let steps = [
        Op::Mmap {
            page: 0,
            nr: 16,
            prot: 3,
            what: Mapping::Private,
            fixing: Fixing::Fixed,
        },
        Op::PkeyAlloc { rights: 2 },
        Op::PkeyMprotect {
            page: 5,
            nr: 1,
            prot: 3,
            key: 1,
        },
        Op::Futex {
            how: Futex::Wake,
            page: 5,
        },
        Op::Wrpkru { pkru: 0x314 },
        Op::Read {
            page: 5,
            offset: Offset::Word,
        },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x4),
        (What::Addr, 0x1000_001F_D040),
        (What::Pkey, 0x1),
        (What::Err, 0x25),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_001F_D040),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x314),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}

#[test]
fn a_futex_that_changes_a_word_does_not_bring_it_in_to_be_read() {
    let steps = [
        Op::Mmap {
            page: 0,
            nr: 16,
            prot: 3,
            what: Mapping::Shared,
            fixing: Fixing::Fixed,
        },
        Op::PkeyMprotect {
            page: 5,
            nr: 1,
            prot: 4,
            key: 0,
        },
        Op::Futex {
            how: Futex::AddPrivate,
            page: 5,
        },
        Op::Write {
            page: 5,
            offset: Offset::First,
            value: 224,
        },
    ];
    let linux = [
        (What::Signo, 0xB),
        (What::Code, 0x2),
        (What::Addr, 0x1000_001F_D000),
        (What::Pkey, 0x0),
        (What::Err, 0x6),
        (What::Trapno, 0xE),
        (What::Cr2, 0x1000_001F_D000),
        (What::PkruInHandler, 0x5555_5554),
        (What::PkruInFrame, 0x5555_5554),
        (What::OnAltstack, 0x1),
    ];
    replay(&steps, &linux);
}
