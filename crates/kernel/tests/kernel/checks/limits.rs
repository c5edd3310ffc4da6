//! Bad pointers, exhaustion, and arguments of every kind: an error each time, and never anything worse.

use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::{Config, ExitStatus, Outcome};

use super::rig::*;

pub(crate) fn every_bad_pointer_is_efault() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.set_clock(0);
    world.ok(nr::PIPE2, &[SCRATCH, 0]);
    world.put(SCRATCH, b"/bin\0");
    let child = number(world.fork());
    world.ok(nr::PTRACE, &[16, child, 0, 0]);
    assert_eq!(world.resume(0, 2), Outcome::Blocked);
    world.run(0, 1);
    world.ok(nr::WAIT4, &[child, 0, 0, 0]);
    let (good, list) = (SCRATCH + PAGE, SCRATCH + 2 * PAGE);
    world.put_words(list, &[good, 8, 0]);
    let key = world.map_keyed(ARENA, 1, 1);
    // Nothing there, the end of what is there, the kernel's, not canonical, behind a closed key.
    let bad = [
        NOWHERE,
        SCRATCH + 16 * PAGE - 1,
        0x7FFF_FFFF_EFFF,
        0x7FFF_FFFF_FFFF,
        1 << 47,
        0xFFFF_8000_0000_0000,
        u64::MAX - 3,
        ARENA,
        8,
    ];
    assert_eq!(world.pkru(0) >> (2 * key) & 1, 1);
    for at in bad {
        let table: &[(u64, &[u64])] = &[
            (nr::RT_SIGACTION, &[10, at, 0, 8]),
            (nr::RT_SIGACTION, &[10, 0, at, 8]),
            (nr::RT_SIGPROCMASK, &[0, at, 0, 8]),
            (nr::RT_SIGPROCMASK, &[0, 0, at, 8]),
            (nr::RT_SIGPENDING, &[at, 8]),
            (nr::SIGALTSTACK, &[at, 0]),
            (nr::SIGALTSTACK, &[0, at]),
            (nr::PIPE2, &[at, 0]),
            (nr::MEMFD_CREATE, &[at, 0]),
            (nr::OPEN, &[at, 0]),
            (nr::WRITE, &[4, at, 8]),
            (nr::WRITE, &[1, at, 8]),
            (nr::VMSPLICE, &[4, at, 1, 0]),
            (nr::EXECVE, &[at, 0, 0]),
            (nr::EXECVE, &[SCRATCH, at, 0]),
            (nr::EXECVE, &[SCRATCH, 0, at]),
            (nr::PROCESS_VM_READV, &[1, at, 1, list, 1, 0]),
            (nr::PROCESS_VM_READV, &[1, list, 1, at, 1, 0]),
            (nr::PROCESS_VM_WRITEV, &[1, at, 1, list, 1, 0]),
            (nr::PROCESS_VM_WRITEV, &[1, list, 1, at, 1, 0]),
            // PEEKDATA, GETREGSET, SETREGSET.
            (nr::PTRACE, &[2, child, good, at]),
            (nr::PTRACE, &[0x4204, child, 1, at]),
            (nr::PTRACE, &[0x4205, child, 1, at]),
            (nr::FUTEX, &[at & !3, 0, 5, 0]),
            (nr::FUTEX, &[good, 0, 0, at]),
            (nr::WRITEV, &[1, at, 1]),
            (nr::READV, &[0, at, 1]),
            (nr::NANOSLEEP, &[at, 0]),
            (nr::CLOCK_NANOSLEEP, &[1, 0, at, 0]),
            (nr::CLOCK_GETTIME, &[1, at]),
            (nr::CLOCK_GETRES, &[1, at]),
            (nr::GETTIMEOFDAY, &[at, 0]),
            (nr::TIME, &[at]),
            (nr::POLL, &[at, 1, 0]),
            (nr::FSTAT, &[1, at]),
            (nr::STATX, &[1, SCRATCH + 8 * PAGE, 0x1000, 0xFFF, at]),
            (nr::OPENAT, &[1, at, 0]),
            (nr::READLINK, &[at, good, 8]),
            (nr::SOCKETPAIR, &[1, 1, 0, at]),
            (nr::UNAME, &[at]),
            (nr::PRCTL, &[16, at]),
            (nr::ARCH_PRCTL, &[0x1003, at]),
            (nr::PRLIMIT64, &[0, 3, at, 0]),
            (nr::PRLIMIT64, &[0, 3, 0, at]),
            (nr::SCHED_GETAFFINITY, &[0, 8, at]),
            (nr::GETCPU, &[at, 0]),
            (nr::GET_ROBUST_LIST, &[0, at, good]),
            (nr::RT_SIGSUSPEND, &[at, 8]),
            (nr::RT_SIGTIMEDWAIT, &[at, 0, 0, 8]),
            (nr::CLONE3, &[at, 88]),
        ];
        for (call, args) in table {
            // A word that is aligned lies in the last page that is there.
            let is_word = *call == nr::FUTEX && args[0] != good;
            // And the console shows the one byte that is there.
            let is_console = *call == nr::WRITE && args[0] == 1;
            if at == SCRATCH + 16 * PAGE - 1 && (is_word || is_console) {
                continue;
            }
            assert_eq!(
                world.call(*call, args),
                error(Errno::Fault),
                "{call} {args:x?}"
            );
        }
    }
    // Nothing has come of it.
    assert_eq!(world.call(nr::CLOSE, &[5]), error(Errno::BadDescriptor));
    assert_eq!(world.regs(0).rip, CODE);
}

pub(crate) fn a_status_that_cannot_be_told_is_lost() {
    let machine = machine(1);
    let world = World::new(&machine);
    for args in [[NOWHERE, 0], [0, NOWHERE]] {
        let child = world.fork();
        assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
        let wait = [number(-1), args[0], 0, args[1]];
        assert_eq!(world.call(nr::WAIT4, &wait), error(Errno::Fault));
        assert_eq!(world.call(nr::WAIT4, &wait), error(Errno::NoChild));
    }
}

pub(crate) fn there_is_an_end_to_threads_and_memory() {
    let machine = machine(1);
    let world = World::with(
        &machine,
        Config {
            max_threads: 5,
            ..Config::default()
        },
    );
    for _ in 0..4 {
        world.thread();
    }
    let again = error(Errno::Again);
    assert_eq!(world.call(nr::CLONE, &[THREAD, STACK]), again);
    assert_eq!(world.call(nr::FORK, &[]), again);
    assert_eq!(world.kernel.counts(), (1, 5));
    // Memory: at every point at which it can run out, the call fails and leaves nothing.
    let machine = super::rig::machine(1);
    let world = World::new(&machine);
    for page in 0..16 {
        assert_eq!(world.write(0, SCRATCH + page * PAGE, 1), Ok(()));
    }
    world.put(SCRATCH, b"/bin\0");
    let before = machine.memory().allocated_bytes();
    let mut failed = 0;
    for nr_pages in 0..64 {
        machine.memory().set_limit_bytes(before + nr_pages * PAGE);
        let result = world.call(nr::FORK, &[]);
        if result < 0 {
            assert_eq!(result, error(Errno::NoMemory));
            assert_eq!(machine.memory().allocated_bytes(), before);
            failed += 1;
            continue;
        }
        assert_eq!(world.call(nr::KILL, &[result.cast_unsigned(), 9]), 0);
        assert_eq!(world.call(nr::WAIT4, &[number(-1), 0, 0, 0]), result);
        break;
    }
    assert!(failed > 3, "{failed}");
    machine
        .memory()
        .set_limit_bytes(machine.memory().allocated_bytes());
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, 0, 0]),
        error(Errno::NoMemory)
    );
    // No memory for a page that a program touches: there is nothing to tell it but SIGKILL.
    machine
        .memory()
        .set_limit_bytes(machine.memory().allocated_bytes() + 2 * PAGE);
    world.map(0, ARENA, 8);
    let mut outcome = Ok(());
    for page in 0..8 {
        outcome = outcome.and_then(|()| world.write(0, ARENA + page * PAGE, 1));
    }
    assert_eq!(outcome, Err(killed(9)));
    drop(world);
    assert_eq!(machine.memory().allocated_bytes(), 0);
}

pub(crate) fn queues_have_an_end() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(40, 0, 0);
    world.set_mask(1 << 39);
    let send = || world.call(nr::TGKILL, &[1, 1, 40]);
    let sent = (0..5000).take_while(|_| send() == 0).count();
    assert_eq!(sent, 1024);
    assert_eq!(send(), error(Errno::Again));
    // The pending set, and the signals, one by one.
    assert_eq!(world.ok(nr::RT_SIGPENDING, &[SCRATCH, 8]), 0);
    assert_eq!(world.word(SCRATCH), 1 << 39);
    assert_eq!(
        world.call(nr::RT_SIGPENDING, &[SCRATCH, 9]),
        error(Errno::Invalid)
    );
    world.sigaction(40, [1, 0, 0, 0]);
    assert_eq!(world.ok(nr::RT_SIGPENDING, &[SCRATCH, 8]), 0);
    assert_eq!(world.word(SCRATCH), 0);
}

pub(crate) fn wrong_arguments_of_the_signal_calls() {
    let machine = machine(1);
    let world = World::new(&machine);
    let invalid = error(Errno::Invalid);
    let fault = error(Errno::Fault);
    let table: &[(u64, &[u64], i64)] = &[
        (nr::RT_SIGACTION, &[10, NOWHERE, 0, 7], invalid),
        (nr::RT_SIGACTION, &[0, NOWHERE, 0, 8], fault),
        (nr::RT_SIGACTION, &[0, SCRATCH, 0, 8], invalid),
        (nr::RT_SIGACTION, &[65, 0, 0, 8], invalid),
        (nr::RT_SIGACTION, &[9, SCRATCH, 0, 8], invalid),
        (nr::RT_SIGACTION, &[19, SCRATCH, 0, 8], invalid),
        (nr::RT_SIGACTION, &[9, 0, SCRATCH, 8], 0),
        (nr::RT_SIGACTION, &[64, SCRATCH, 0, 8], 0),
        (nr::RT_SIGPROCMASK, &[0, 0, 0, 16], invalid),
        (nr::RT_SIGPROCMASK, &[3, SCRATCH, 0, 8], invalid),
        (nr::RT_SIGPROCMASK, &[3, NOWHERE, 0, 8], fault),
        (nr::RT_SIGPROCMASK, &[3, 0, 0, 8], 0),
        (nr::VMSPLICE, &[99, NOWHERE, 1, 0x10], invalid),
        (
            nr::VMSPLICE,
            &[99, NOWHERE, 1, 0],
            error(Errno::BadDescriptor),
        ),
        (nr::VMSPLICE, &[1, NOWHERE, 1, 0], fault),
        (nr::VMSPLICE, &[1, NOWHERE, 0, 0], 0),
        (nr::VMSPLICE, &[1, NOWHERE, 1025, 0], invalid),
        (nr::SET_TID_ADDRESS, &[NOWHERE], 1),
        (nr::SCHED_YIELD, &[], 0),
        (500, &[], error(Errno::NoSystemCall)),
        (u64::MAX, &[], error(Errno::NoSystemCall)),
        (4, &[], error(Errno::NoSystemCall)),
    ];
    for (call, args, expected) in table {
        assert_eq!(world.call(*call, args), *expected, "{call} {args:x?}");
    }
}

/// Every call with every combination of telling arguments, in every order: no panic, and no memory lost.
pub(crate) fn random_calls_break_nothing() {
    let machine = machine(2);
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let calls = [
        0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 25, 28, 32, 33,
        34, 35, 39, 44, 45, 53, 54, 56, 57, 59, 60, 61, 62, 63, 72, 77, 79, 89, 96, 101, 110, 127,
        128, 130, 131, 157, 158, 186, 200, 201, 202, 204, 218, 228, 229, 230, 231, 234, 257, 262,
        267, 273, 274, 278, 292, 293, 302, 309, 310, 311, 318, 319, 329, 330, 331, 332, 334, 435,
        462, 0x1000, 0x1001, 0x1002,
    ];
    let values = [
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        9,
        10,
        11,
        16,
        17,
        18,
        19,
        34,
        50,
        64,
        128,
        4095,
        4096,
        8192,
        0x4204,
        0x4205,
        0x4206,
        0x4207,
        SCRATCH,
        SCRATCH + 8,
        SCRATCH + PAGE,
        STACK,
        ARENA,
        ARENA + PAGE,
        NOWHERE,
        CODE,
        THREAD,
        0x1_0F11,
        // F_DUPFD_CLOEXEC, ARCH_SET_FS, ARCH_GET_FS, FIOCLEX, AT_FDCWD.
        1030,
        0x1002,
        0x1003,
        0x5451,
        number(-100),
        1 << 31,
        1 << 47,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 7,
        0x7FFF_FFFF_F000,
    ];
    for round in 0..300 {
        let config = if round % 2 == 0 {
            amd()
        } else {
            Config::default()
        };
        let world = World::with(&machine, config);
        world.handle(USR1, 0x0800_0000, 0);
        world.handle(SEGV, 0x4000_0000, 0);
        world.host().random.set(Some(7));
        for step in 0..120 {
            if round % 3 != 0 {
                world.set_clock(step * 1000);
            }
            let cpu = u32::try_from(next(2)).unwrap();
            let words =
                [(); 8].map(|()| values[usize::try_from(next(values.len() as u64)).unwrap()]);
            if let Some(space) = world.processor(cpu).space() {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let _ = space.write_remote(&world.cpu(cpu), SCRATCH, &bytes, true);
            }
            let call = calls[usize::try_from(next(calls.len() as u64)).unwrap()];
            let args = &words[..6];
            let outcome = match step % 8 {
                7 => match world.kernel.ready() {
                    ready if ready.is_empty() => Outcome::Idle,
                    ready => {
                        let at = usize::try_from(next(ready.len() as u64)).unwrap();
                        world.resume(cpu, ready[at])
                    }
                },
                6 if world.processor(cpu).current().is_some() => world
                    .write(cpu, words[7], 1)
                    .err()
                    .unwrap_or(Outcome::Resume),
                5 => world.deliver(cpu),
                _ => world.enter(cpu, call, args),
            };
            if outcome == Outcome::ProcessEnded(ExitStatus::Exited(0))
                && world.kernel.counts().0 == 0
            {
                break;
            }
        }
        // Everybody ends, wherever they are.
        for cpu in [0, 1] {
            world.kernel.idle(world.processor(cpu), &world.regs(cpu));
        }
        for _ in 0..10_000 {
            let ready = world.kernel.ready();
            let Some(tid) = ready.first() else { break };
            if world.resume(0, *tid) == Outcome::Resume {
                let _ = world.enter(0, nr::EXIT_GROUP, &[0]);
            }
        }
        let (_, threads) = world.kernel.counts();
        drop(world);
        assert_eq!(
            machine.memory().allocated_bytes(),
            0,
            "round {round}, {threads} threads"
        );
    }
}
