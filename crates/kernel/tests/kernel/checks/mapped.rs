//! Mappings of files in memory.

use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::{ExitStatus, Outcome};

use super::memfd::{BUFFER, PATH, byte, file, number_pages, opened};
use super::rig::*;

const SHARED_FILE: u64 = 1;
const PRIVATE_FILE: u64 = 2;
const R: u64 = 1;
const BUS: i32 = 7;

/// Maps pages of a file at a page of the arena, from one of its pages on.
fn map(world: &World<'_>, page: u64, nr_pages: u64, how: (u64, u64), fd: u64, from: u64) -> u64 {
    let (prot, kind) = how;
    let addr = ARENA + page * PAGE;
    let args = [addr, nr_pages * PAGE, prot, kind | FIXED, fd, from * PAGE];
    world.ok(nr::MMAP, &args)
}

/// How many faults the process on CPU 0 has had.
fn faults(world: &World<'_>) -> u64 {
    world.processor(0).space().unwrap().nr_lookups()
}

/// An access behind the end of a file gets the thread SIGBUS with `BUS_ADRERR`.
fn is_bus(world: &World<'_>, addr: u64) {
    world.handle(BUS, 0x4000_0000, 0);
    assert!(world.read(0, addr).is_err());
    let (signo, code, at, _) = world.frame().info();
    assert_eq!((signo, code, at), (BUS, 2, addr));
    let _ = world.sigreturn();
    assert!(!world.is_in_handler());
}

pub(crate) fn a_descriptor_says_what_its_mappings_may_be() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = file(&world, 1);
    let [reader, writer] = [0, 1].map(|mode| opened(&world, fd, mode));
    world.ok(nr::PIPE2, &[BUFFER, 0]);
    let [pipe_out, pipe_in] = [BUFFER, BUFFER + 4].map(|at| number(world.int(at)));
    let call = |fd, prot, kind, offset| {
        world.call(nr::MMAP, &[ARENA, PAGE, prot, kind | FIXED, fd, offset])
    };
    let denied = error(Errno::Access);
    let [bad, invalid] = [Errno::BadDescriptor, Errno::Invalid].map(error);
    let [no_device, too_far] = [Errno::NoDevice, Errno::Overflow].map(error);
    let fine = ARENA.cast_signed();
    let (sync, grows, huge) = (0x8_0000, 0x100, 0x4_0000);
    for (fd, prot, kind, offset, expected) in [
        (99, R, SHARED_FILE, 1, invalid),
        (99, R, 0, 0, bad),
        (99, R, PRIVATE_FILE | huge, 0, bad),
        (fd, R, PRIVATE_FILE | huge, 0, invalid),
        (fd, RW, SHARED_FILE, 0, fine),
        (fd, RW, 3, 0, fine),
        (fd, RW, 3 | sync, 0, error(Errno::NotSupported)),
        (fd, RW, SHARED_FILE | sync, 0, fine),
        (fd, RW, SHARED_FILE | grows, 0, invalid),
        (fd, RW, 8, 0, invalid),
        (
            fd,
            R,
            SHARED_FILE,
            i64::MAX.cast_unsigned() - 2 * PAGE + 1,
            fine,
        ),
        (fd, R, SHARED_FILE, i64::MAX.cast_unsigned() + 1, too_far),
        (fd, R, 0, 1 << 63, too_far),
        (reader, R, SHARED_FILE, 0, fine),
        (reader, RW, PRIVATE_FILE, 0, fine),
        (reader, RW, SHARED_FILE | grows, 0, denied),
        (reader, 4, SHARED_FILE, 0, fine),
        (writer, RW, SHARED_FILE, 0, denied),
        (writer, R, PRIVATE_FILE | grows, 0, denied),
        (writer, 0, 8, 0, invalid),
        (pipe_out, R, SHARED_FILE, 1 << 63, no_device),
        (pipe_out, RW, SHARED_FILE, 0, denied),
        (pipe_in, R, PRIVATE_FILE, 0, denied),
        (1, R, PRIVATE_FILE | grows, 0, no_device),
    ] {
        let found = call(fd, prot, kind, offset);
        assert_eq!(found, expected, "{fd} {prot} {kind:#x} {offset:#x}");
    }
    // What a shared mapping may never have, it does not get later, and a private one gets anything.
    assert_eq!(call(reader, R, SHARED_FILE, 0), fine);
    let protect = |prot| world.call(nr::MPROTECT, &[ARENA, PAGE, prot]);
    assert_eq!((protect(RW), protect(5), protect(0)), (denied, 0, 0));
    assert_eq!(call(reader, R, PRIVATE_FILE, 0), fine);
    assert_eq!((protect(RW), protect(7)), (0, 0));
    // An order that shows: no mapping is replaced by one that is refused, and an address comes first.
    assert_eq!(world.write(0, ARENA, 9), Ok(()));
    assert_eq!(call(writer, R, PRIVATE_FILE, 0), denied);
    assert_eq!(world.read(0, ARENA), Ok(9));
    let low = [PAGE, PAGE, R, PRIVATE_FILE | FIXED, writer, 0];
    assert_eq!(world.call(nr::MMAP, &low), error(Errno::Perm));
}

pub(crate) fn mappings_show_the_file_and_private_ones_keep_their_copies() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = file(&world, 4);
    number_pages(&world, fd, 4);
    let shared = map(&world, 0, 2, (RW, SHARED_FILE), fd, 2);
    let private = map(&world, 8, 4, (RW, PRIVATE_FILE), fd, 0);
    assert_eq!(
        (world.read(0, shared), world.read(0, shared + PAGE)),
        (Ok(3), Ok(4))
    );
    assert_eq!(world.read(0, private + 2 * PAGE), Ok(3));
    assert_eq!(world.write(0, shared, 33), Ok(()));
    assert_eq!(
        (
            byte(&world, fd, 2 * PAGE),
            world.read(0, private + 2 * PAGE)
        ),
        (33, Ok(33))
    );
    // A page that was read, and one that was not.
    for page in [2, 3] {
        assert_eq!(world.write(0, private + page * PAGE + 1, 99), Ok(()));
    }
    assert_eq!(byte(&world, fd, 2 * PAGE + 1), 0);
    assert_eq!(world.write(0, shared, 34), Ok(()));
    assert_eq!(
        (
            world.read(0, private + 2 * PAGE),
            world.read(0, private + 3 * PAGE)
        ),
        (Ok(33), Ok(4))
    );
    // What is dropped comes back from the file.
    world.ok(nr::MADVISE, &[private, 4 * PAGE, 4]);
    assert_eq!(world.read(0, private + 2 * PAGE), Ok(34));
    assert_eq!(world.read(0, private + 2 * PAGE + 1), Ok(0));
    // A protection that comes and goes makes nothing writable that is the file's.
    for prot in [R, 0, RW] {
        world.ok(nr::MPROTECT, &[private, 4 * PAGE, prot]);
    }
    assert_eq!(world.write(0, private + 2 * PAGE, 1), Ok(()));
    assert_eq!(byte(&world, fd, 2 * PAGE), 34);
    // Closed keys deny mappings and not descriptors.
    let key = world.ok(nr::PKEY_ALLOC, &[0, 1]);
    world.ok(nr::PKEY_MPROTECT, &[shared, PAGE, RW, key]);
    assert_eq!(byte(&world, fd, 2 * PAGE), 34);
    world.handle(SEGV, 0x4000_0000, 0);
    assert!(world.read(0, shared).is_err());
    assert_eq!(world.frame().info().1, 4);
    let _ = world.sigreturn();
    // The file outlives its descriptors, and moves with its mapping.
    world.ok(nr::CLOSE, &[fd]);
    let to = ARENA + 20 * PAGE;
    world.ok(nr::MREMAP, &[shared + PAGE, PAGE, 2 * PAGE, 3, to]);
    assert_eq!(world.read(0, to), Ok(4));
    is_bus(&world, to + PAGE);
}

pub(crate) fn behind_the_end_of_a_file_is_sigbus() {
    let machine = machine(2);
    let world = World::new(&machine);
    let fd = file(&world, 3);
    number_pages(&world, fd, 3);
    let shared = map(&world, 0, 4, (RW, SHARED_FILE), fd, 0);
    let private = map(&world, 8, 4, (RW, PRIVATE_FILE), fd, 0);
    for at in [shared, private] {
        for page in 0..3 {
            assert_eq!(world.write(0, at + page * PAGE + 1, 7), Ok(()));
        }
        is_bus(&world, at + 3 * PAGE);
    }
    let bad = error(Errno::Fault);
    for advice in [22, 23] {
        assert_eq!(world.call(nr::MADVISE, &[private, 4 * PAGE, advice]), bad);
    }
    let child = world.fork();
    world.run(1, child);
    assert_eq!(world.access(1, |cpu| cpu.user_read(shared + PAGE)), Ok(2));
    // A shorter file takes its pages out of all processes, and copies of them as well; the rest of a page is zeros.
    world.ok(nr::FTRUNCATE, &[fd, PAGE + 1]);
    assert_eq!(world.read(0, shared + PAGE), Ok(2));
    assert_eq!(world.read(0, shared + PAGE + 1), Ok(0));
    assert_eq!(world.read(0, private + PAGE + 1), Ok(7));
    for at in [shared, private] {
        is_bus(&world, at + 2 * PAGE);
    }
    let found = world.access(1, |cpu| cpu.user_read(private + 2 * PAGE));
    assert_eq!(found, Err(Outcome::Resume), "at the start of a handler");
    // What grows again is empty.
    world.ok(nr::FTRUNCATE, &[fd, 3 * PAGE]);
    for at in [shared, private] {
        assert_eq!(world.read(0, at + 2 * PAGE + 1), Ok(0));
    }
}

pub(crate) fn read_faults_bring_in_what_a_file_has_nearby() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = file(&world, 20);
    number_pages(&world, fd, 6);
    for kind in [SHARED_FILE, PRIVATE_FILE] {
        let at = map(&world, 0, 20, (RW, kind), fd, 0);
        let before = faults(&world);
        let read = |page| {
            let _ = world.read(0, at + page * PAGE).unwrap();
            faults(&world) - before
        };
        // A block has 16 pages; of those, six are there, and the one that is read.
        assert_eq!([3, 0, 5, 9, 10, 17].map(read), [1, 1, 1, 2, 3, 4], "{kind}");
        assert_eq!(world.write(0, at, 1), Ok(()));
        let nr_copies = u64::from(kind == PRIVATE_FILE);
        assert_eq!(faults(&world) - before, 4 + nr_copies);
        world.ok(nr::FTRUNCATE, &[fd, 0]);
        world.ok(nr::FTRUNCATE, &[fd, 20 * PAGE]);
        number_pages(&world, fd, 6);
    }
    // They come even if the page that was asked for cannot.
    let at = map(&world, 0, 8, (RW, PRIVATE_FILE), fd, 0);
    world.ok(nr::FTRUNCATE, &[fd, 6 * PAGE]);
    is_bus(&world, at + 6 * PAGE);
    let before = faults(&world);
    assert_eq!(world.read(0, at + PAGE), Ok(2));
    assert_eq!(faults(&world), before);
    // A child finds leaves of a private mapping only if something was written to it.
    for is_written in [false, true] {
        // Nothing is left with which the mapping would be one.
        world.ok(nr::MUNMAP, &[ARENA, 20 * PAGE]);
        let at = map(&world, 0, 6, (RW, PRIVATE_FILE), fd, 0);
        assert_eq!(world.read(0, at), Ok(1));
        if is_written {
            assert_eq!(world.write(0, at + PAGE, 9), Ok(()));
        }
        let parent = world.processor(0).current().unwrap().tid();
        let child = world.fork();
        world.run(0, child);
        let before = faults(&world);
        assert_eq!(world.read(0, at), Ok(1));
        assert_eq!(faults(&world) - before, u64::from(!is_written));
        assert_eq!(world.read(0, at + PAGE), Ok(if is_written { 9 } else { 2 }));
        world.run(0, parent);
    }
}

pub(crate) fn mappings_of_a_file_are_one_where_it_goes_on() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = file(&world, 8);
    let again = opened(&world, fd, 2);
    let base = world.processor(0).space().unwrap().mappings().len();
    let count = || world.processor(0).space().unwrap().mappings().len() - base;
    for kind in [SHARED_FILE, PRIVATE_FILE] {
        let one = (RW, kind);
        map(&world, 0, 1, one, fd, 0);
        map(&world, 1, 1, one, fd, 1);
        assert_eq!(count(), 1);
        map(&world, 2, 1, one, fd, 3);
        assert_eq!(count(), 2);
        map(&world, 2, 1, one, again, 2);
        assert_eq!(count(), 2, "another opening");
        map(&world, 2, 1, one, fd, 2);
        assert_eq!(count(), 1);
        map(&world, 3, 1, (R, kind), fd, 3);
        assert_eq!(count(), 2);
        world.ok(nr::MPROTECT, &[ARENA + 3 * PAGE, PAGE, RW]);
        assert_eq!(count(), 1);
        world.ok(nr::MUNMAP, &[ARENA, 8 * PAGE]);
    }
}

pub(crate) fn a_file_goes_with_the_last_that_has_it() {
    let machine = machine(1);
    let world = World::new(&machine);
    map(&world, 0, 1, (RW, 0x22), 0, 0);
    assert_eq!(world.write(0, ARENA, 1), Ok(()));
    assert_eq!(world.write(0, BUFFER, 1), Ok(()));
    assert_eq!(world.write(0, PATH, 1), Ok(()));
    assert_eq!(world.write(0, SCRATCH, 1), Ok(()));
    let allocated = || machine.memory().allocated_bytes();
    let before = allocated();
    let fd = file(&world, 3);
    number_pages(&world, fd, 3);
    assert_eq!(allocated() - before, 3 * 4096);
    let shared = map(&world, 1, 2, (RW, SHARED_FILE), fd, 0);
    let private = map(&world, 3, 3, (RW, PRIVATE_FILE), fd, 0);
    assert_eq!(world.read(0, shared), Ok(1));
    assert_eq!(world.write(0, private, 5), Ok(()));
    assert_eq!(allocated() - before, 4 * 4096);
    world.ok(nr::FTRUNCATE, &[fd, PAGE]);
    assert_eq!(allocated() - before, 2 * 4096);
    world.ok(nr::CLOSE, &[fd]);
    world.ok(nr::MUNMAP, &[shared, 2 * PAGE]);
    assert_eq!(allocated() - before, 2 * 4096);
    world.ok(nr::MUNMAP, &[private, 3 * PAGE]);
    assert_eq!(allocated(), before);
    // Descriptors of a process go when it ends.
    let fd = file(&world, 1);
    number_pages(&world, fd, 1);
    assert_eq!(
        world.enter(0, nr::EXIT_GROUP, &[0]),
        Outcome::ProcessEnded(ExitStatus::Exited(0))
    );
    drop(world);
    assert_eq!(allocated(), 0);
}
