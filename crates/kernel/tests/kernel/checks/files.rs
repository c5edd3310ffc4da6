//! Descriptors and pipes, and what keys do to the kernel's own accesses.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const FDS: u64 = SCRATCH + 512;
const BUFFER: u64 = SCRATCH + 4 * PAGE;

/// A pipe's two descriptors.
fn pipe(world: &World<'_>, flags: u64) -> [u64; 2] {
    world.ok(nr::PIPE2, &[FDS, flags]);
    [FDS, FDS + 4].map(|at| number(world.int(at)))
}

pub(crate) fn bytes_go_through_a_pipe() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world, 0);
    assert_eq!([reader, writer], [3, 4]);
    world.put(BUFFER, b"hello");
    assert_eq!(world.call(nr::WRITE, &[writer, BUFFER, 5]), 5);
    assert_eq!(world.call(nr::READ, &[reader, BUFFER + 10, 2]), 2);
    assert_eq!(world.call(nr::READ, &[reader, BUFFER + 12, 99]), 3);
    assert_eq!(world.get::<5>(BUFFER + 10), *b"hello");
    // The wrong end, no end, no count.
    let bad = error(Errno::BadDescriptor);
    assert_eq!(world.call(nr::WRITE, &[reader, BUFFER, 5]), bad);
    assert_eq!(world.call(nr::READ, &[writer, BUFFER, 5]), bad);
    assert_eq!(world.call(nr::READ, &[99, BUFFER, 5]), bad);
    assert_eq!(world.call(nr::READ, &[number(-1), BUFFER, 5]), bad);
    assert_eq!(world.call(nr::READ, &[reader, BUFFER, 0]), 0);
    assert_eq!(
        world.call(nr::READ, &[reader, 1 << 63, 0]),
        error(Errno::Fault)
    );
    assert_eq!(
        world.call(nr::READ, &[reader, BUFFER, u64::MAX]),
        error(Errno::Fault)
    );
    // Without writers there is an end; without readers SIGPIPE.
    assert_eq!(world.call(nr::CLOSE, &[writer]), 0);
    assert_eq!(world.call(nr::CLOSE, &[writer]), bad);
    assert_eq!(world.call(nr::READ, &[reader, BUFFER, 5]), 0);
    let [reader, writer] = pipe(&world, 0o4000);
    assert_eq!(
        world.call(nr::READ, &[reader, BUFFER, 5]),
        error(Errno::Again)
    );
    assert_eq!(world.call(nr::CLOSE, &[reader]), 0);
    world.sigaction(13, [1, 0, 0, 0]);
    assert_eq!(
        world.call(nr::WRITE, &[writer, BUFFER, 5]),
        error(Errno::BrokenPipe)
    );
    world.sigaction(13, [0, 0, 0, 0]);
    assert_eq!(world.enter(0, nr::WRITE, &[writer, BUFFER, 5]), killed(13));
}

pub(crate) fn a_full_pipe_makes_writers_wait_and_a_long_write_goes_on() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world, 0);
    let thread = world.thread();
    let bytes: Vec<u8> = (0..8 * PAGE)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    world.map(0, ARENA, 32);
    for at in [0, 8, 16] {
        world.put(ARENA + at * PAGE, &bytes);
    }
    // 16 pages fit.
    assert_eq!(
        world.enter(0, nr::WRITE, &[writer, ARENA, 20 * PAGE]),
        Outcome::Blocked
    );
    assert_eq!(world.kernel.ready(), [thread]);
    world.run(0, thread);
    for at in 0..3 {
        assert_eq!(
            world.call(nr::READ, &[reader, SCRATCH + 12 * PAGE, PAGE]),
            4096
        );
        let read = world.get::<4096>(SCRATCH + 12 * PAGE);
        let start = usize::try_from(at % 8 * PAGE).unwrap();
        assert_eq!(read, bytes[start..start + 4096]);
        assert_eq!(world.resume(0, 1), Outcome::Blocked);
        world.run(0, thread);
    }
    assert_eq!(
        world.call(nr::READ, &[reader, SCRATCH + 12 * PAGE, PAGE]),
        4096
    );
    world.run(0, 1);
    assert_eq!(world.regs(0).rax, 20 * PAGE);
    // A reader waits for data, and gets EOF when the last writer goes.
    let [reader, writer] = pipe(&world, 0);
    assert_eq!(
        world.enter(0, nr::READ, &[reader, BUFFER, 8]),
        Outcome::Blocked
    );
    world.run(0, thread);
    assert_eq!(world.call(nr::WRITE, &[writer, ARENA, 3]), 3);
    world.run(0, 1);
    assert_eq!(world.regs(0).rax, 3);
    assert_eq!(
        world.enter(0, nr::READ, &[reader, BUFFER, 8]),
        Outcome::Blocked
    );
    world.run(0, thread);
    assert_eq!(world.call(nr::CLOSE, &[writer]), 0);
    world.run(0, 1);
    assert_eq!(world.regs(0).rax, 0);
    // A handler ends a long write with what it has done.
    world.handle(USR1, 0x1000_0000, 0);
    let [_, writer] = pipe(&world, 0);
    assert_eq!(
        world.enter(0, nr::WRITE, &[writer, ARENA, 20 * PAGE]),
        Outcome::Blocked
    );
    world.run(0, thread);
    assert_eq!(world.call(nr::TGKILL, &[1, 1, 10]), 0);
    assert_eq!(world.resume(0, 1), Outcome::Resume);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rax, 16 * PAGE);
}

pub(crate) fn keys_are_in_effect_for_the_kernels_accesses() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world, 0);
    let key = world.map_keyed(ARENA, 1, 0);
    assert_eq!(world.write(0, ARENA, 9), Ok(()));
    let fault = error(Errno::Fault);
    let (closed, read_only) = (INIT, INIT & !(3 << (2 * key)) | 2 << (2 * key));
    // To write from a page is to read it.
    world.set_pkru(0, closed);
    assert_eq!(world.call(nr::WRITE, &[writer, ARENA, 1]), fault);
    world.set_pkru(0, read_only);
    assert_eq!(world.call(nr::WRITE, &[writer, ARENA, 1]), 1);
    for pkru in [closed, read_only] {
        world.set_pkru(0, pkru);
        assert_eq!(world.call(nr::READ, &[reader, ARENA, 1]), fault);
    }
    // What was not read is still there.
    assert_eq!(world.call(nr::READ, &[reader, BUFFER, 1]), 1);
    assert_eq!(world.get::<1>(BUFFER), [9]);
    // Looking a page up asks the key, too.
    world.put_words(SCRATCH, &[ARENA, 1]);
    let splice = || world.call(nr::VMSPLICE, &[writer, SCRATCH, 1, 0]);
    world.set_pkru(0, closed);
    assert_eq!(splice(), fault);
    world.set_pkru(0, read_only);
    assert_eq!(splice(), 1);
    assert_eq!(world.call(nr::VMSPLICE, &[reader, SCRATCH, 1, 0]), fault);
    // Nobody got a signal, and the register is the program's.
    assert_eq!((world.pkru(0), world.regs(0).rip), (read_only, CODE));
}

pub(crate) fn copies_end_where_the_memory_does() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world, 0);
    world.map(0, ARENA, 2);
    world.map_keyed(ARENA + 2 * PAGE, 1, 1);
    let end = ARENA + 2 * PAGE;
    let fault = error(Errno::Fault);
    // A page that cannot be copied as a whole is not written; those before it are.
    assert_eq!(world.call(nr::WRITE, &[writer, end - 5000, 6000]), 4096);
    world.put(BUFFER, b"0123456789");
    assert_eq!(world.call(nr::WRITE, &[writer, BUFFER, 10]), 10);
    assert_eq!(world.call(nr::READ, &[reader, ARENA, 4096]), 4096);
    // Of one page of the pipe nothing is read if not all of it can be, but what was copied is there.
    assert_eq!(world.call(nr::READ, &[reader, end - 4, 10]), fault);
    assert_eq!(world.get::<4>(end - 4), *b"0123");
    assert_eq!(world.call(nr::READ, &[reader, BUFFER + 64, 10]), 10);
    assert_eq!(world.get::<10>(BUFFER + 64), *b"0123456789");
    // A write that fails leaves an empty page behind, which the odd bytes of the next one go into.
    assert_eq!(world.call(nr::WRITE, &[writer, end - 100, 200]), fault);
    assert_eq!(world.call(nr::WRITE, &[writer, end - 5000, 6000]), 1904);
    // The console shows what can be read.
    world.put(end - 3, b"abc");
    assert_eq!(world.call(nr::WRITE, &[1, end - 3, 9]), 3);
    assert_eq!(*world.host().printed.borrow(), b"abc");
    assert_eq!(world.call(nr::WRITE, &[1, end, 9]), fault);
    assert_eq!(world.call(nr::READ, &[0, BUFFER, 9]), 0);
}

pub(crate) fn descriptors_are_the_lowest_and_have_an_end() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world, 0);
    assert_eq!(world.call(nr::CLOSE, &[reader]), 0);
    assert_eq!(pipe(&world, 0), [3, 5]);
    let _ = writer;
    assert_eq!(world.call(nr::PIPE2, &[FDS, 1]), error(Errno::Invalid));
    while world.call(nr::PIPE2, &[FDS, 0]) == 0 {}
    assert_eq!(world.call(nr::PIPE2, &[FDS, 0]), error(Errno::TooManyFiles));
    // Both ends or none, also where the numbers cannot be told.
    assert_eq!(world.call(nr::CLOSE, &[3]), 0);
    assert_eq!(world.call(nr::PIPE2, &[FDS, 0]), error(Errno::TooManyFiles));
    assert_eq!(world.call(nr::CLOSE, &[5]), 0);
    assert_eq!(world.call(nr::PIPE2, &[NOWHERE, 0]), error(Errno::Fault));
    assert_eq!(pipe(&world, 0), [3, 5]);
}

pub(crate) fn a_word_in_memory_is_waited_for_and_woken() {
    let machine = machine(1);
    let world = World::new(&machine);
    let (wait, wake, private) = (0, 1, 128);
    let word = SCRATCH + 128;
    let thread = world.thread();
    let futex = |op, val| world.call(nr::FUTEX, &[word, op, val, 0]);
    assert_eq!(futex(wait | private, 1), error(Errno::Again));
    assert_eq!(futex(wake | private, 1), 0);
    assert_eq!(
        world.enter(0, nr::FUTEX, &[word, wait, 0, 0]),
        Outcome::Blocked
    );
    world.run(0, thread);
    world.put_words(word, &[1]);
    // One at least, whatever the count.
    assert_eq!(world.call(nr::FUTEX, &[word, wake | private, 0, 0]), 1);
    world.run(0, 1);
    assert_eq!(world.regs(0).rax, 0);
    // A signal ends it.
    world.handle(USR1, 0, 0);
    assert_eq!(
        world.enter(0, nr::FUTEX, &[word, wait, 1, 0]),
        Outcome::Blocked
    );
    world.run(0, thread);
    assert_eq!(world.call(nr::TGKILL, &[1, 1, 10]), 0);
    assert_eq!(world.call(nr::FUTEX, &[word + 4, wake, 9, 0]), 0);
    assert_eq!(world.resume(0, 1), Outcome::Resume);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rax, error(Errno::Interrupted).cast_unsigned());
    assert_eq!(futex(wake, 9), 0);
    // Time limits: none but zero.
    world.put_words(SCRATCH + 256, &[0, 0, 1, 0, 0, 1_000_000_000]);
    let limited = |offset| world.call(nr::FUTEX, &[word, wait, 1, SCRATCH + 256 + offset]);
    assert_eq!(
        (limited(0), limited(16)),
        (error(Errno::TimedOut), error(Errno::NoSystemCall))
    );
    assert_eq!(limited(32), error(Errno::Invalid));
    assert_eq!(
        world.call(nr::FUTEX, &[word, 99, 0, 0]),
        error(Errno::NoSystemCall)
    );
    assert_eq!(
        world.call(nr::FUTEX, &[word + 1, wake, 0, 0]),
        error(Errno::Invalid)
    );
}

pub(crate) fn a_futex_asks_the_keys_as_far_as_it_looks() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.map_keyed(ARENA, 1, 0);
    assert_eq!(world.write(0, ARENA, 0), Ok(()));
    let fault = error(Errno::Fault);
    let again = error(Errno::Again);
    let (closed, read_only) = (INIT, INIT & !(3 << (2 * key)) | 2 << (2 * key));
    // Waiting for another value than the one there; waking.
    let table = [
        (closed, 0, fault, fault),
        (closed, 128, fault, 0),
        (read_only, 0, fault, fault),
        (read_only, 128, again, 0),
    ];
    for (pkru, private, wait, wake) in table {
        world.set_pkru(0, pkru);
        assert_eq!(
            world.call(nr::FUTEX, &[ARENA, private, 7, 0]),
            wait,
            "{pkru:#x}"
        );
        assert_eq!(
            world.call(nr::FUTEX, &[ARENA, 1 | private, 7, 0]),
            wake,
            "{pkru:#x}"
        );
    }
    // To change a word is to write it; the first word is only looked at.
    let set_one = 1 << 12;
    for (pkru, private, expected) in [
        (closed, 128, fault),
        (read_only, 0, fault),
        (read_only, 128, fault),
        (INIT & !(3 << (2 * key)), 0, 0),
    ] {
        world.set_pkru(0, pkru);
        let args = [BUFFER, 5 | private, 1, 1, ARENA, set_one];
        assert_eq!(world.call(nr::FUTEX, &args), expected, "{pkru:#x}");
        assert_eq!(world.int(ARENA), i32::from(expected == 0));
    }
    // Shared memory may be changed by somebody else.
    let args = [ARENA, PAGE, RW, 0x31, u64::MAX, 0];
    assert_eq!(world.ok(nr::MMAP, &args), ARENA);
    world.ok(nr::PKEY_MPROTECT, &[ARENA, PAGE, RW, key]);
    for (pkru, wait) in [(closed, fault), (read_only, again)] {
        world.set_pkru(0, pkru);
        assert_eq!(world.call(nr::FUTEX, &[ARENA, 0, 7, 0]), wait, "{pkru:#x}");
    }
}

pub(crate) fn other_processes_memory_has_no_keys() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.map_keyed(ARENA, 2, 0);
    world.map(0, ARENA + 4 * PAGE, 1);
    assert_eq!(world.write(0, ARENA, 0x5A), Ok(()));
    assert_eq!(world.write(0, ARENA + PAGE, 0x5B), Ok(()));
    world.ok(nr::MPROTECT, &[ARENA + 4 * PAGE, PAGE, 1]);
    world.set_pkru(0, INIT);
    let child = number(world.fork());
    let fault = error(Errno::Fault);
    let move_bytes = |call, pid, local: [u64; 2], remote: [u64; 2]| {
        world.put_words(SCRATCH, &local);
        world.put_words(SCRATCH + 16, &remote);
        world.call(call, &[pid, SCRATCH, 1, SCRATCH + 16, 1, 0])
    };
    let (read, write) = (nr::PROCESS_VM_READV, nr::PROCESS_VM_WRITEV);
    for pid in [1, child] {
        // Behind a closed key, over there and at home.
        assert_eq!(move_bytes(read, pid, [BUFFER, 2], [ARENA, 2]), 2);
        assert_eq!(world.get::<1>(BUFFER), [0x5A]);
        assert_eq!(move_bytes(read, pid, [ARENA, 2], [BUFFER, 2]), fault);
        assert_eq!(move_bytes(write, pid, [BUFFER, 2], [ARENA + PAGE, 2]), 2);
        assert_eq!(move_bytes(write, pid, [ARENA, 2], [BUFFER, 2]), fault);
        // The protection counts, and so does what is there.
        assert_eq!(
            move_bytes(write, pid, [BUFFER, 2], [ARENA + 4 * PAGE, 2]),
            fault
        );
        assert_eq!(move_bytes(read, pid, [BUFFER, 2], [ARENA + 4 * PAGE, 2]), 2);
        assert_eq!(move_bytes(read, pid, [BUFFER, 2], [NOWHERE, 2]), fault);
        assert_eq!(move_bytes(read, pid, [BUFFER, 2], [u64::MAX - 1, 1]), fault);
        assert_eq!(move_bytes(read, pid, [BUFFER, 9000], [ARENA, 9000]), 8192);
        assert_eq!(move_bytes(read, pid, [BUFFER, 0], [NOWHERE, 9]), 0);
        assert_eq!(move_bytes(read, pid, [BUFFER, 9], [NOWHERE, 0]), 0);
        assert_eq!(
            move_bytes(read, pid, [BUFFER, u64::MAX], [ARENA, 9]),
            error(Errno::Invalid)
        );
    }
    assert_eq!(
        move_bytes(read, 99, [BUFFER, 2], [ARENA, 2]),
        error(Errno::NoProcess)
    );
    let flags = [1, SCRATCH, 1, SCRATCH + 16, 1, 1];
    assert_eq!(world.call(read, &flags), error(Errno::Invalid));
    assert_eq!(
        world.call(read, &[1, SCRATCH, 1025, SCRATCH + 16, 1, 0]),
        error(Errno::Invalid)
    );
    // The child's copy is its own.
    assert_eq!(world.get::<1>(ARENA + PAGE), [0x5A]);
    world.set_pkru(0, INIT & !(3 << (2 * key)));
    assert_eq!(world.read(0, ARENA), Ok(0x5A));
}
