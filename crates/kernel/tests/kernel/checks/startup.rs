//! What a program asks for before and beside its work: the bases of its segments, its heap, who and where it is, how much
//! it may have, random bytes, and threads the new way.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::platform::Program;

use super::rig::*;

const BUFFER: u64 = SCRATCH + 4 * PAGE;
const FS: [u64; 2] = [0x1002, 0x1003];
const GS: [u64; 2] = [0x1001, 0x1004];

pub(crate) fn bases_belong_to_a_thread_and_survive_signals() {
    let machine = machine(2);
    let world = World::new(&machine);
    for (at, [set, get]) in (1..).zip([FS, GS]) {
        let prctl = |op, arg| world.call(nr::ARCH_PRCTL, &[op, arg]);
        assert_eq!(prctl(set, at * 0x1000), 0);
        assert_eq!(prctl(get, BUFFER), 0);
        assert_eq!(world.word(BUFFER), at * 0x1000);
        for high in [0x7FFF_FFFF_F000, 1 << 47, u64::MAX] {
            assert_eq!(prctl(set, high), error(Errno::Perm));
        }
        assert_eq!(prctl(get, NOWHERE), error(Errno::Fault));
        assert_eq!(prctl(0x1010, 0), error(Errno::Invalid));
    }
    let bases = |cpu| (world.regs(cpu).fs_base, world.regs(cpu).gs_base);
    assert_eq!(bases(0), (0x1000, 0x2000));
    // A handler has them, and so has who returns from it, whatever the handler's own are.
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert!(world.is_in_handler());
    assert_eq!(bases(0), (0x1000, 0x2000));
    world.ok(nr::ARCH_PRCTL, &[FS[0], 0x3000]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(bases(0), (0x3000, 0x2000));
    // Another thread has its own, on whichever CPU.
    let thread = world.thread();
    world.run(1, thread);
    assert_eq!(bases(1), (0x3000, 0x2000));
    assert_eq!(world.call_on(1, nr::ARCH_PRCTL, &[FS[0], 0x5000]), 0);
    world.kernel.idle(world.processor(1), &world.regs(1));
    world.run(0, thread);
    assert_eq!(bases(0), (0x5000, 0x2000));
    world.run(0, 1);
    assert_eq!(bases(0), (0x3000, 0x2000));
    world.put(SCRATCH, b"/bin\0");
    assert_eq!(world.call(nr::EXECVE, &[SCRATCH, 0, 0]), 0);
    assert_eq!(bases(0), (0, 0));
}

const HEAP: u64 = 0x6000_0000;

pub(crate) fn a_heap_grows_and_shrinks_at_its_end() {
    let machine = machine(1);
    let world = World::new(&machine);
    let brk = |wanted| world.call(nr::BRK, &[wanted]).cast_unsigned();
    // There is none until somebody says where it starts.
    assert_eq!([brk(0), brk(HEAP)], [0, 0]);
    let space = world.processor(0).space().unwrap();
    space.set_brk_start(HEAP);
    assert_eq!([brk(0), brk(HEAP - 1), brk(u64::MAX)], [HEAP; 3]);
    assert!(space.mapping(HEAP).is_none());
    assert_eq!(brk(HEAP + 10), HEAP + 10);
    assert_eq!(world.write(0, HEAP + PAGE - 1, 7), Ok(()));
    assert_eq!(brk(HEAP + 3 * PAGE), HEAP + 3 * PAGE);
    let mapping = space.mapping(HEAP).unwrap();
    assert_eq!((mapping.start, mapping.end), (HEAP, HEAP + 3 * PAGE));
    assert_eq!(world.write(0, HEAP + 2 * PAGE, 7), Ok(()));
    assert_eq!(brk(HEAP + PAGE + 1), HEAP + PAGE + 1);
    assert!(space.mapping(HEAP + 2 * PAGE).is_none());
    // What was given back comes back as zeros.
    assert_eq!(brk(HEAP + 3 * PAGE), HEAP + 3 * PAGE);
    assert_eq!(world.read(0, HEAP + 2 * PAGE), Ok(0));
    assert_eq!(world.read(0, HEAP + PAGE - 1), Ok(7));
    // A key of the heap is not that of what is added.
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    world.ok(nr::PKEY_MPROTECT, &[HEAP, 3 * PAGE, RW, key]);
    brk(HEAP + 4 * PAGE);
    let keys = [2, 3].map(|page| space.mapping(HEAP + page * PAGE).unwrap().pkey.get());
    assert_eq!(keys.map(u64::from), [key, 0]);
    // Up to a page before the next mapping, and not over it.
    world.map(0, HEAP + 8 * PAGE, 1);
    assert_eq!(brk(HEAP + 8 * PAGE), HEAP + 4 * PAGE);
    assert_eq!(brk(HEAP + 7 * PAGE + 1), HEAP + 4 * PAGE);
    assert_eq!(brk(HEAP + 10 * PAGE), HEAP + 4 * PAGE);
    assert_eq!(brk(HEAP + 7 * PAGE), HEAP + 7 * PAGE);
    // A heap that was unmapped by other means does not shrink there.
    world.ok(nr::MUNMAP, &[HEAP + 6 * PAGE, PAGE]);
    assert_eq!(brk(HEAP + 6 * PAGE), HEAP + 7 * PAGE);
    assert_eq!(brk(HEAP + 5 * PAGE), HEAP + 5 * PAGE);
    // A child has the same; a new program has none.
    let child = world.fork();
    world.run(0, child);
    assert_eq!(brk(0), HEAP + 5 * PAGE);
    assert_eq!(brk(HEAP), HEAP);
    assert!(world.processor(0).space().unwrap().mapping(HEAP).is_none());
    world.put(SCRATCH, b"/bin\0");
    assert_eq!(world.call(nr::EXECVE, &[SCRATCH, 0, 0]), 0);
    assert_eq!(brk(0), 0);
    world.run(0, 1);
    assert_eq!(brk(0), HEAP + 5 * PAGE);
}

pub(crate) fn a_program_learns_where_it_is() {
    let machine = machine(3);
    let world = World::new(&machine);
    assert_eq!(world.call(nr::UNAME, &[BUFFER]), 0);
    let field = |at: u64| {
        let bytes: [u8; 65] = world.get(BUFFER + at * 65);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    assert_eq!(field(0), "Linux");
    assert!(field(2).starts_with("6.12."));
    assert!(field(3).starts_with("pkeys-kernel "));
    assert_eq!(field(4), "x86_64");
    for call in [nr::GETUID, nr::GETEUID, nr::GETGID, nr::GETEGID] {
        assert_eq!(world.call(call, &[]), 0);
    }
    // Three CPUs, of which this is the first.
    let affinity = |tid, len, at| world.call(nr::SCHED_GETAFFINITY, &[tid, len, at]);
    assert_eq!(affinity(0, 128, BUFFER), 8);
    assert_eq!(world.word(BUFFER), 0b111);
    let [invalid, none, fault] = [Errno::Invalid, Errno::NoProcess, Errno::Fault].map(error);
    assert_eq!(
        [affinity(0, 0, BUFFER), affinity(0, 12, BUFFER)],
        [invalid; 2]
    );
    assert_eq!(
        [affinity(99, 8, BUFFER), affinity(0, 8, NOWHERE)],
        [none, fault]
    );
    world.put_words(BUFFER, &[u64::MAX]);
    assert_eq!(world.call(nr::GETCPU, &[BUFFER, BUFFER + 4]), 0);
    assert_eq!(world.word(BUFFER), 0);
    assert_eq!(world.call(nr::GETCPU, &[0, 0]), 0);
    world.put_words(BUFFER, &[u64::MAX]);
    assert_eq!(world.call(nr::GETCPU, &[NOWHERE, BUFFER]), fault);
    assert_eq!(world.int(BUFFER), 0);
}

pub(crate) fn threads_have_names() {
    let machine = machine(1);
    let world = World::new(&machine);
    let (set, get) = (15, 16);
    let name = |world: &World<'_>| {
        assert_eq!(world.call(nr::PRCTL, &[get, BUFFER]), 0);
        world.get::<16>(BUFFER)
    };
    // At the very end of what is there: the bytes that count are there.
    let end = SCRATCH + 16 * PAGE;
    world.put(end - 15, b"fifteen letters");
    assert_eq!(world.call(nr::PRCTL, &[set, end - 15]), 0);
    assert_eq!(name(&world), *b"fifteen letters\0");
    world.put(SCRATCH, b"sixteen letters!");
    assert_eq!(world.call(nr::PRCTL, &[set, SCRATCH]), 0);
    assert_eq!(name(&world), *b"sixteen letters\0");
    let fault = error(Errno::Fault);
    assert_eq!(world.call(nr::PRCTL, &[set, end - 14]), fault);
    assert_eq!(world.call(nr::PRCTL, &[get, end - 15]), fault);
    // A new thread has its maker's, and then its own.
    let thread = world.thread();
    world.put(SCRATCH, b"main\0");
    assert_eq!(world.call(nr::PRCTL, &[set, SCRATCH]), 0);
    world.run(0, thread);
    assert_eq!(name(&world), *b"sixteen letters\0");
    world.run(0, 1);
    assert_eq!(name(&world), *b"main\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(world.call(nr::PRCTL, &[77, 0]), error(Errno::Invalid));
}

pub(crate) fn a_child_can_die_with_its_parent() {
    let machine = machine(2);
    let world = World::new(&machine);
    let invalid = error(Errno::Invalid);
    for bad in [65, number(-1), 1 << 32] {
        assert_eq!(world.call(nr::PRCTL, &[1, bad]), invalid);
    }
    assert_eq!(world.call(nr::PRCTL, &[2, NOWHERE]), error(Errno::Fault));
    // One wants SIGKILL, its brother wants nothing; what is wanted is not inherited.
    let parent = world.fork();
    world.run(0, parent);
    let children = [world.fork(), world.fork()];
    world.run(1, children[0]);
    assert_eq!(world.call_on(1, nr::PRCTL, &[1, 9]), 0);
    assert_eq!(world.call_on(1, nr::PRCTL, &[2, BUFFER]), 0);
    assert_eq!(i32::from_le_bytes(world.get_on(1, BUFFER)), 9);
    let grandchild = world.call_on(1, nr::FORK, &[]);
    world.kernel.idle(world.processor(1), &world.regs(1));
    let ended = world.enter(0, nr::EXIT_GROUP, &[0]);
    assert!(matches!(ended, Outcome::ProcessEnded(_)));
    let grandchild = i32::try_from(grandchild).unwrap();
    assert_eq!(world.kernel.ready(), [1, children[1], grandchild]);
}

pub(crate) fn limits_are_told_and_those_that_are_kept_can_be_changed() {
    const INFINITE: u64 = u64::MAX;
    let machine = machine(1);
    let world = World::new(&machine);
    let limit = |pid, resource, new, old| world.call(nr::PRLIMIT64, &[pid, resource, new, old]);
    let get = |resource| {
        assert_eq!(limit(0, resource, 0, BUFFER), 0);
        [world.word(BUFFER), world.word(BUFFER + 8)]
    };
    let set = |resource, soft, hard| {
        world.put_words(BUFFER + 64, &[soft, hard]);
        limit(0, resource, BUFFER + 64, 0)
    };
    assert_eq!(get(3), [8 << 20, INFINITE]);
    assert_eq!(get(4), [0, INFINITE]);
    assert_eq!(get(6), [4096, 4096]);
    assert_eq!(get(7), [1024, 1024]);
    assert_eq!(get(13), [0, 0]);
    for unlimited in [0, 1, 2, 5, 8, 9, 10, 11, 12, 15] {
        assert_eq!(get(unlimited), [INFINITE; 2]);
    }
    let [invalid, perm, none, fault, missing] = [
        Errno::Invalid,
        Errno::Perm,
        Errno::NoProcess,
        Errno::Fault,
        Errno::NoSystemCall,
    ]
    .map(error);
    assert_eq!(set(3, 1 << 20, 1 << 30), 0);
    assert_eq!(get(3), [1 << 20, 1 << 30]);
    assert_eq!(set(3, 5, 4), invalid);
    assert_eq!(set(7, 1024, 1025), perm);
    // What nobody keeps to is not said to be set; what is so already is.
    assert_eq!(set(9, 1 << 30, INFINITE), missing);
    assert_eq!(set(9, INFINITE, INFINITE), 0);
    assert_eq!(limit(0, 16, BUFFER, 0), invalid);
    assert_eq!(limit(99, 16, BUFFER, 0), none);
    assert_eq!(limit(99, 16, NOWHERE, 0), fault);
    assert_eq!(limit(0, 3, 0, NOWHERE), fault);
    // Descriptors: 0 to 4, of which three are there.
    assert_eq!(set(7, 5, 9), 0);
    assert_eq!(
        [0; 3].map(|_: i32| world.call(nr::DUP, &[1])),
        [3, 4, error(Errno::TooManyFiles)]
    );
    // A child has the same, and another's can be told.
    let child = world.fork();
    assert_eq!(limit(number(child), 7, 0, BUFFER), 0);
    assert_eq!([world.word(BUFFER), world.word(BUFFER + 8)], [5, 9]);
    // Whoever is not the first user raises nothing.
    let config = pkeys_kernel::Config {
        uid: 1000,
        ..pkeys_kernel::Config::default()
    };
    let world = World::with(&machine, config);
    world.put_words(BUFFER, &[0, 10]);
    let limit = |new| world.call(nr::PRLIMIT64, &[0, 4, new, 0]);
    assert_eq!(limit(BUFFER), 0);
    world.put_words(BUFFER, &[0, 11]);
    assert_eq!(limit(BUFFER), perm);
}

pub(crate) fn random_bytes_come_from_the_kernel_around() {
    let machine = machine(1);
    let world = World::new(&machine);
    let random = |at, len, flags| world.call(nr::GETRANDOM, &[at, len, flags]);
    assert_eq!(random(BUFFER, 8, 0), error(Errno::NoSystemCall));
    world.host().random.set(Some(0x5A));
    assert_eq!(random(BUFFER, 1000, 1), 1000);
    assert_eq!(world.get::<1001>(BUFFER)[999..], [0x5A, 0]);
    assert_eq!(random(BUFFER, 8, 5), 8);
    for flags in [8, 6, 7] {
        assert_eq!(random(NOWHERE, 8, flags), error(Errno::Invalid));
    }
    // Up to what is there.
    assert_eq!(random(SCRATCH + 16 * PAGE - 3, 600, 0), 3);
    assert_eq!(random(NOWHERE, 8, 0), error(Errno::Fault));
    assert_eq!(random(u64::MAX, 8, 0), error(Errno::Fault));
    assert_eq!(random(NOWHERE, 0, 0), 0);
}

pub(crate) fn a_thread_is_made_the_new_way() {
    let machine = machine(1);
    let world = World::new(&machine);
    let stack = SCRATCH + 8 * PAGE;
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let thread = [
        THREAD | 0x138_0000,
        0,
        BUFFER,
        BUFFER + 8,
        0,
        stack,
        PAGE,
        0x7000,
        0,
        0,
        0,
    ];
    let clone = |words: &[u64]| {
        world.put_words(SCRATCH, words);
        world.enter(0, nr::CLONE3, &[SCRATCH, words.len() as u64 * 8])
    };
    let result = |words: &[u64]| {
        assert_eq!(clone(words), Outcome::Resume);
        world.regs(0).rax.cast_signed()
    };
    for len in [8, 11] {
        let tid = i32::try_from(result(&thread[..len])).unwrap();
        assert_eq!(world.int(BUFFER + 8), tid);
        world.run(0, tid);
        let regs = world.regs(0);
        assert_eq!(
            (regs.rsp, regs.fs_base, regs.rax),
            (stack + PAGE, 0x7000, 0)
        );
        assert_eq!(world.int(BUFFER), tid);
        assert_eq!(world.enter(0, nr::EXIT, &[0]), Outcome::ThreadEnded);
        world.run(0, 1);
        assert_eq!(world.int(BUFFER), 0);
    }
    // A process, and one that begins without handlers but ignores what was ignored.
    world.handle(USR1, 0, 0);
    world.sigaction(USR2, [1, 0, 0, 0]);
    for (flags, handler) in [(0, HANDLER), (1 << 32, 0)] {
        let child = i32::try_from(result(&[flags, 0, 0, 0, 17, 0, 0, 0])).unwrap();
        world.run(0, child);
        for (signo, expected) in [(USR1, handler), (USR2, 1)] {
            world.ok(nr::RT_SIGACTION, &[number(signo), 0, BUFFER, 8]);
            assert_eq!(world.word(BUFFER), expected);
        }
        assert!(matches!(
            world.enter(0, nr::EXIT, &[0]),
            Outcome::ProcessEnded(_)
        ));
        world.run(0, 1);
    }
    let with = |at: usize, word| {
        let mut words = [0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
        words[at] = word;
        words
    };
    let invalid = error(Errno::Invalid);
    for (at, word) in [
        (0, 17),
        (0, 0x1000),
        (0, 0x40_0000),
        (0, 0x1_0800),
        (0, 1 << 33),
        (0, 0x8000),
        (4, 65),
        (4, u64::MAX),
        (5, stack),
        (6, PAGE),
        (8, 1),
        (9, 1),
    ] {
        assert_eq!(result(&with(at, word)), invalid, "{at} {word:#x}");
    }
    let both = [0x1_0000_0800, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(result(&both), invalid);
    let high = [0, 0, 0, 0, 17, u64::MAX - 5, 100, 0];
    assert_eq!(result(&high), invalid);
    // Of a structure that is longer than what is known the rest has to be zeros.
    let mut longer = [0; 12];
    longer[11] = 1 << 63;
    assert_eq!(result(&longer), error(Errno::TooBig));
    let call = |at, len| world.call(nr::CLONE3, &[at, len]);
    assert_eq!(call(SCRATCH, 63), invalid);
    assert_eq!(call(SCRATCH, 4097), error(Errno::TooBig));
    assert_eq!(call(NOWHERE, 64), error(Errno::Fault));
    // Two children that nobody has waited for.
    assert_eq!(world.kernel.counts(), (3, 1));
}

pub(crate) fn what_is_not_there_is_named() {
    let machine = machine(1);
    let world = World::new(&machine);
    let none = error(Errno::NoSystemCall);
    // userfaultfd and 4,711; rseq is known.
    for call in [323, 4711, nr::RSEQ] {
        assert_eq!(world.call(call, &[]), none);
    }
    assert_eq!(*world.host().unknown.borrow(), [323, 4711]);
}

pub(crate) fn a_program_can_be_the_first() {
    let machine = machine(1);
    let world = World::new(&machine);
    let program = Program {
        path: b"/bin/first".to_vec(),
        argv: vec![b"first".to_vec()],
        envp: Vec::new(),
    };
    let pid = world.kernel.spawn(world.processor(0), &program).unwrap();
    assert_eq!(*world.host().programs.borrow(), [program]);
    world.run(0, pid);
    assert_eq!((world.regs(0).rip, world.regs(0).rsp), (CODE, STACK_TOP));
    world.put(SCRATCH, b"/proc/self/exe\0");
    assert_eq!(world.call(nr::READLINK, &[SCRATCH, BUFFER, 99]), 10);
    assert_eq!(world.get::<10>(BUFFER), *b"/bin/first");
    assert_eq!(world.call(nr::PRCTL, &[16, BUFFER]), 0);
    assert_eq!(world.get::<6>(BUFFER), *b"first\0");
}
