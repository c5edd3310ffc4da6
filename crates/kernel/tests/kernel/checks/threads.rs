//! Threads on CPUs: switches, locks, the watchdog, the calls that make and end threads.

use pkeys_core::{KeySet, Pkey};
use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::task::CannotSwitch;
use pkeys_kernel::{Config, ExitStatus, Outcome, UserRegs};

use super::rig::*;

pub(crate) fn a_switch_loads_only_what_differs() {
    let machine = machine(1);
    let world = World::new(&machine);
    let (same, other) = (world.thread(), world.thread());
    let child = world.fork();
    world.run(0, other);
    world.set_pkru(0, 0);
    world.run(0, 1);
    let switched = |tid| {
        let before = world.cpu(0).counters();
        world.run(0, tid);
        let done = world.cpu(0).counters() - before;
        (done.pkru_writes, done.root_loads)
    };
    let table = [
        (same, (0, 0)),
        (1, (0, 0)),
        // Another PKRU.
        (other, (1, 0)),
        (1, (1, 0)),
        // Another address space.
        (child, (0, 1)),
        (1, (0, 1)),
        (1, (0, 0)),
    ];
    for (tid, loads) in table {
        assert_eq!(switched(tid), loads, "to {tid}");
    }
    // An idle CPU keeps the tables, and the register is what it was.
    assert_eq!(
        world.enter(0, nr::WAIT4, &[number(-1), 0, 0, 0]),
        Outcome::Blocked
    );
    assert_eq!(switched(same), (0, 0));
    assert_eq!(switched(child), (0, 1));
}

pub(crate) fn registers_travel_with_their_threads() {
    let machine = machine(2);
    let world = World::new(&machine);
    let thread = world.thread();
    world.change_regs(0, |regs| regs.rbx = 0x11);
    world.set_pkru(0, 0x4545_4544);
    world.run(1, thread);
    assert_eq!(
        (world.regs(1).rbx, world.regs(1).rsp),
        (0, SCRATCH + 8 * PAGE)
    );
    world.change_regs(1, |regs| regs.rbx = 0x22);
    assert_eq!(world.pkru(1), INIT);
    world.set_pkru(1, 0x10);
    // Both go where the other was.
    let [on_0, on_1] = [0, 1].map(|cpu| world.processor(cpu));
    let mut regs = world.regs(0);
    let elsewhere = world.kernel.switch_to(on_0, &mut regs, thread);
    assert_eq!(elsewhere, Err(CannotSwitch::Elsewhere));
    world.kernel.idle(on_1, &world.regs(1));
    world.run(0, thread);
    assert_eq!((world.regs(0).rbx, world.pkru(0)), (0x22, 0x10));
    world.run(1, 1);
    assert_eq!((world.regs(1).rbx, world.pkru(1)), (0x11, 0x4545_4544));
    let mut regs = UserRegs::default();
    let nobody = world.kernel.switch_to(on_0, &mut regs, 77);
    assert_eq!(nobody, Err(CannotSwitch::NoThread));
}

pub(crate) fn a_new_thread_has_what_clone_was_told() {
    let machine = machine(1);
    let world = World::new(&machine);
    let sp = SCRATCH + 8 * PAGE;
    let tids = [SCRATCH + 512, SCRATCH + 516];
    // CLONE_SETTLS | PARENT_SETTID | CHILD_CLEARTID | CHILD_SETTID.
    let flags = THREAD | 0x138_0000;
    let thread = world.call(nr::CLONE, &[flags, sp, tids[0], tids[1], 0x1234_5000]);
    assert_eq!(world.int(tids[0]), i32::try_from(thread).unwrap());
    assert_eq!(world.int(tids[1]), 0);
    world.run(0, i32::try_from(thread).unwrap());
    assert_eq!(world.int(tids[1]), i32::try_from(thread).unwrap());
    let regs = world.regs(0);
    assert_eq!((regs.rax, regs.rsp, regs.fs_base), (0, sp, 0x1234_5000));
    assert_eq!(regs.rip, CODE);
    assert_eq!(
        (world.call(nr::GETPID, &[]), world.call(nr::GETTID, &[])),
        (1, thread)
    );
    // Its end clears the word.
    assert_eq!(world.enter(0, nr::EXIT, &[3]), Outcome::ThreadEnded);
    world.run(0, 1);
    assert_eq!(world.int(tids[1]), 0);
    // What cannot be.
    let invalid = error(Errno::Invalid);
    let table = [
        (0x1_0000, 0, invalid),
        (0x1_0800, 0, invalid),
        (0x800, 0, invalid),
        (0x2_0011, 0, invalid),
        (0x1000_0011, 0, invalid),
        (THREAD | 0x8_0000, 0x7FFF_FFFF_F000, error(Errno::Perm)),
    ];
    for (flags, tls, errno) in table {
        assert_eq!(
            world.call(nr::CLONE, &[flags, sp, 0, 0, tls]),
            errno,
            "{flags:#x}"
        );
    }
    assert_eq!(world.kernel.counts(), (1, 1));
}

pub(crate) fn get_and_set_take_no_lock() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    let before = locks_taken();
    assert!(before > 0);
    for round in 0..100 {
        assert_eq!(world.call(nr::PKEY_SET, &[key, round % 4, 0]), 0);
        assert_eq!(
            world.call(nr::PKEY_GET, &[key, 0]).cast_unsigned(),
            round % 4
        );
        assert_eq!(
            world.call(nr::PKEY_GET, &[9, 0]),
            error(Errno::BadDescriptor)
        );
        assert_eq!(
            world.call(nr::PKEY_SET, &[key, 4, 0]),
            error(Errno::Invalid)
        );
    }
    assert_eq!(locks_taken(), before);
    // The count counts.
    assert_eq!(world.call(nr::PKEY_FREE, &[key]), 0);
    assert!(locks_taken() > before);
}

pub(crate) fn get_and_set_check_flags_rights_and_key() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    let (invalid, bad) = (error(Errno::Invalid), error(Errno::BadDescriptor));
    let high = 1 << 32;
    for pkey in [number(-1), 5, 16, 1000] {
        assert_eq!(world.call(nr::PKEY_GET, &[pkey, 1]), invalid);
        assert_eq!(world.call(nr::PKEY_GET, &[pkey, high]), invalid);
        assert_eq!(world.call(nr::PKEY_GET, &[pkey, 0]), bad);
        assert_eq!(world.call(nr::PKEY_SET, &[pkey, 4, 0]), invalid);
        assert_eq!(world.call(nr::PKEY_SET, &[pkey, high, 0]), invalid);
        assert_eq!(world.call(nr::PKEY_SET, &[pkey, 0, high]), invalid);
        assert_eq!(world.call(nr::PKEY_SET, &[pkey, 0, 0]), bad);
    }
    // An int is the low half of its register.
    assert_eq!(world.call(nr::PKEY_SET, &[high | key, 2, 0]), 0);
    assert_eq!(world.call(nr::PKEY_GET, &[high | key, 0]), 2);
    assert_eq!(world.pkru(0), INIT & !(3 << (2 * key)) | 2 << (2 * key));
    assert_eq!(world.call(nr::PKEY_SET, &[0, 3, 0]), 0);
    assert_eq!(world.pkru(0) & 3, 3);
}

pub(crate) fn the_watchdog_looks_at_the_thread_that_runs_and_at_no_other() {
    let machine = machine(2);
    let world = World::with(
        &machine,
        Config {
            has_watchdog: true,
            ..Config::default()
        },
    );
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    let thread = world.thread();
    world.run(1, thread);
    let tick = |cpu| world.kernel.tick(world.processor(cpu)).unwrap();
    let set = |keys: &[u64]| -> KeySet {
        keys.iter()
            .map(|key| Pkey::truncate(u32::try_from(*key).unwrap()))
            .collect()
    };
    for cpu in [0, 1] {
        assert_eq!(
            (tick(cpu).unallocated, tick(cpu).changed),
            (set(&[]), set(&[]))
        );
    }
    let good = world.pkru(0);
    // One thread writes the register itself, on its own key and on one that is nobody's.
    world.set_pkru(0, good ^ 3 << (2 * key) ^ 1 << 18);
    world.set_pkru(1, world.pkru(1) ^ 1 << 20);
    let repair = tick(0);
    assert_eq!(
        (repair.unallocated, repair.changed),
        (set(&[9]), set(&[key]))
    );
    assert_eq!(world.pkru(0), good);
    let repair = tick(1);
    assert_eq!((repair.unallocated, repair.changed), (set(&[10]), set(&[])));
    assert_eq!(world.kernel.nr_repairs(), (2, 1));
    // What the kernel sets stays, and so does what a handler's frame brings back.
    assert_eq!(world.call(nr::PKEY_SET, &[key, 2, 0]), 0);
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert_eq!(tick(0).changed, set(&[]));
    assert_eq!(world.pkru(0), INIT);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(tick(0).changed, set(&[]));
    assert_eq!(world.call(nr::PKEY_GET, &[key, 0]), 2);
    // A key that is freed is nobody's: its rights go back.
    assert_eq!(world.call(nr::PKEY_FREE, &[key]), 0);
    assert_eq!(tick(0).unallocated, set(&[key]));
    assert_eq!(world.pkru(0), INIT);
    // Switches carry the measure along.
    world.kernel.idle(world.processor(1), &world.regs(1));
    assert!(world.kernel.tick(world.processor(1)).is_none());
    world.run(0, thread);
    assert_eq!(tick(0).changed, set(&[]));
    // It is off unless it was asked for.
    let world = World::new(&machine);
    world.set_pkru(0, 0);
    assert!(world.kernel.tick(world.processor(0)).is_none());
    assert_eq!(world.pkru(0), 0);
}

pub(crate) fn signals_find_the_thread_they_were_sent_to() {
    let machine = machine(2);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    let thread = world.thread();
    // To one that is not running: when it runs next.
    assert_eq!(world.call(nr::TGKILL, &[1, number(thread), 10]), 0);
    assert!(!world.is_in_handler());
    world.run(0, thread);
    assert_eq!(world.frame().info(), (USR1, -6, 1, 0));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    // To one that runs elsewhere: its CPU is told.
    world.run(1, 1);
    world.host().kicked.borrow_mut().clear();
    assert_eq!(world.call(nr::TGKILL, &[1, 1, 10]), 0);
    assert_eq!(*world.host().kicked.borrow(), [1]);
    assert_eq!(world.regs(1).rip, CODE);
    assert_eq!(world.deliver(1), Outcome::Resume);
    assert_eq!(world.regs(1).rip, HANDLER);
    // To the process: to a thread that does not block it.
    world.kernel.idle(world.processor(1), &world.regs(1));
    world.set_mask(0);
    assert_eq!(world.enter(0, nr::KILL, &[1, 12]), killed(USR2));
    assert_eq!(world.kernel.counts(), (0, 0));
}

pub(crate) fn sending_is_checked_in_linuxs_order() {
    let machine = machine(1);
    let world = World::new(&machine);
    let (invalid, nobody) = (error(Errno::Invalid), error(Errno::NoProcess));
    let table = [
        (nr::TGKILL, [1, 1, 0], 0),
        (nr::TGKILL, [0, 1, 0], invalid),
        (nr::TGKILL, [1, 0, 0], invalid),
        (nr::TGKILL, [1, number(-1), 0], invalid),
        (nr::TGKILL, [2, 1, 99], nobody),
        (nr::TGKILL, [1, 1, 65], invalid),
        (nr::TGKILL, [1, 9, 65], nobody),
        (nr::TKILL, [1, 0, 0], 0),
        (nr::TKILL, [0, 0, 0], invalid),
        (nr::KILL, [1, 0, 0], 0),
        (nr::KILL, [0, 0, 0], 0),
        (nr::KILL, [1, 65, 0], invalid),
        (nr::KILL, [1, number(-1), 0], invalid),
        (nr::KILL, [7, 65, 0], nobody),
        (nr::KILL, [number(-1), 0, 0], nobody),
        (nr::KILL, [number(-1), 0, 0], nobody),
        (nr::KILL, [number(-5), 0, 0], nobody),
        (nr::KILL, [number(i32::MIN), 0, 0], nobody),
        // Ignored by default.
        (nr::KILL, [1, 17, 0], 0),
        (nr::KILL, [1, 28, 0], 0),
    ];
    for (call, args, expected) in table {
        assert_eq!(world.call(call, &args), expected, "{call} {args:x?}");
    }
}

pub(crate) fn a_group_exit_ends_threads_wherever_they_are() {
    let machine = machine(2);
    let world = World::new(&machine);
    let (waiting, elsewhere) = (world.thread(), world.thread());
    world.run(1, elsewhere);
    let done = Outcome::ProcessEnded(ExitStatus::Exited(7));
    assert_eq!(world.enter(0, nr::EXIT_GROUP, &[0x107]), done);
    // The one that was not running is gone; the other is told, and goes when it comes by.
    assert_eq!(world.kernel.counts(), (1, 1));
    assert_eq!(world.kernel.ready(), []);
    assert!(world.host().kicked.borrow().contains(&1));
    assert_eq!(world.deliver(1), done);
    assert_eq!(world.kernel.counts(), (0, 0));
    assert!(!world.kernel.is_ready(waiting));
    assert_eq!(world.deliver(0), Outcome::Idle);
    assert_eq!(world.enter(0, nr::GETPID, &[]), Outcome::Idle);
    drop(world);
    assert_eq!(machine.memory().allocated_bytes(), 0);
}

pub(crate) fn the_last_thread_decides_the_status() {
    let machine = machine(1);
    let world = World::new(&machine);
    let thread = world.thread();
    assert_eq!(world.enter(0, nr::EXIT, &[1]), Outcome::ThreadEnded);
    // The process is there, under its number, and its first thread is not.
    assert_eq!(world.kernel.counts(), (1, 1));
    world.run(0, thread);
    assert_eq!(world.call(nr::GETPID, &[]), 1);
    assert_eq!(world.call(nr::TGKILL, &[1, 1, 0]), 0);
    let done = Outcome::ProcessEnded(ExitStatus::Exited(2));
    assert_eq!(world.enter(0, nr::EXIT, &[2]), done);
    assert!(machine.cpu(0).root().is_some());
    assert_eq!(world.host().left.get(), 1);
}
