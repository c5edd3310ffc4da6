//! The few names that there are, and what is behind them.

use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const PATH: u64 = SCRATCH + 512;
const BUFFER: u64 = SCRATCH + 4 * PAGE;
/// `AT_FDCWD`.
const HERE: u64 = (-100_i64).cast_unsigned();

fn open(world: &World<'_>, path: &str, flags: u64) -> i64 {
    put_path(world, path);
    world.call(nr::OPENAT, &[HERE, PATH, flags])
}

fn put_path(world: &World<'_>, path: &str) {
    world.put(PATH, path.as_bytes());
    world.put(PATH + path.len() as u64, &[0]);
}

fn opened(world: &World<'_>, path: &str, flags: u64) -> u64 {
    let fd = open(world, path, flags);
    assert!(fd >= 0, "{path}: {fd}");
    fd.cast_unsigned()
}

/// Everything that can be read from a descriptor, in small pieces.
fn read_all(world: &World<'_>, fd: u64) -> String {
    let mut text = Vec::new();
    loop {
        let len = world.ok(nr::READ, &[fd, BUFFER, 50]);
        if len == 0 {
            return String::from_utf8(text).unwrap();
        }
        let bytes: [u8; 50] = world.get(BUFFER);
        text.extend_from_slice(&bytes[..usize::try_from(len).unwrap()]);
    }
}

pub(crate) fn paths_lead_nowhere_but_to_the_process_itself() {
    let machine = machine(1);
    let world = World::new(&machine);
    let [none, folder, bad, fault, invalid] = [
        Errno::NoEntry,
        Errno::NotDirectory,
        Errno::BadDescriptor,
        Errno::Fault,
        Errno::Invalid,
    ]
    .map(error);
    for (from, path, expected) in [
        (HERE, "nowhere", none),
        (HERE, "/nowhere", none),
        (HERE, "", none),
        (1, "nowhere", folder),
        (99, "nowhere", bad),
        (99, "/nowhere", none),
        (99, "", none),
    ] {
        put_path(&world, path);
        assert_eq!(world.call(nr::OPENAT, &[from, PATH, 0]), expected, "{path}");
        let link = [from, PATH, BUFFER, 9];
        assert_eq!(world.call(nr::READLINKAT, &link), expected, "{path}");
    }
    assert_eq!(world.call(nr::OPENAT, &[HERE, NOWHERE, 0]), fault);
    assert_eq!(open(&world, "/proc/self/maps", 0o100), invalid);
    for flags in [1, 2] {
        assert_eq!(open(&world, "/proc/self/maps", flags), error(Errno::Access));
    }
    assert_eq!(world.call(nr::GETCWD, &[BUFFER, 99]), none);
    // As many as there may be, and no more.
    world.put_words(BUFFER, &[4, 4]);
    world.ok(nr::PRLIMIT64, &[0, 7, BUFFER, 0]);
    assert_eq!(open(&world, "/proc/self/maps", 0), 3);
    // The number counts before the path does.
    for path in ["/proc/self/maps", "/nowhere"] {
        assert_eq!(open(&world, path, 0), error(Errno::TooManyFiles));
    }
}

pub(crate) fn a_process_reads_its_mappings() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.map_keyed(ARENA, 2, 0);
    world.ok(nr::PKEY_MPROTECT, &[ARENA, PAGE, 1, key]);
    let maps = opened(&world, "/proc/self/maps", 0);
    let lines = [
        "10000000-10010000 rw-p 00000000 00:00 0",
        "20000000-20010000 rw-p 00000000 00:00 0",
        "40000000-40001000 r--p 00000000 00:00 0",
        "40001000-40002000 rw-p 00000000 00:00 0",
    ];
    let expected: String = lines.map(|line| format!("{line}\n")).concat();
    // It is as it was when it was opened.
    world.ok(nr::MUNMAP, &[ARENA, PAGE]);
    assert_eq!(read_all(&world, maps), expected);
    assert_eq!(world.call(nr::LSEEK, &[maps, 9, 0]), 9);
    assert_eq!(read_all(&world, maps), expected[9..]);
    assert_eq!(world.call(nr::PREAD64, &[maps, BUFFER, 4, 1]), 4);
    assert_eq!(world.get::<4>(BUFFER), *b"0000");
    assert_eq!(world.call(nr::PREAD64, &[maps, BUFFER, 4, 1 << 40]), 0);
    assert_eq!(
        world.call(nr::PREAD64, &[maps, NOWHERE, 4, 1]),
        error(Errno::Fault)
    );
    let bad = error(Errno::BadDescriptor);
    assert_eq!(world.call(nr::WRITE, &[maps, BUFFER, 4]), bad);
    assert_eq!(world.call(nr::PWRITE64, &[maps, BUFFER, 4, 0]), bad);
    assert_eq!(world.call(nr::LSEEK, &[maps, 0, 2]), error(Errno::Invalid));
    let smaps = opened(&world, "/proc/self/smaps", 0);
    let text = read_all(&world, smaps);
    let found = text.split_once("40001000-40002000 rw-p").unwrap().1;
    let line = format!("ProtectionKey:  {key:8}");
    assert!(found.lines().any(|found| found == line), "{found}");
}

pub(crate) fn a_process_reads_and_writes_its_memory_past_its_keys() {
    let machine = machine(1);
    let world = World::new(&machine);
    // Closed, and read only.
    world.map_keyed(ARENA, 2, 1);
    world.put(ARENA + PAGE - 4, b"behind a key");
    world.ok(nr::MPROTECT, &[ARENA + PAGE, PAGE, 1]);
    let memory = opened(&world, "/proc/self/mem", 2);
    let at = ARENA + PAGE - 4;
    assert_eq!(world.call(nr::PREAD64, &[memory, BUFFER, 12, at]), 12);
    assert_eq!(world.get::<12>(BUFFER), *b"behind a key");
    world.put(BUFFER, b"before");
    assert_eq!(world.call(nr::PWRITE64, &[memory, BUFFER, 6, at]), 6);
    assert_eq!(world.get::<12>(at), *b"before a key");
    // At its position; no address is too high to stand at.
    assert_eq!(world.ok(nr::LSEEK, &[memory, at, 0]), at);
    assert_eq!(world.call(nr::READ, &[memory, BUFFER, 3]), 3);
    assert_eq!(world.ok(nr::LSEEK, &[memory, 0, 1]), at + 3);
    assert_eq!(world.call(nr::WRITE, &[memory, BUFFER, 3]), 3);
    assert_eq!(world.get::<6>(at), *b"befbef");
    let top = 0xFFFF_FFFF_FFFF_F000_u64;
    assert_eq!(world.call(nr::LSEEK, &[memory, top, 0]), top.cast_signed());
    let [io, fault, bad] = [Errno::Io, Errno::Fault, Errno::BadDescriptor].map(error);
    assert_eq!(world.call(nr::READ, &[memory, BUFFER, 3]), io);
    assert_eq!(
        world.call(nr::LSEEK, &[memory, 0, 2]),
        error(Errno::Invalid)
    );
    // Up to what is not there.
    let end = ARENA + 2 * PAGE;
    assert_eq!(world.call(nr::PREAD64, &[memory, BUFFER, 9, end - 4]), 4);
    assert_eq!(world.call(nr::PREAD64, &[memory, BUFFER, 9, end]), io);
    // The caller's side is accessed under its keys.
    assert_eq!(world.call(nr::PREAD64, &[memory, ARENA, 9, SCRATCH]), fault);
    let readable = opened(&world, "/proc/self/mem", 0);
    assert_eq!(world.call(nr::PWRITE64, &[readable, BUFFER, 6, at]), bad);
    assert_eq!(world.call(nr::WRITE, &[readable, BUFFER, 6]), bad);
    let writable = opened(&world, "/proc/self/mem", 1);
    assert_eq!(world.call(nr::PREAD64, &[writable, BUFFER, 6, at]), bad);
    // A new program has other memory, and what was opened before is empty.
    put_path(&world, "/bin");
    assert_eq!(world.call(nr::EXECVE, &[PATH, 0, 0]), 0);
    assert_eq!(world.call(nr::PREAD64, &[memory, BUFFER, 9, SCRATCH]), 0);
}

pub(crate) fn a_process_knows_its_program() {
    let machine = machine(1);
    let world = World::new(&machine);
    let read = |len| world.call(nr::READLINK, &[PATH, BUFFER, len]);
    put_path(&world, "/proc/self/exe");
    assert_eq!(read(99), error(Errno::NoEntry));
    put_path(&world, "/bin/a-program-of-some-length");
    assert_eq!(world.call(nr::EXECVE, &[PATH, 0, 0]), 0);
    // Its thread has the name, as far as that fits.
    assert_eq!(world.call(nr::PRCTL, &[16, BUFFER]), 0);
    assert_eq!(world.get::<16>(BUFFER), *b"a-program-of-so\0");
    put_path(&world, "/proc/self/exe");
    assert_eq!(read(99), 29);
    assert_eq!(world.get::<29>(BUFFER), *b"/bin/a-program-of-some-length");
    assert_eq!(read(4), 4);
    assert_eq!(read(0), error(Errno::Invalid));
    assert_eq!(read(number(-1)), error(Errno::Invalid));
    // It can execute it once more, and so can its child.
    let child = world.fork();
    world.run(0, child);
    put_path(&world, "/proc/self/exe");
    assert_eq!(world.call(nr::EXECVE, &[PATH, 0, 0]), 0);
    let programs = world.host().programs.borrow();
    assert_eq!(
        programs.last().unwrap().path,
        b"/bin/a-program-of-some-length"
    );
    // What is no link.
    put_path(&world, "/proc/self/maps");
    assert_eq!(read(9), error(Errno::Invalid));
}
