//! `ptrace`: PKRU and memory of another thread.

use pkeys_kernel::abi::task::{
    PTRACE_ATTACH, PTRACE_CONT, PTRACE_DETACH, PTRACE_GETREGSET, PTRACE_INTERRUPT, PTRACE_PEEKDATA,
    PTRACE_POKEDATA, PTRACE_SEIZE, PTRACE_SETREGSET, PTRACE_TRACEME,
};
use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::{Config, Outcome};

use super::rig::*;

const STATUS: u64 = SCRATCH + 768;
const IOVEC: u64 = SCRATCH + 800;
const AREA: u64 = SCRATCH + PAGE;
const XSTATE: u64 = 0x202;

fn wait(world: &World<'_>, pid: i32) -> (i64, i32) {
    let result = world.call(nr::WAIT4, &[number(pid), STATUS, 1, 0]);
    (result, world.int(STATUS))
}

/// A child that is stopped for the first process, which runs.
fn stopped_child(world: &World<'_>) -> i32 {
    let child = world.fork();
    let pid = number(child);
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_ATTACH, pid, 0, 0]), 0);
    assert_eq!(world.resume(0, child), Outcome::Blocked);
    world.run(0, 1);
    assert_eq!(wait(world, child), (i64::from(child), 0x137F));
    child
}

fn regset(world: &World<'_>, request: u64, pid: i32, set: u64, len: u64) -> i64 {
    world.put_words(IOVEC, &[AREA, len]);
    world.call(nr::PTRACE, &[request, number(pid), set, IOVEC])
}

pub(crate) fn a_tracer_sees_and_sets_pkru() {
    for config in [Config::default(), amd()] {
        let machine = machine(1);
        let world = World::with(&machine, config);
        world.set_pkru(0, 0x4545_4544);
        let child = stopped_child(&world);
        world.set_pkru(0, INIT);
        let size = u64::from(config.xstate.size);
        let at = AREA + u64::from(config.xstate.layout.pkru_offset);
        let own = |pkru: u32, bit: u64| {
            assert_eq!(regset(&world, PTRACE_GETREGSET, child, XSTATE, PAGE), 0);
            assert_eq!(world.word(IOVEC + 8), size);
            assert_eq!(world.int(at).cast_unsigned(), pkru);
            assert_eq!(world.word(AREA + 512) & 0x200, bit);
        };
        own(0x4545_4544, 0x200);
        for pkru in [0x1234_5670, 0, 0xFFFF_FFFC] {
            world.put(at, &u32::to_le_bytes(pkru));
            world.put_words(AREA + 512, &[0x203]);
            assert_eq!(regset(&world, PTRACE_SETREGSET, child, XSTATE, size), 0);
            own(pkru, 0x200);
        }
        // With bit 9 of XSTATE_BV clear the value counts for nothing.
        world.put_words(AREA + 512, &[3]);
        assert_eq!(regset(&world, PTRACE_SETREGSET, child, XSTATE, size), 0);
        own(0, 0);
        // What is refused changes nothing.
        world.put(at, &0x5555_5550_u32.to_le_bytes());
        world.put_words(AREA + 512, &[0x203]);
        let table = [
            (size - 8, error(Errno::Fault)),
            (size - 1, error(Errno::Invalid)),
            (0, error(Errno::Fault)),
            // Longer is cut.
            (size + 8, 0),
        ];
        for (len, result) in table {
            assert_eq!(regset(&world, PTRACE_SETREGSET, child, XSTATE, len), result);
            assert_eq!(world.call(nr::GETPID, &[]), 1);
        }
        own(0x5555_5550, 0x200);
        for (offset, word) in [
            (512, 0x800),
            (520, 1 << 63),
            (528, 1),
            (568, 1),
            (24, u64::MAX),
        ] {
            let good = world.word(AREA + offset);
            world.put_words(AREA + offset, &[word]);
            let result = regset(&world, PTRACE_SETREGSET, child, XSTATE, size);
            assert_eq!(result, error(Errno::Invalid), "{offset}");
            world.put_words(AREA + offset, &[good]);
        }
        assert_eq!(
            regset(&world, PTRACE_GETREGSET, child, 77, PAGE),
            error(Errno::Invalid)
        );
        // The thread goes on with what it was given.
        assert_eq!(
            world.call(nr::PTRACE, &[PTRACE_CONT, number(child), 0, 0]),
            0
        );
        world.run(0, child);
        assert_eq!(world.pkru(0), 0x5555_5550);
        // With a value of 0 XSAVE leaves the bit clear where initial states are tracked.
        world.set_pkru(0, 0);
        world.run(0, 1);
        assert_eq!(world.call(nr::KILL, &[number(child), 12]), 0);
        assert_eq!(world.resume(0, child), Outcome::Blocked);
        world.run(0, 1);
        own(0, if config.xstate.tracks_init { 0 } else { 0x200 });
    }
}

pub(crate) fn a_tracer_sees_and_sets_registers() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.change_regs(0, |regs| regs.rbx = 0x77);
    let child = stopped_child(&world);
    assert_eq!(regset(&world, PTRACE_GETREGSET, child, 1, PAGE), 0);
    assert_eq!(world.word(IOVEC + 8), 216);
    assert_eq!(
        [world.word(AREA + 5 * 8), world.word(AREA + 16 * 8)],
        [0x77, CODE]
    );
    assert_eq!(
        [world.word(AREA + 17 * 8), world.word(AREA + 20 * 8)],
        [0x33, 0x2B]
    );
    world.put_words(AREA + 5 * 8, &[0x88]);
    assert_eq!(regset(&world, PTRACE_SETREGSET, child, 1, 216), 0);
    world.put_words(AREA + 17 * 8, &[0x10]);
    assert_eq!(
        regset(&world, PTRACE_SETREGSET, child, 1, 216),
        error(Errno::Io)
    );
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_DETACH, number(child), 0, 0]),
        0
    );
    world.run(0, child);
    assert_eq!(world.regs(0).rbx, 0x88);
}

pub(crate) fn a_tracer_reaches_memory_behind_closed_keys() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.map_keyed(ARENA, 1, 0);
    world.map(0, ARENA + PAGE, 1);
    assert_eq!(world.write(0, ARENA, 0x5A), Ok(()));
    world.ok(nr::MPROTECT, &[ARENA + PAGE, PAGE, 1]);
    world.set_pkru(0, INIT);
    let child = number(stopped_child(&world));
    let peek = |addr| world.call(nr::PTRACE, &[PTRACE_PEEKDATA, child, addr, AREA]);
    assert_eq!((peek(ARENA), world.word(AREA)), (0, 0x5A));
    let poke = |addr, word| world.call(nr::PTRACE, &[PTRACE_POKEDATA, child, addr, word]);
    assert_eq!(
        (poke(ARENA, 0x1122), peek(ARENA), world.word(AREA)),
        (0, 0, 0x1122)
    );
    // Where the thread itself may not write, too.
    assert_eq!(
        (poke(ARENA + PAGE, 7), peek(ARENA + PAGE), world.word(AREA)),
        (0, 0, 7)
    );
    assert_eq!(
        (poke(NOWHERE, 7), peek(NOWHERE)),
        (error(Errno::Io), error(Errno::Io))
    );
    assert_eq!(
        (poke(u64::MAX, 7), peek(u64::MAX - 3)),
        (error(Errno::Io), error(Errno::Io))
    );
    // The tracer's own buffer is its own matter.
    let into_key = world.call(nr::PTRACE, &[PTRACE_PEEKDATA, child, ARENA, ARENA]);
    assert_eq!(into_key, error(Errno::Fault));
    // The tracer's memory is another.
    world.set_pkru(0, INIT & !(3 << (2 * key)));
    assert_eq!(world.read(0, ARENA), Ok(0x5A));
}

pub(crate) fn a_signal_is_the_tracers_before_it_is_the_threads() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.handle(USR2, 0, 0);
    let child = stopped_child(&world);
    let go_on = |signo| world.call(nr::PTRACE, &[PTRACE_CONT, number(child), 0, signo]);
    assert_eq!(go_on(0), 0);
    let send_and_see = |signo: i32| {
        world.run(0, 1);
        assert_eq!(world.call(nr::KILL, &[number(child), number(signo)]), 0);
        assert_eq!(world.resume(0, child), Outcome::Blocked);
        world.run(0, 1);
        assert_eq!(wait(&world, child), (i64::from(child), signo << 8 | 0x7F));
    };
    world.run(0, child);
    // Dropped, changed, and passed on.
    send_and_see(USR1);
    assert_eq!(go_on(0), 0);
    world.run(0, child);
    assert!(!world.is_in_handler());
    send_and_see(USR1);
    assert_eq!(go_on(number(USR2)), 0);
    world.run(0, child);
    assert_eq!(world.frame().info(), (USR2, 0, 1, 0));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    send_and_see(USR1);
    assert_eq!(go_on(number(USR1)), 0);
    world.run(0, child);
    assert_eq!(world.frame().info(), (USR1, 0, 1, 0));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    // Even what is ignored; a fault; and the end needs nobody's leave.
    send_and_see(28);
    assert_eq!(go_on(0), 0);
    world.run(0, child);
    assert_eq!(world.read(0, NOWHERE), Err(Outcome::Blocked));
    world.run(0, 1);
    assert_eq!(wait(&world, child), (i64::from(child), 0xB7F));
    assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
    assert_eq!(wait(&world, child), (i64::from(child), 9));
}

pub(crate) fn a_seized_thread_runs_until_it_is_interrupted() {
    let machine = machine(2);
    let world = World::new(&machine);
    let child = world.fork();
    let pid = number(child);
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_SEIZE, pid, 1, 0]),
        error(Errno::Io)
    );
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_SEIZE, pid, 0, 1 << 40]),
        error(Errno::Io)
    );
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_SEIZE, pid, 0, 0]), 0);
    world.run(1, child);
    assert_eq!(wait(&world, child).0, 0);
    // Nothing can be asked of it while it runs.
    let nobody = error(Errno::NoProcess);
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_PEEKDATA, pid, ARENA, AREA]),
        nobody
    );
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_INTERRUPT, pid, 0, 0]), 0);
    assert_eq!(world.deliver(1), Outcome::Blocked);
    assert_eq!(wait(&world, child), (i64::from(child), 0x80_057F));
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_CONT, pid, 0, 65]),
        error(Errno::Io)
    );
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_CONT, pid, 0, 0]), 0);
    world.run(1, child);
    assert_eq!(world.regs(1).rip, CODE);
    // A call that waits is interrupted as well, and goes on waiting.
    assert_eq!(world.call_on(1, nr::PIPE2, &[SCRATCH, 0]), 0);
    assert_eq!(world.enter(1, nr::READ, &[3, SCRATCH, 1]), Outcome::Blocked);
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_INTERRUPT, pid, 0, 0]), 0);
    assert_eq!(world.resume(1, child), Outcome::Blocked);
    assert_eq!(wait(&world, child), (i64::from(child), 0x80_057F));
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_DETACH, pid, 0, 0]), 0);
    assert_eq!(world.resume(1, child), Outcome::Blocked);
    assert!(!world.kernel.is_ready(child));
}

pub(crate) fn who_may_trace_whom() {
    let machine = machine(1);
    let world = World::new(&machine);
    let thread = world.thread();
    let (perm, nobody) = (error(Errno::Perm), error(Errno::NoProcess));
    let attach = |tid: i32| world.call(nr::PTRACE, &[PTRACE_ATTACH, number(tid), 0, 0]);
    // Not itself, not a thread of its own process, not what is not there, nothing twice.
    assert_eq!(
        (attach(1), attach(thread), attach(99)),
        (perm, perm, nobody)
    );
    let child = stopped_child(&world);
    assert_eq!(attach(child), perm);
    // A zombie has nothing to see.
    let zombie = world.fork();
    assert_eq!(world.call(nr::KILL, &[number(zombie), 9]), 0);
    assert_eq!(attach(zombie), perm);
    // Only the tracer may ask, and only for requests that there are.
    world.run(0, thread);
    let peek = world.call(nr::PTRACE, &[PTRACE_PEEKDATA, number(child), ARENA, AREA]);
    assert_eq!(peek, nobody);
    world.run(0, 1);
    assert_eq!(
        world.call(nr::PTRACE, &[0x4444, number(child), 0, 0]),
        error(Errno::Io)
    );
    // A child offers itself to its parent, once.
    let offering = world.fork();
    world.run(0, offering);
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_TRACEME, 0, 0, 0]), 0);
    assert_eq!(world.call(nr::PTRACE, &[PTRACE_TRACEME, 0, 0, 0]), perm);
    world.put(SCRATCH, b"/bin\0");
    // A new program is a SIGTRAP.
    assert_eq!(
        world.enter(0, nr::EXECVE, &[SCRATCH, 0, 0]),
        Outcome::Blocked
    );
    world.run(0, 1);
    assert_eq!(wait(&world, offering), (i64::from(offering), 0x57F));
    // With the tracer's end its threads are free.
    assert_eq!(
        world.enter(0, nr::EXIT_GROUP, &[0]),
        Outcome::ProcessEnded(pkeys_kernel::ExitStatus::Exited(0))
    );
    assert!(world.kernel.is_ready(child) && world.kernel.is_ready(offering));
}

pub(crate) fn a_tracer_that_is_not_the_parent_hears_of_the_end_first() {
    let machine = machine(1);
    let world = World::new(&machine);
    let (tracer, child) = (world.fork(), world.fork());
    world.run(0, tracer);
    assert_eq!(
        world.call(nr::PTRACE, &[PTRACE_SEIZE, number(child), 0, 0]),
        0
    );
    world.run(0, child);
    assert_ne!(world.enter(0, nr::EXIT, &[4]), Outcome::Resume);
    world.run(0, 1);
    assert_eq!(wait(&world, child).0, 0);
    world.run(0, tracer);
    assert_eq!(wait(&world, child), (i64::from(child), 0x400));
    assert_eq!(wait(&world, child).0, error(Errno::NoChild));
    world.run(0, 1);
    assert_eq!(wait(&world, child), (i64::from(child), 0x400));
    assert_eq!(wait(&world, child).0, error(Errno::NoChild));
}
