//! Descriptors: copies, what they are, several buffers at once, sockets, and waiting for any of several.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const FDS: u64 = SCRATCH + 512;
const LIST: u64 = SCRATCH + 1024;
const TIME: u64 = SCRATCH + 768;
const BUFFER: u64 = SCRATCH + 4 * PAGE;

const CLOEXEC: u64 = 0o2_000_000;
const NONBLOCK: u64 = 0o4000;

fn two(world: &World<'_>, nr: u64, args: &[u64]) -> [u64; 2] {
    world.ok(nr, args);
    [FDS, FDS + 4].map(|at| number(world.int(at)))
}

fn pipe(world: &World<'_>) -> [u64; 2] {
    two(world, nr::PIPE2, &[FDS, 0])
}

fn sockets(world: &World<'_>, flags: u64) -> [u64; 2] {
    two(world, nr::SOCKETPAIR, &[1, 1 | flags, 0, FDS])
}

/// A list of buffers.
fn put_list(world: &World<'_>, buffers: &[(u64, u64)]) {
    let words: Vec<u64> = buffers.iter().flat_map(|(at, len)| [*at, *len]).collect();
    world.put_words(LIST, &words);
}

pub(crate) fn copies_are_one_opening_under_several_numbers() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world);
    let bad = error(Errno::BadDescriptor);
    let invalid = error(Errno::Invalid);
    let table: &[(u64, &[u64], i64)] = &[
        (nr::DUP, &[writer], 5),
        (nr::DUP, &[99], bad),
        (nr::DUP2, &[writer, 9], 9),
        (nr::DUP2, &[writer, writer], 4),
        (nr::DUP2, &[99, 99], bad),
        (nr::DUP2, &[99, 5], bad),
        (nr::DUP2, &[writer, number(-1)], bad),
        (nr::DUP2, &[writer, 1024], bad),
        (nr::DUP3, &[writer, writer, 0], invalid),
        (nr::DUP3, &[writer, 9, 1], invalid),
        (nr::DUP3, &[writer, 9, CLOEXEC], 9),
        // F_DUPFD and F_DUPFD_CLOEXEC: the lowest from 7 on.
        (nr::FCNTL, &[writer, 0, 7], 7),
        (nr::FCNTL, &[writer, 1030, 7], 8),
        (nr::FCNTL, &[writer, 0, 9], 10),
        (nr::FCNTL, &[writer, 0, 1024], invalid),
        (nr::FCNTL, &[writer, 0, number(-1)], invalid),
        (nr::FCNTL, &[99, 0, 0], bad),
    ];
    for (call, args, expected) in table {
        assert_eq!(world.call(*call, args), *expected, "{call} {args:?}");
    }
    // Each of them keeps the pipe open.
    for fd in [writer, 5, 7, 8, 9] {
        assert_eq!(world.call(nr::CLOSE, &[fd]), 0);
    }
    world.put(BUFFER, b"x");
    assert_eq!(world.call(nr::WRITE, &[10, BUFFER, 1]), 1);
    assert_eq!(world.call(nr::CLOSE, &[10]), 0);
    for expected in [1, 0] {
        assert_eq!(world.call(nr::READ, &[reader, BUFFER, 9]), expected);
    }
    // Who takes the place of the last writer lets readers see the end.
    let [reader, writer] = pipe(&world);
    let thread = world.thread();
    world.run(0, thread);
    world.blocks(0, nr::READ, &[reader, BUFFER, 9]);
    world.run(0, 1);
    assert_eq!(world.ok(nr::DUP2, &[1, writer]), writer);
    assert_eq!(world.kernel.ready(), [thread]);
}

pub(crate) fn flags_belong_to_a_number_or_to_what_it_stands_for() {
    let machine = machine(1);
    let world = World::new(&machine);
    let fd = world.ok(nr::FCNTL, &[1, 1030, 0]);
    let get = |op| world.call(nr::FCNTL, &[fd, op, 0]);
    assert_eq!(get(1), 1);
    // F_SETFD looks at one bit; FIONCLEX and FIOCLEX.
    for (call, args, expected) in [
        (nr::FCNTL, [fd, 2, 2], 0),
        (nr::FCNTL, [fd, 2, 3], 1),
        (nr::IOCTL, [fd, 0x5450, 0], 0),
        (nr::IOCTL, [fd, 0x5451, 0], 1),
    ] {
        assert_eq!(world.call(call, &args), 0);
        assert_eq!(get(1), expected);
    }
    // The copy from which it was made has none.
    assert_eq!(world.call(nr::FCNTL, &[1, 1, 0]), 0);
    let [reader, writer] = two(&world, nr::PIPE2, &[FDS, NONBLOCK | CLOEXEC]);
    let flags = |fd| world.call(nr::FCNTL, &[fd, 3, 0]).cast_unsigned();
    assert_eq!([flags(reader), flags(writer)], [NONBLOCK, NONBLOCK | 1]);
    assert_eq!(world.call(nr::FCNTL, &[reader, 1, 0]), 1);
    let [one, _] = sockets(&world, 0);
    let file = world.ok(nr::MEMFD_CREATE, &[NAME, 0]);
    // O_LARGEFILE, of what has a name.
    assert_eq!([flags(1), flags(one), flags(file)], [0x8002, 2, 0x8002]);
    world.put(BUFFER, b"/proc/self/maps\0");
    let text = world.ok(nr::OPEN, &[BUFFER, 0]);
    assert_eq!(flags(text), 0x8000);
    // What cannot be changed is not said to be; TCGETS.
    assert_eq!(get(4), error(Errno::NoSystemCall));
    assert_eq!(get(77), error(Errno::Invalid));
    let ioctl = |fd, op| world.call(nr::IOCTL, &[fd, op, BUFFER]);
    assert_eq!(ioctl(1, 0x5401), error(Errno::NotTerminal));
    assert_eq!(ioctl(99, 0x5401), error(Errno::BadDescriptor));
}

/// A name for a file in memory: memory is zeros at the start.
const NAME: u64 = SCRATCH + 8 * PAGE;

pub(crate) fn a_descriptor_says_what_it_is() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world);
    let [one, other] = sockets(&world, 0);
    let file = world.ok(nr::MEMFD_CREATE, &[NAME, 0]);
    let second = world.ok(nr::MEMFD_CREATE, &[NAME, 0]);
    world.ok(nr::FTRUNCATE, &[file, 5000]);
    let stat = |fd| {
        world.put(BUFFER, &[0xAA; 256]);
        assert_eq!(world.call(nr::FSTAT, &[fd, BUFFER]), 0);
        // st_mode, st_size, st_rdev, st_ino.
        let word = |at| world.word(BUFFER + at);
        let found = (word(24) & 0xFFFF_FFFF, word(48), word(40), word(8));
        // statx says the same, in its own places, and knows no times.
        let statx = [fd, NAME, 0x1000, 0xFFF, BUFFER];
        assert_eq!(world.call(nr::STATX, &statx), 0);
        let same = (word(28) & 0xFFFF, word(40), word(32));
        assert_eq!(same, (found.0, found.1, found.3));
        assert_eq!(world.int(BUFFER), 0x71F);
        found
    };
    assert_eq!(stat(1), (0o020_600, 0, 0x501, 0));
    assert_eq!(stat(file).0, 0o100_777);
    assert_eq!((stat(file).1, stat(second).1), (5000, 0));
    assert_eq!(stat(reader).0, 0o010_600);
    assert_eq!(stat(one).0, 0o140_777);
    assert_eq!(stat(reader).3, stat(writer).3);
    let ids = [file, second, reader, one, other].map(|fd| stat(fd).3);
    let mut unique = ids.to_vec();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    // By an empty path; there are no files by other names.
    world.put(SCRATCH, b"/etc\0");
    let [bad, none, invalid, fault] = [
        Errno::BadDescriptor,
        Errno::NoEntry,
        Errno::Invalid,
        Errno::Fault,
    ]
    .map(error);
    let table: [(u64, u64, u64, i64); 7] = [
        (file, NAME, 0x1000, 0),
        (file, 0, 0x1000, 0),
        (99, NAME, 0x1000, bad),
        (file, NAME, 0, none),
        (number(-100), SCRATCH, 0, none),
        (file, NAME, 0x2_0000, invalid),
        (file, NOWHERE, 0x1000, fault),
    ];
    for (fd, path, flags, expected) in table {
        let args = [fd, path, BUFFER, flags];
        assert_eq!(world.call(nr::NEWFSTATAT, &args), expected, "{args:x?}");
    }
    let statx = |flags, mask| world.call(nr::STATX, &[file, NAME, flags, mask, BUFFER]);
    assert_eq!(statx(0x1000 | 0x6000, 1), invalid);
    assert_eq!(statx(0x1000, 1 << 31), invalid);
    assert_eq!(statx(0x1000 | 0x2000, 1), 0);
    assert_eq!(world.call(nr::FSTAT, &[file, NOWHERE]), fault);
    assert_eq!(world.call(nr::FSTAT, &[99, NOWHERE]), bad);
}

pub(crate) fn several_buffers_are_one_call() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world);
    world.put(BUFFER, b"abcdefgh");
    let (one, two, three) = ((BUFFER, 2), (BUFFER + 100, 0), (BUFFER + 2, 3));
    let file = world.ok(nr::MEMFD_CREATE, &[NAME, 0]);
    let [socket, peer] = sockets(&world, 0);
    let bad = error(Errno::BadDescriptor);
    for (from, to) in [(reader, writer), (file, file), (peer, socket)] {
        put_list(&world, &[one, two, three]);
        assert_eq!(world.call(nr::WRITEV, &[to, LIST, 3]), 5);
        if from == file {
            world.ok(nr::LSEEK, &[file, 0, 0]);
        }
        world.put(BUFFER + PAGE, &[0; 16]);
        put_list(&world, &[(BUFFER + PAGE, 1), (BUFFER + PAGE + 8, 9)]);
        assert_eq!(world.call(nr::READV, &[from, LIST, 2]), 5);
        assert_eq!(world.get::<12>(BUFFER + PAGE), *b"a\0\0\0\0\0\0\0bcde");
    }
    put_list(&world, &[one, three]);
    assert_eq!(world.call(nr::WRITEV, &[1, LIST, 2]), 5);
    assert_eq!(*world.host().printed.borrow(), b"abcde");
    assert_eq!(world.call(nr::READV, &[0, LIST, 2]), 0);
    // Up to what cannot be read: a pipe takes pages as a whole, others what they got.
    put_list(&world, &[one, (NOWHERE, 3), three]);
    let fault = error(Errno::Fault);
    for (fd, expected) in [(writer, fault), (file, 2), (1, 2), (socket, fault)] {
        assert_eq!(world.call(nr::WRITEV, &[fd, LIST, 3]), expected, "{fd}");
    }
    put_list(&world, &[(NOWHERE, 3), one]);
    assert_eq!(world.call(nr::WRITEV, &[file, LIST, 2]), fault);
    assert_eq!(world.call(nr::WRITEV, &[reader, LIST, 1]), bad);
    assert_eq!(world.call(nr::READV, &[writer, LIST, 1]), bad);
    assert_eq!(world.call(nr::READV, &[99, NOWHERE, 1]), bad);
    assert_eq!(
        world.call(nr::WRITEV, &[writer, LIST, 1025]),
        error(Errno::Invalid)
    );
    assert_eq!(world.call(nr::WRITEV, &[writer, NOWHERE, 1]), fault);
    assert_eq!(world.call(nr::WRITEV, &[writer, NOWHERE, 0]), 0);
}

/// A write of several buffers that has to wait goes on in the middle of one.
pub(crate) fn a_long_write_of_several_buffers_goes_on() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world);
    world.map(0, ARENA, 40);
    let bytes: Vec<u8> = (0..20 * PAGE).map(|at| (at % 251) as u8).collect();
    world.put(ARENA, &bytes);
    let thread = world.thread();
    let len = 20 * PAGE;
    let cut = 5 * PAGE + 100;
    put_list(
        &world,
        &[
            (ARENA, cut),
            (ARENA + cut, 1),
            (ARENA + cut + 1, len - cut - 1),
        ],
    );
    world.blocks(0, nr::WRITEV, &[writer, LIST, 3]);
    world.run(0, thread);
    let to = ARENA + 20 * PAGE;
    let mut done = 0;
    while done < len {
        if done == 8 * PAGE {
            world.run(0, 1);
            assert_eq!(world.regs(0).rax, len);
            world.run(0, thread);
        }
        done += world.ok(nr::READ, &[reader, to + done, PAGE]);
    }
    let mut found = vec![0; bytes.len()];
    let space = world.processor(0).space().unwrap();
    space
        .read_remote(&world.cpu(0), to, &mut found, true)
        .unwrap();
    assert!(found == bytes);
}

pub(crate) fn bytes_go_both_ways_between_sockets() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [one, other] = sockets(&world, CLOEXEC);
    assert_eq!(world.call(nr::FCNTL, &[one, 1, 0]), 1);
    world.put(BUFFER, b"there and back");
    let send = |fd, at, len, flags| world.call(nr::SENDTO, &[fd, at, len, flags, 0, 0]);
    let receive = |fd, len, flags| world.call(nr::RECVFROM, &[fd, BUFFER + PAGE, len, flags, 0, 0]);
    assert_eq!(send(one, BUFFER, 5, 0x4000), 5);
    assert_eq!(world.call(nr::WRITE, &[other, BUFFER + 10, 4]), 4);
    assert_eq!(receive(other, 3, 0), 3);
    assert_eq!(world.call(nr::READ, &[other, BUFFER + PAGE + 3, 9]), 2);
    assert_eq!(world.get::<5>(BUFFER + PAGE), *b"there");
    assert_eq!(receive(one, 9, 0), 4);
    assert_eq!(world.get::<4>(BUFFER + PAGE), *b"back");
    // Nothing there: MSG_DONTWAIT, or a socket that never waits.
    let again = error(Errno::Again);
    assert_eq!(receive(one, 9, 0x40), again);
    let [never, _] = sockets(&world, NONBLOCK);
    assert_eq!(receive(never, 9, 0), again);
    // Who sends has no name.
    world.put(BUFFER, &[9; 4]);
    world.ok(nr::WRITE, &[other, BUFFER, 1]);
    let from = [one, BUFFER + PAGE, 1, 0, BUFFER + 64, BUFFER];
    assert_eq!(world.call(nr::RECVFROM, &from), 1);
    assert_eq!(world.int(BUFFER), 0);
    // The keys are in effect.
    let fault = error(Errno::Fault);
    world.map_keyed(ARENA, 1, 1);
    assert_eq!(send(one, ARENA, 1, 0), fault);
    // What there is not.
    let not_socket = error(Errno::NotSocket);
    assert_eq!([send(1, BUFFER, 1, 0), receive(1, 1, 0)], [not_socket; 2]);
    assert_eq!(send(99, BUFFER, 1, 0), error(Errno::BadDescriptor));
    let unsupported = error(Errno::NotSupported);
    assert_eq!(
        [send(one, BUFFER, 1, 1), receive(one, 1, 2)],
        [unsupported; 2]
    );
    let to = [one, BUFFER, 1, 0, BUFFER, 16];
    assert_eq!(world.call(nr::SENDTO, &to), error(Errno::IsConnected));
    // The end: nothing to read, and a signal for who writes, unless it does not want one.
    assert_eq!(world.call(nr::CLOSE, &[other]), 0);
    assert_eq!(receive(one, 9, 0), 0);
    assert_eq!(send(one, BUFFER, 1, 0x4000), error(Errno::BrokenPipe));
    assert_eq!(
        world.enter(0, nr::SENDTO, &[one, BUFFER, 1, 0, 0, 0]),
        killed(13)
    );
}

pub(crate) fn sockets_are_checked_in_linuxs_order() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [invalid, family, protocol, kind, fault] = [
        Errno::Invalid,
        Errno::NoSuchFamily,
        Errno::NoSuchProtocol,
        Errno::NoSuchSocket,
        Errno::Fault,
    ]
    .map(error);
    let table = [
        ([77, 0x11, 9, NOWHERE], invalid),
        ([77, 15, 9, NOWHERE], fault),
        ([77, 15, 9, FDS], invalid),
        ([77, 4, 9, FDS], family),
        ([2, 1, 0, FDS], family),
        ([1, 4, 9, FDS], protocol),
        ([1, 2, 0, FDS], kind),
        ([1, 1, 1, FDS], 0),
    ];
    for (args, expected) in table {
        assert_eq!(world.call(nr::SOCKETPAIR, &args), expected, "{args:?}");
        // The numbers are stored before the rest is looked at.
        if args[3] == FDS && args[1] & 0x10 == 0 {
            assert_eq!([FDS, FDS + 4].map(|at| world.int(at)), [3, 4]);
        }
    }
    let option = |fd, name, at, len| world.call(nr::SETSOCKOPT, &[fd, 1, name, at, len]);
    world.put_words(TIME, &[0, 1_000_000]);
    assert_eq!(option(3, 20, TIME, 16), error(Errno::Domain));
    world.put_words(TIME, &[0, u64::MAX]);
    assert_eq!(option(3, 20, TIME, 16), error(Errno::Domain));
    world.put_words(TIME, &[0, 5]);
    assert_eq!(option(3, 20, TIME, 15), invalid);
    assert_eq!(option(3, 21, TIME, number(-1)), invalid);
    assert_eq!(option(3, 21, TIME, 16), error(Errno::NoSuchOption));
    assert_eq!(option(3, 20, NOWHERE, 16), fault);
    assert_eq!(option(1, 20, NOWHERE, 16), error(Errno::NotSocket));
    assert_eq!(option(99, 20, NOWHERE, 16), error(Errno::BadDescriptor));
    assert_eq!(option(3, 20, TIME, 16), 0);
}

pub(crate) fn a_read_of_a_socket_waits_no_longer_than_it_was_told() {
    let machine = machine(2);
    let world = World::new(&machine);
    world.set_clock(1000);
    let [one, other] = sockets(&world, 0);
    let receive = [one, BUFFER, 9, 0, 0, 0];
    // 5 ms.
    world.put_words(TIME, &[0, 5000]);
    world.ok(nr::SETSOCKOPT, &[one, 1, 20, TIME, 16]);
    for (call, args) in [(nr::RECVFROM, &receive[..]), (nr::READ, &receive[..3])] {
        let now = world.host().clock.get().unwrap();
        world.blocks(0, call, args);
        world.set_clock(now + 5 * MILLISECOND - 1);
        assert_eq!(world.kernel.ready(), []);
        world.set_clock(now + 5 * MILLISECOND);
        assert_eq!(world.goes_on(0, 1), error(Errno::Again));
    }
    // Something comes in time; a handler comes, which ends it for good.
    let thread = world.thread();
    world.run(1, thread);
    world.blocks(0, nr::RECVFROM, &receive);
    assert_eq!(world.call_on(1, nr::WRITE, &[other, BUFFER, 3]), 3);
    assert_eq!(world.goes_on(0, 1), 3);
    assert_eq!(world.kernel.next_deadline(), None);
    world.handle(USR1, 0x1000_0000, 0);
    world.blocks(0, nr::RECVFROM, &receive);
    assert_eq!(world.call_on(1, nr::TGKILL, &[1, 1, number(USR1)]), 0);
    world.run(0, 1);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rax.cast_signed(), error(Errno::Interrupted));
    // What is negative is over; zero is no limit.
    world.put_words(TIME, &[u64::MAX, 0]);
    world.ok(nr::SETSOCKOPT, &[one, 1, 20, TIME, 16]);
    assert_eq!(world.call(nr::RECVFROM, &receive), error(Errno::Again));
    world.put_words(TIME, &[0, 0]);
    world.ok(nr::SETSOCKOPT, &[one, 1, 20, TIME, 16]);
    world.blocks(0, nr::RECVFROM, &receive);
    assert_eq!(world.kernel.next_deadline(), None);
}

const IN: u16 = 1;
const OUT: u16 = 4;
const ERR: u16 = 8;
const HUP: u16 = 0x10;
const NVAL: u16 = 0x20;

/// Asks for some descriptors. Gives how many had something, and what.
fn poll(world: &World<'_>, wanted: &[(u64, u16)], timeout: i32) -> (i64, Vec<u16>) {
    put_polled(world, wanted);
    let result = world.call(nr::POLL, &[LIST, wanted.len() as u64, number(timeout)]);
    (result, found(world, wanted.len() as u64))
}

fn put_polled(world: &World<'_>, wanted: &[(u64, u16)]) {
    for (at, (fd, events)) in (0..).zip(wanted) {
        let word = fd & 0xFFFF_FFFF | u64::from(*events) << 32 | 0x5555 << 48;
        world.put_words(LIST + at * 8, &[word]);
    }
}

fn found(world: &World<'_>, count: u64) -> Vec<u16> {
    let entry = |at| (world.word(LIST + at * 8) >> 48) as u16;
    (0..count).map(entry).collect()
}

pub(crate) fn a_poll_says_what_can_be_done() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [reader, writer] = pipe(&world);
    let [one, other] = sockets(&world, 0);
    let file = world.ok(nr::MEMFD_CREATE, &[NAME, 0]);
    let both = IN | OUT;
    let all = [
        (1, both),
        (file, both),
        (reader, both),
        (writer, both),
        (one, both),
        (99, both),
        (number(-1), both),
        // Asked for nothing.
        (writer, 0),
    ];
    let (count, events) = poll(&world, &all, -1);
    assert_eq!(events, [both, both, 0, OUT, OUT, NVAL, 0, 0]);
    assert_eq!(count, 5);
    world.ok(nr::WRITE, &[writer, BUFFER, 1]);
    world.ok(nr::WRITE, &[other, BUFFER, 1]);
    let wanted = [(reader, both), (one, both)];
    assert_eq!(poll(&world, &wanted, 0), (2, vec![IN, both]));
    world.ok(nr::READ, &[reader, BUFFER, 1]);
    world.ok(nr::READ, &[one, BUFFER, 1]);
    assert_eq!(poll(&world, &[(reader, IN)], 0), (0, vec![0]));
    // A full pipe; an end without the other.
    for _ in 0..16 {
        world.ok(nr::WRITE, &[writer, BUFFER, PAGE]);
    }
    assert_eq!(poll(&world, &[(writer, OUT)], 0), (0, vec![0]));
    assert_eq!(world.call(nr::CLOSE, &[reader]), 0);
    assert_eq!(poll(&world, &[(writer, 0)], -1), (1, vec![ERR]));
    let [reader, writer] = pipe(&world);
    assert_eq!(world.call(nr::CLOSE, &[writer]), 0);
    assert_eq!(poll(&world, &[(reader, IN)], -1), (1, vec![HUP]));
    // To a socket its end is something to be read: POLLRDHUP as well.
    assert_eq!(world.call(nr::CLOSE, &[other]), 0);
    let hung_up = [(one, both | 0x2000)];
    assert_eq!(poll(&world, &hung_up, -1), (1, vec![both | HUP | 0x2000]));
    let call = |list, count, timeout| world.call(nr::POLL, &[list, count, timeout]);
    assert_eq!(call(LIST, 1025, 0), error(Errno::Invalid));
    assert_eq!(call(NOWHERE, 1, 0), error(Errno::Fault));
    assert_eq!(call(NOWHERE, 0, 0), 0);
}

pub(crate) fn a_poll_waits_for_any_of_several() {
    let machine = machine(2);
    let world = World::new(&machine);
    world.set_clock(1000);
    let [first, _] = pipe(&world);
    let [second, writer] = pipe(&world);
    let thread = world.thread();
    world.run(1, thread);
    let wanted = [(first, IN), (second, IN)];
    put_polled(&world, &wanted);
    for timeout in [-1, 20] {
        world.blocks(0, nr::POLL, &[LIST, 2, number(timeout)]);
        assert_eq!(world.call_on(1, nr::WRITE, &[writer, BUFFER, 1]), 1);
        assert_eq!(world.goes_on(0, 1), 1);
        assert_eq!(found(&world, 2), [0, IN]);
        world.ok(nr::READ, &[second, BUFFER, 1]);
    }
    // Somebody else was faster: it waits on, for the rest of its time.
    world.blocks(0, nr::POLL, &[LIST, 2, 20]);
    assert_eq!(world.call_on(1, nr::WRITE, &[writer, BUFFER, 1]), 1);
    assert_eq!(world.call_on(1, nr::READ, &[second, BUFFER, 1]), 1);
    world.set_clock(1000 + 20 * MILLISECOND - 1);
    assert_eq!(world.resume(0, 1), Outcome::Blocked);
    world.set_clock(1000 + 20 * MILLISECOND);
    assert_eq!(world.goes_on(0, 1), 0);
    assert_eq!(found(&world, 2), [0, 0]);
    // A handler ends it, SA_RESTART or not.
    world.handle(USR1, 0x1000_0000, 0);
    world.blocks(0, nr::POLL, &[LIST, 2, number(-1)]);
    assert_eq!(world.call_on(1, nr::TGKILL, &[1, 1, number(USR1)]), 0);
    world.run(0, 1);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rax.cast_signed(), error(Errno::Interrupted));
    // Nothing but time.
    world.blocks(0, nr::POLL, &[0, 0, 1]);
    world.set_clock(1000 + 22 * MILLISECOND);
    assert_eq!(world.goes_on(0, 1), 0);
}
