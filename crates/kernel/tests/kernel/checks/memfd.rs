//! Files in memory, through descriptors.

use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

pub(super) const BUFFER: u64 = SCRATCH + 4 * PAGE;
/// Names of descriptors are put there.
pub(super) const PATH: u64 = SCRATCH + 2 * PAGE;

/// A file of so many pages, open for everything.
pub(super) fn file(world: &World<'_>, nr_pages: u64) -> u64 {
    world.put(PATH, b"file\0");
    let fd = world.ok(nr::MEMFD_CREATE, &[PATH, 0]);
    world.ok(nr::FTRUNCATE, &[fd, nr_pages * PAGE]);
    fd
}

/// Opens what a descriptor stands for once more.
fn reopen(world: &World<'_>, fd: u64, flags: u64) -> i64 {
    world.put(PATH, format!("/proc/self/fd/{fd}\0").as_bytes());
    world.call(nr::OPEN, &[PATH, flags])
}

pub(super) fn opened(world: &World<'_>, fd: u64, flags: u64) -> u64 {
    u64::try_from(reopen(world, fd, flags)).unwrap()
}

/// Writes one byte to each of so many pages: 1 to the first, 2 to the second.
pub(super) fn number_pages(world: &World<'_>, fd: u64, nr_pages: u8) {
    for page in 0..nr_pages {
        world.put(BUFFER, &[page + 1]);
        world.ok(nr::PWRITE64, &[fd, BUFFER, 1, u64::from(page) * PAGE]);
    }
}

/// The byte at a place of a file, and 255 at its end.
pub(super) fn byte(world: &World<'_>, fd: u64, at: u64) -> u8 {
    world.put(BUFFER, &[255]);
    world.ok(nr::PREAD64, &[fd, BUFFER, 1, at]);
    world.get::<1>(BUFFER)[0]
}

pub(crate) fn files_are_read_and_written_through_descriptors() {
    let machine = machine(1);
    let world = World::new(&machine);
    let invalid = error(Errno::Invalid);
    world.put(BUFFER, &[b'a'; 250]);
    let make = |name, flags| world.call(nr::MEMFD_CREATE, &[name, flags]);
    assert_eq!(make(NOWHERE, 4), invalid);
    assert_eq!(make(NOWHERE, 3), error(Errno::Fault));
    assert_eq!(make(BUFFER, 0), invalid);
    world.put(BUFFER + 249, &[0]);
    assert_eq!(make(BUFFER, 0), 3);
    let seek = |offset: i64, whence| world.call(nr::LSEEK, &[3, offset.cast_unsigned(), whence]);
    world.put(BUFFER, b"0123456789");
    assert_eq!(world.call(nr::WRITE, &[3, BUFFER, 10]), 10);
    assert_eq!(world.call(nr::READ, &[3, BUFFER, 10]), 0);
    assert_eq!((seek(-3, 2), seek(2, 1), seek(0, 1)), (7, 9, 9));
    assert_eq!(
        (seek(-1, 0), seek(-10, 1), seek(0, 3)),
        (invalid, invalid, invalid)
    );
    assert_eq!(seek(i64::MAX, 1), invalid);
    assert_eq!(world.call(nr::READ, &[3, BUFFER + 64, 10]), 1);
    assert_eq!(world.get::<1>(BUFFER + 64), *b"9");
    // Behind a hole, over the border of two pages; what was not written is 0.
    let at = 3 * PAGE - 4;
    assert_eq!(world.call(nr::PWRITE64, &[3, BUFFER, 10, at]), 10);
    assert_eq!(seek(0, 2), 3 * 4096 + 6);
    assert_eq!(world.call(nr::PREAD64, &[3, BUFFER + 64, 99, at - 2]), 12);
    assert_eq!(world.get::<12>(BUFFER + 64), *b"\0\x000123456789");
    assert_eq!(byte(&world, 3, PAGE), 0);
    // A shorter file forgets what was behind its end, also within the page.
    let cut = |len: i64| world.call(nr::FTRUNCATE, &[3, len.cast_unsigned()]);
    assert_eq!((cut(5), seek(0, 2), byte(&world, 3, 5)), (0, 5, 255));
    assert_eq!(
        (cut(4096), byte(&world, 3, 4), byte(&world, 3, 5)),
        (0, b'4', 0)
    );
    assert_eq!((cut(-1), cut(i64::MAX), cut(5)), (invalid, 0, 0));
    // Where memory ends, a copy ends, to the byte.
    world.map(0, ARENA, 1);
    let end = ARENA + PAGE;
    world.put(end - 2, b"xy");
    assert_eq!(world.call(nr::PWRITE64, &[3, end - 2, 9, 2]), 2);
    assert_eq!(world.call(nr::PREAD64, &[3, end - 2, 9, 0]), 2);
    assert_eq!(world.get::<2>(end - 2), *b"01");
    for call in [nr::PWRITE64, nr::PREAD64] {
        assert_eq!(world.call(call, &[3, end, 9, 0]), error(Errno::Fault));
        assert_eq!(world.call(call, &[3, end, 0, 0]), 0);
        assert_eq!(world.call(call, &[3, BUFFER, 9, u64::MAX]), invalid);
        assert_eq!(
            world.call(call, &[3, BUFFER, 9, i64::MAX.cast_unsigned() - 8]),
            invalid
        );
        assert_eq!(
            world.call(call, &[99, BUFFER, 9, 0]),
            error(Errno::BadDescriptor)
        );
        assert_eq!(
            world.call(call, &[0, BUFFER, 9, 0]),
            error(Errno::IllegalSeek)
        );
    }
    assert_eq!(world.call(nr::LSEEK, &[0, 0, 0]), error(Errno::IllegalSeek));
    assert_eq!(world.call(nr::LSEEK, &[0, 0, 9]), invalid);
    assert_eq!(world.call(nr::FTRUNCATE, &[0, 0]), invalid);
    assert_eq!(
        world.call(nr::FTRUNCATE, &[9, 0]),
        error(Errno::BadDescriptor)
    );
}

pub(crate) fn an_opening_has_rights_and_a_position() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = file(&world, 1);
    let bad = error(Errno::BadDescriptor);
    for (mode, can_read, can_write) in [
        (0, true, false),
        (1, false, true),
        (2, true, true),
        (3, false, false),
    ] {
        let again = opened(&world, fd, mode);
        let get = |can: bool| if can { 1 } else { bad };
        for (call, can) in [(nr::READ, can_read), (nr::WRITE, can_write)] {
            assert_eq!(world.call(call, &[again, BUFFER, 1]), get(can), "{mode}");
        }
        for (call, can) in [(nr::PREAD64, can_read), (nr::PWRITE64, can_write)] {
            assert_eq!(world.call(call, &[again, BUFFER, 1, 0]), get(can), "{mode}");
        }
        let is_cut = world.call(nr::FTRUNCATE, &[again, PAGE]) == 0;
        assert_eq!(is_cut, can_write, "{mode}");
        world.ok(nr::CLOSE, &[again]);
    }
    // Every opening has its own position; a child has its parent's.
    assert_eq!(world.call(nr::LSEEK, &[fd, 0, 1]), 0);
    let child = world.fork();
    world.ok(nr::LSEEK, &[fd, 7, 0]);
    world.run(0, child);
    assert_eq!(world.call(nr::LSEEK, &[fd, 0, 1]), 7);
    // What cannot be opened.
    let none = error(Errno::NoEntry);
    assert_eq!((reopen(&world, 0, 0), reopen(&world, 77, 0)), (none, none));
    assert_eq!(reopen(&world, fd, 1 << 6), error(Errno::Invalid));
    assert_eq!(world.call(nr::OPEN, &[NOWHERE, 0]), error(Errno::Fault));
    world.put(BUFFER, &[b'a'; 4096]);
    assert_eq!(
        world.call(nr::OPEN, &[BUFFER, 0]),
        error(Errno::NameTooLong)
    );
}

pub(crate) fn a_file_that_fills_the_memory_is_told_so() {
    let machine = pkeys_machine::Machine::new(1, 1 << 20);
    let world = World::new(&machine);
    let fd = file(&world, 0);
    world.map(0, ARENA, 1);
    assert_eq!(world.write(0, ARENA, 1), Ok(()));
    let write = |at| world.call(nr::PWRITE64, &[fd, ARENA, 4096, at]);
    let nr_pages = (0..).find(|page| write(page * PAGE) < 0).unwrap();
    assert!(nr_pages > 100);
    assert_eq!(write(nr_pages * PAGE), error(Errno::NoMemory));
    // What fits is written.
    world.ok(nr::FTRUNCATE, &[fd, (nr_pages - 1) * PAGE]);
    let at = (nr_pages - 1) * PAGE - 1;
    assert_eq!((write(at), write(at + 4096)), (4096, 1));
    assert_eq!(
        world.call(nr::LSEEK, &[fd, 0, 2]).cast_unsigned(),
        nr_pages * PAGE
    );
    world.ok(nr::FTRUNCATE, &[fd, 0]);
    assert_eq!(write(0), 4096);
}
