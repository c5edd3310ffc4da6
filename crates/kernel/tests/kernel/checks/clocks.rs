//! Time: clocks, sleep, and what becomes of waits with a limit.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const TIME: u64 = SCRATCH + 512;
const REST: u64 = SCRATCH + 544;

/// `TIMER_ABSTIME`.
const UNTIL: u64 = 1;

fn with_clock<'m>(machine: &'m pkeys_machine::Machine, now: u64) -> World<'m> {
    let world = World::new(machine);
    world.set_clock(now);
    world
}

pub(crate) fn clocks_count_from_1970_or_from_the_start() {
    let machine = machine(1);
    let now = 5_000_000_007;
    let world = with_clock(&machine, now);
    let table = [
        (0, Some(SINCE_1970 + now)),
        (1, Some(now)),
        (2, None),
        (3, None),
        (4, Some(now)),
        (5, Some(SINCE_1970 + now)),
        (6, Some(now)),
        (7, Some(now)),
        (8, None),
        (11, Some(SINCE_1970 + now)),
        (12, None),
        (number(-1), None),
    ];
    for (clock, expected) in table {
        let result = world.call(nr::CLOCK_GETTIME, &[clock, TIME]);
        let resolution = world.call(nr::CLOCK_GETRES, &[clock, REST]);
        match expected {
            Some(time) => {
                assert_eq!([result, resolution], [0, 0], "clock {clock}");
                assert_eq!((world.time(TIME), world.time(REST)), (time, 1));
            }
            None => assert_eq!([result, resolution], [error(Errno::Invalid); 2]),
        }
    }
    assert_eq!(world.call(nr::CLOCK_GETRES, &[1, 0]), 0);
    assert_eq!(world.call(nr::GETTIMEOFDAY, &[TIME, REST]), 0);
    assert_eq!([world.word(TIME), world.word(TIME + 8)], [1_700_000_005, 0]);
    assert_eq!(world.word(REST), 0);
    assert_eq!(world.call(nr::GETTIMEOFDAY, &[0, 0]), 0);
    assert_eq!(world.call(nr::TIME, &[TIME]), 1_700_000_005);
    assert_eq!(world.word(TIME), 1_700_000_005);
    assert_eq!(world.call(nr::TIME, &[0]), 1_700_000_005);
}

pub(crate) fn without_a_clock_there_is_no_time() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.put_time(TIME, 1);
    let none = error(Errno::NoSystemCall);
    for (call, args) in [
        (nr::CLOCK_GETTIME, [1, TIME, 0, 0]),
        (nr::CLOCK_GETRES, [1, TIME, 0, 0]),
        (nr::GETTIMEOFDAY, [TIME, 0, 0, 0]),
        (nr::TIME, [0, 0, 0, 0]),
        (nr::NANOSLEEP, [TIME, 0, 0, 0]),
        (nr::CLOCK_NANOSLEEP, [1, 0, TIME, 0]),
        (nr::FUTEX, [SCRATCH, 0, 0, TIME]),
    ] {
        assert_eq!(world.call(call, &args), none, "{call}");
    }
    // They are known for all that.
    assert_eq!(*world.host().unknown.borrow(), []);
    assert_eq!(world.kernel.next_deadline(), None);
}

pub(crate) fn a_sleep_ends_when_its_time_has_come() {
    let machine = machine(1);
    let world = with_clock(&machine, 100);
    world.put_time(TIME, 50);
    world.blocks(0, nr::NANOSLEEP, &[TIME, 0]);
    assert_eq!(world.kernel.next_deadline(), Some(150));
    assert_eq!(world.host().timer.get(), Some(150));
    world.set_clock(149);
    assert_eq!(world.kernel.ready(), []);
    world.set_clock(150);
    assert_eq!(world.kernel.ready(), [1]);
    assert_eq!(world.kernel.next_deadline(), None);
    assert_eq!(world.goes_on(0, 1), 0);
    // Until a time, by either kind of clock; and times that are over.
    let realtime = SINCE_1970 + 170;
    for (clock, flags, time) in [(1, UNTIL, 170), (0, UNTIL, realtime), (7, 0, 20)] {
        world.host().clock.set(Some(150));
        world.put_time(TIME, time);
        world.blocks(0, nr::CLOCK_NANOSLEEP, &[clock, flags, TIME, 0]);
        world.set_clock(169);
        assert_eq!(world.kernel.ready(), []);
        world.set_clock(170);
        assert_eq!(world.goes_on(0, 1), 0);
    }
    for (clock, time) in [(1, 170), (1, 0), (0, realtime), (0, 5)] {
        world.put_time(TIME, time);
        let sleep = [clock, UNTIL, TIME, 0];
        assert_eq!(world.call(nr::CLOCK_NANOSLEEP, &sleep), 0);
    }
    world.put_time(TIME, 0);
    assert_eq!(world.call(nr::NANOSLEEP, &[TIME, 0]), 0);
}

pub(crate) fn several_sleepers_wake_in_the_order_of_their_times() {
    let machine = machine(4);
    let world = with_clock(&machine, 0);
    let threads: Vec<i32> = (0..3).map(|_| world.thread()).collect();
    for (cpu, (tid, time)) in (1..).zip(threads.iter().zip([300, 100, 200])) {
        world.run(cpu, *tid);
        world.put_time(TIME, time);
        world.blocks(cpu, nr::NANOSLEEP, &[TIME, 0]);
    }
    // The timer is set to the earliest, whenever that changes.
    assert_eq!(world.host().timer.get(), Some(100));
    for (now, ready, next) in [
        (100, threads[1], Some(200)),
        (250, threads[2], Some(300)),
        (300, threads[0], None),
    ] {
        world.set_clock(now);
        assert_eq!(world.kernel.ready(), [ready]);
        assert_eq!(world.kernel.next_deadline(), next);
        assert_eq!(world.goes_on(1, ready), 0);
        assert_eq!(world.enter(1, nr::EXIT, &[0]), Outcome::ThreadEnded);
    }
    assert_eq!(world.host().timer.get(), Some(300));
}

pub(crate) fn a_handler_ends_a_sleep_and_tells_what_was_left() {
    let machine = machine(2);
    let world = with_clock(&machine, 1000);
    // CLONE_THREAD: somebody who sends.
    let other = world.thread();
    world.run(1, other);
    let raise = || world.call_on(1, nr::TGKILL, &[1, 1, number(USR1)]);
    // SA_RESTART changes nothing.
    for flags in [0, 0x1000_0000] {
        world.handle(USR1, flags, 0);
        for (call, args, left) in [
            (nr::NANOSLEEP, [TIME, REST, 0, 0], 400),
            (nr::CLOCK_NANOSLEEP, [1, 0, TIME, REST], 400),
            (nr::CLOCK_NANOSLEEP, [1, UNTIL, TIME, REST], 0),
        ] {
            let now = world.host().clock.get().unwrap();
            let is_until = call == nr::CLOCK_NANOSLEEP && args[1] == UNTIL;
            world.put_time(TIME, if is_until { now + 500 } else { 500 });
            world.put_time(REST, 0);
            world.blocks(0, call, &args);
            world.set_clock(now + 100);
            assert_eq!(raise(), 0);
            world.run(0, 1);
            assert!(world.is_in_handler());
            assert_eq!(world.time(REST), left, "{call} {args:x?}");
            assert_eq!(world.sigreturn(), Outcome::Resume);
            let interrupted = error(Errno::Interrupted);
            assert_eq!(world.regs(0).rax.cast_signed(), interrupted);
            // Nobody is to be woken any more.
            world.set_clock(now + 600);
            assert_eq!(world.kernel.ready(), []);
        }
    }
    // Where the rest cannot be written; and where there is none.
    for (rest, later, expected) in [(NOWHERE, 100, error(Errno::Fault)), (NOWHERE, 500, 0)] {
        let now = world.host().clock.get().unwrap();
        world.put_time(TIME, 500);
        world.blocks(0, nr::NANOSLEEP, &[TIME, rest]);
        assert_eq!(raise(), 0);
        world.host().clock.set(Some(now + later));
        world.run(0, 1);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.regs(0).rax.cast_signed(), expected);
    }
}

pub(crate) fn a_stop_does_not_make_a_sleep_longer() {
    let machine = machine(2);
    let world = with_clock(&machine, 1000);
    let child = world.fork();
    world.run(1, child);
    world.put_time(TIME, 500);
    let space = world.processor(1).space().unwrap();
    let bytes = world.get::<16>(TIME);
    space
        .write_remote(&world.cpu(1), TIME, &bytes, true)
        .unwrap();
    world.blocks(1, nr::NANOSLEEP, &[TIME, 0]);
    // SIGSTOP, and SIGCONT when some time has passed.
    assert_eq!(world.call(nr::KILL, &[number(child), 19]), 0);
    assert_eq!(world.resume(1, child), Outcome::Blocked);
    world.set_clock(1400);
    assert_eq!(world.call(nr::KILL, &[number(child), 18]), 0);
    assert_eq!(world.resume(1, child), Outcome::Blocked);
    assert_eq!(world.kernel.next_deadline(), Some(1500));
    world.set_clock(1500);
    assert_eq!(world.goes_on(1, child), 0);
}

pub(crate) fn sleeps_are_checked_in_linuxs_order() {
    let machine = machine(1);
    let world = with_clock(&machine, 0);
    let [invalid, unsupported, fault] =
        [Errno::Invalid, Errno::NotSupported, Errno::Fault].map(error);
    let second = 1_000_000_000;
    let bad = [[0, second], [0, u64::MAX], [u64::MAX, 0]];
    for words in bad {
        world.put_words(TIME, &words);
        assert_eq!(world.call(nr::NANOSLEEP, &[TIME, 0]), invalid);
        for (clock, at, expected) in [
            (1, TIME, invalid),
            (1, NOWHERE, fault),
            (4, NOWHERE, unsupported),
            (5, TIME, unsupported),
            (2, NOWHERE, invalid),
        ] {
            let sleep = [clock, 0, at, 0];
            assert_eq!(world.call(nr::CLOCK_NANOSLEEP, &sleep), expected);
        }
    }
    assert_eq!(world.call(nr::NANOSLEEP, &[NOWHERE, 0]), fault);
    assert_eq!(world.kernel.next_deadline(), None);
}

pub(crate) fn who_ends_while_it_sleeps_leaves_no_time_behind() {
    let machine = machine(2);
    let world = with_clock(&machine, 0);
    let child = world.fork();
    world.run(1, child);
    let space = world.processor(1).space().unwrap();
    (space.write_remote(&world.cpu(1), TIME, &[9; 2], true)).unwrap();
    world.blocks(1, nr::NANOSLEEP, &[TIME, 0]);
    assert!(world.kernel.next_deadline().is_some());
    assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
    world.set_clock(u64::MAX - 1);
    assert_eq!(world.kernel.ready(), []);
    assert_eq!(world.kernel.next_deadline(), None);
}
