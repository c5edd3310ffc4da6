//! Processes: children, their ends, other programs.

use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::hardware::Cpu;
use pkeys_kernel::{Config, ExitStatus, Outcome};

use super::rig::*;

const NOHANG: u64 = 1;
const STATUS: u64 = SCRATCH + 768;

/// `wait4` for a child that has ended, without waiting: the result and the status.
fn reap(world: &World<'_>, pid: i32) -> (i64, i32) {
    let result = world.call(nr::WAIT4, &[number(pid), STATUS, NOHANG, 0]);
    (result, world.int(STATUS))
}

pub(crate) fn a_parent_hears_how_its_children_ended() {
    let machine = machine(1);
    let world = World::new(&machine);
    let nobody = error(Errno::NoChild);
    assert_eq!(reap(&world, -1).0, nobody);
    let by_itself = world.fork();
    let by_signal = world.fork();
    let by_fault = world.fork();
    assert_eq!(reap(&world, -1).0, 0);
    world.run(0, by_itself);
    let end = world.enter(0, nr::EXIT_GROUP, &[0x1FF]);
    assert_eq!(end, Outcome::ProcessEnded(ExitStatus::Exited(0xFF)));
    world.run(0, by_fault);
    assert_eq!(world.read(0, NOWHERE), Err(killed(SEGV)));
    world.run(0, 1);
    // One that is not running ends at once.
    assert_eq!(world.call(nr::KILL, &[number(by_signal), 9]), 0);
    assert_eq!(world.kernel.ended(by_signal), Some(ExitStatus::Killed(9)));
    assert_eq!(world.call(nr::KILL, &[number(by_signal), 9]), 0);
    assert_eq!(reap(&world, by_signal), (i64::from(by_signal), 9));
    assert_eq!(reap(&world, by_signal).0, nobody);
    assert_eq!(reap(&world, -1), (i64::from(by_itself), 0xFF00));
    assert_eq!(reap(&world, 0), (i64::from(by_fault), 11));
    assert_eq!(reap(&world, -1).0, nobody);
    assert_eq!(world.kernel.counts(), (1, 1));
    let table = [
        ([number(-1), 0, 4, 0], error(Errno::Invalid)),
        ([number(i32::MIN), 0, 0, 0], error(Errno::NoProcess)),
    ];
    for (args, errno) in table {
        assert_eq!(world.call(nr::WAIT4, &args), errno);
    }
}

pub(crate) fn waiting_blocks_until_a_child_ends() {
    let machine = machine(1);
    let world = World::new(&machine);
    let child = world.fork();
    world.host().woken.borrow_mut().clear();
    let args = [number(-1), STATUS, 0, SCRATCH + 1024];
    assert_eq!(world.enter(0, nr::WAIT4, &args), Outcome::Blocked);
    assert_eq!(world.kernel.ready(), [child]);
    world.run(0, child);
    assert_eq!(*world.host().woken.borrow(), []);
    let end = world.enter(0, nr::EXIT, &[5]);
    assert_eq!(end, Outcome::ProcessEnded(ExitStatus::Exited(5)));
    assert_eq!(*world.host().woken.borrow(), [1]);
    world.run(0, 1);
    assert_eq!(world.regs(0).rax, number(child));
    assert_eq!(world.int(STATUS), 0x500);
    assert_eq!(world.regs(0).rip, CODE);
}

pub(crate) fn a_signal_ends_the_waiting_or_lets_it_start_over() {
    let machine = machine(1);
    let world = World::new(&machine);
    let child = world.fork();
    let wait = [number(-1), 0, 0, 0];
    for (flags, rax, rip) in [
        (0, error(Errno::Interrupted).cast_unsigned(), CODE),
        // SA_RESTART: back to the instruction.
        (0x1000_0000, nr::WAIT4, CODE - 2),
    ] {
        world.handle(USR1, flags, 0);
        assert_eq!(world.enter(0, nr::WAIT4, &wait), Outcome::Blocked);
        world.run(0, child);
        assert_eq!(world.call(nr::KILL, &[1, 10]), 0);
        assert_eq!(world.resume(0, 1), Outcome::Resume);
        assert_eq!(world.frame().info(), (USR1, 0, number(child), 0));
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!((world.regs(0).rax, world.regs(0).rip), (rax, rip));
        world.change_regs(0, |regs| regs.rip = CODE);
    }
    // A signal without an effect changes nothing.
    assert_eq!(world.enter(0, nr::WAIT4, &wait), Outcome::Blocked);
    world.run(0, child);
    assert_eq!(world.call(nr::KILL, &[1, 28]), 0);
    assert!(!world.kernel.is_ready(1));
    // One that ends it, ends it where it is.
    assert_eq!(world.call(nr::KILL, &[1, 15]), 0);
    assert_eq!(world.kernel.counts(), (1, 1));
    assert_eq!(world.call(nr::GETPPID, &[]), 0);
}

pub(crate) fn sigchld_tells_of_the_end_and_ignoring_it_leaves_no_zombie() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(17, 0, 0);
    let child = world.fork();
    assert_eq!(
        world.enter(0, nr::KILL, &[number(child), 9]),
        Outcome::Resume
    );
    let at = world.frame().at + 312;
    let info = [0, 8, 16, 20, 24].map(|offset| world.int(at + offset));
    assert_eq!(info, [17, 2, child, 0, 9]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(reap(&world, -1), (i64::from(child), 9));
    // SIG_IGN, and SA_NOCLDWAIT.
    for action in [[1, 0, 0, 0], [0, 2, 0, 0]] {
        world.sigaction(17, action);
        let child = world.fork();
        assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
        assert_eq!(world.kernel.counts(), (1, 1));
        assert_eq!(reap(&world, -1).0, error(Errno::NoChild));
    }
}

pub(crate) fn orphans_are_the_first_processs() {
    let machine = machine(1);
    let world = World::new(&machine);
    let child = world.fork();
    world.run(0, child);
    let (grandchild, zombie) = (world.fork(), world.fork());
    assert_eq!(world.call(nr::KILL, &[number(zombie), 9]), 0);
    assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
    world.run(0, grandchild);
    assert_eq!(world.call(nr::GETPPID, &[]), 1);
    assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
    world.run(0, 1);
    let mut reaped = [(); 3].map(|()| reap(&world, -1).0);
    reaped.sort_unstable();
    assert_eq!(reaped, [child, grandchild, zombie].map(i64::from));
    // Where the first one ends, nobody waits for the others.
    let child = world.fork();
    assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
    assert_eq!(world.kernel.counts(), (1, 1));
    world.run(0, child);
    assert_eq!(world.call(nr::GETPPID, &[]), 0);
    assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
    assert_eq!(world.kernel.counts(), (0, 0));
}

pub(crate) fn a_program_gets_its_arguments_and_nothing_of_the_old_one() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.sigaction(USR2, [1, 0, 0, 0]);
    world.set_mask(1 << 14);
    world.map(0, ARENA, 1);
    assert_eq!(world.ok(nr::PIPE2, &[SCRATCH + 128, 0o2_000_000]), 0);
    assert_eq!(world.ok(nr::PIPE2, &[SCRATCH + 128, 0]), 0);
    world.put(SCRATCH + 1024, b"/bin/x\0one\0two\0A=B\0");
    let string = |offset| SCRATCH + 1024 + offset;
    world.put_words(SCRATCH + 2048, &[string(7), string(11), 0, string(15), 0]);
    let args = [string(0), SCRATCH + 2048, SCRATCH + 2048 + 24];
    world.change_regs(0, |regs| regs.rbx = 5);
    assert_eq!(world.call(nr::EXECVE, &args), 0);
    {
        let programs = world.host().programs.borrow();
        let program = programs.last().unwrap();
        assert_eq!(program.path, b"/bin/x");
        assert_eq!(program.argv, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(program.envp, [b"A=B".to_vec()]);
    }
    let regs = world.regs(0);
    assert_eq!((regs.rip, regs.rsp, regs.rbx), (CODE, STACK_TOP, 0));
    assert_eq!(world.mask(), 1 << 14);
    assert_eq!(world.call(nr::CLOSE, &[3]), error(Errno::BadDescriptor));
    assert_eq!(world.call(nr::CLOSE, &[5]), 0);
    // What was ignored still is, and what was handled is not.
    assert_eq!(world.raise(USR2), Outcome::Resume);
    assert_eq!(world.raise(USR1), killed(USR1));
}

pub(crate) fn a_program_that_cannot_be_had_changes_nothing() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    let pkru = world.pkru(0);
    world.put(SCRATCH, b"/no\0");
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, 0, 0]),
        error(Errno::NoEntry)
    );
    world.put(SCRATCH, b"\0");
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, 0, 0]),
        error(Errno::NoEntry)
    );
    world.put(SCRATCH, &[b'x'; 4096]);
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, 0, 0]),
        error(Errno::NameTooLong)
    );
    world.put(SCRATCH + 4095, &[0]);
    world.put_words(SCRATCH + 2 * PAGE, &[NOWHERE]);
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, SCRATCH + 2 * PAGE, 0]),
        error(Errno::Fault)
    );
    // Execute-only memory of a program that then cannot start closes a key on nobody.
    world.put(SCRATCH, b"/late\0");
    assert_eq!(
        world.call(nr::EXECVE, &[SCRATCH, 0, 0]),
        error(Errno::NoExecutable)
    );
    assert_eq!(world.pkru(0), pkru);
    assert_eq!(world.call(nr::PKEY_GET, &[key, 0]), 0);
    assert_eq!((world.regs(0).rip, world.regs(0).rsp), (CODE, STACK_TOP));
}

pub(crate) fn of_several_threads_the_caller_stays_under_the_processs_number() {
    let machine = machine(2);
    let world = World::new(&machine);
    let (caller, other) = (world.thread(), world.thread());
    world.run(1, other);
    world.run(0, caller);
    world.put(SCRATCH, b"/bin\0");
    // One runs elsewhere: it has to go first.
    assert_eq!(
        world.enter(0, nr::EXECVE, &[SCRATCH, 0, 0]),
        Outcome::Blocked
    );
    assert_eq!(world.deliver(1), Outcome::ThreadEnded);
    assert_eq!(world.kernel.ready(), [caller]);
    world.run(0, caller);
    assert_eq!(
        (world.call(nr::GETTID, &[]), world.call(nr::GETPID, &[])),
        (1, 1)
    );
    assert_eq!((world.regs(0).rip, world.pkru(0) & 3), (CODE, 0));
    assert_eq!(world.kernel.counts(), (1, 1));
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert!(world.is_in_handler());
}

pub(crate) fn of_two_threads_that_want_another_program_the_first_gets_it() {
    let machine = machine(2);
    let world = World::new(&machine);
    let (caller, other) = (world.thread(), world.thread());
    world.run(1, other);
    world.run(0, caller);
    world.put(SCRATCH, b"/bin\0");
    let args = [SCRATCH, 0, 0];
    assert_eq!(world.enter(0, nr::EXECVE, &args), Outcome::Blocked);
    // The other one was to end, and has not heard of it.
    assert_eq!(world.enter(1, nr::EXECVE, &args), Outcome::ThreadEnded);
    assert_eq!(world.kernel.ready(), [caller]);
    world.run(0, caller);
    assert_eq!(world.call(nr::GETTID, &[]), 1);
    assert_eq!(world.regs(0).rip, CODE);
    assert_eq!(world.kernel.counts(), (1, 1));
}

pub(crate) fn stops_and_their_end_are_told_to_those_who_ask() {
    let machine = machine(1);
    let world = World::new(&machine);
    let child = world.fork();
    assert_eq!(world.call(nr::KILL, &[number(child), 19]), 0);
    assert_eq!(world.resume(0, child), Outcome::Blocked);
    let (untraced, continued) = (2, 8);
    let wait = |options| {
        world.run(0, 1);
        let result = world.call(nr::WAIT4, &[number(-1), STATUS, NOHANG | options, 0]);
        (result, world.int(STATUS))
    };
    assert_eq!(wait(continued).0, 0);
    assert_eq!(wait(untraced), (i64::from(child), 0x137F));
    assert_eq!(wait(untraced).0, 0);
    assert!(!world.kernel.is_ready(child));
    // Signals wait, but for the one that lets it go on.
    world.handle(USR1, 0, 0);
    assert_eq!(world.call(nr::KILL, &[number(child), 28]), 0);
    assert_eq!(world.call(nr::KILL, &[number(child), 18]), 0);
    assert_eq!(wait(continued), (i64::from(child), 0xFFFF));
    world.run(0, child);
    world.run(0, 1);
    // The end comes through a stop as well.
    assert_eq!(world.call(nr::KILL, &[number(child), 19]), 0);
    assert_eq!(world.resume(0, child), Outcome::Blocked);
    world.run(0, 1);
    assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
    assert_eq!(reap(&world, child), (i64::from(child), 9));
}

pub(crate) fn nothing_is_left_of_processes_that_have_ended() {
    let machine = machine(2);
    let world = World::with(
        &machine,
        Config {
            xstate: amd().xstate,
            ..Config::default()
        },
    );
    let baseline = machine.memory().allocated_bytes();
    for round in 0..20_u64 {
        let child = world.fork();
        world.run(0, child);
        world.map(0, ARENA, 20);
        for page in 0..20 {
            assert_eq!(world.write(0, ARENA + page * PAGE, 1), Ok(()));
        }
        assert_eq!(world.ok(nr::PIPE2, &[SCRATCH, 0]), 0);
        let thread = world.thread();
        let grandchild = world.fork();
        world.run(1, grandchild);
        match round % 4 {
            0 => assert_ne!(world.enter(0, nr::EXIT_GROUP, &[0]), Outcome::Resume),
            1 => assert_eq!(world.read(0, NOWHERE), Err(killed(SEGV))),
            2 => {
                world.put(SCRATCH, b"/bin\0");
                assert_eq!(world.call(nr::EXECVE, &[SCRATCH, 0, 0]), 0);
                assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
            }
            _ => {
                world.run(0, thread);
                assert_eq!(world.enter(0, nr::EXIT, &[0]), Outcome::ThreadEnded);
                world.run(0, child);
                assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
            }
        }
        world.run(0, 1);
        assert_eq!(world.call(nr::KILL, &[number(grandchild), 9]), 0);
        assert_eq!(world.deliver(1), killed(9));
        for _ in 0..2 {
            assert!(reap(&world, -1).0 > 0);
        }
        assert_eq!(world.kernel.counts(), (1, 1));
    }
    // The pages that the first process wrote since are its own.
    let own = machine.memory().allocated_bytes();
    assert!(own <= baseline + 8 * PAGE, "{own} after {baseline}");
    assert_ne!(world.enter(0, nr::EXIT_GROUP, &[0]), Outcome::Resume);
    drop(world);
    assert_eq!(machine.memory().allocated_bytes(), 0);
    assert!(machine.cpu(0).has_pku());
}

pub(crate) fn ends_that_bring_about_other_ends_are_no_danger() {
    let machine = machine(1);
    let world = World::new(&machine);
    // Each child kills its parent when it ends.
    let depth = 400;
    for child in 2..=depth {
        assert_eq!(world.call(nr::CLONE, &[9, 0]), i64::from(child));
        world.run(0, child);
    }
    assert_eq!(world.kernel.counts().0, 400);
    assert_ne!(world.enter(0, nr::EXIT, &[0]), Outcome::Resume);
    assert_eq!(world.kernel.counts(), (0, 0));
    drop(world);
    assert_eq!(machine.memory().allocated_bytes(), 0);
}
