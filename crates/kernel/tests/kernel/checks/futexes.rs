//! Futexes: limits, sets of bits, and waiters that are moved; and the locks that a thread leaves behind.

use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::{ExitStatus, Outcome};

use super::rig::*;

const TIME: u64 = SCRATCH + 512;
const WORD: u64 = SCRATCH + 1024;
const OTHER: u64 = SCRATCH + 1028;

const WAIT: u64 = 0;
const WAKE: u64 = 1;
const REQUEUE: u64 = 3;
const CMP_REQUEUE: u64 = 4;
const WAIT_BITSET: u64 = 9;
const WAKE_BITSET: u64 = 10;
const PRIVATE: u64 = 128;
const REALTIME: u64 = 256;
const ALL: u64 = 0xFFFF_FFFF;

/// Threads that wait for a word, with these bits. Gives their numbers.
fn waiters(world: &World<'_>, word: u64, bits: &[u64]) -> Vec<i32> {
    let start = |bits: &u64| {
        let tid = world.thread();
        world.run(1, tid);
        world.blocks(1, nr::FUTEX, &[word, WAIT_BITSET, 0, 0, 0, *bits]);
        tid
    };
    bits.iter().map(start).collect()
}

pub(crate) fn a_wait_with_a_limit_ends_by_it() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.set_clock(1000);
    // For so long; until so late, by either clock.
    for (op, time) in [
        (WAIT, 500),
        (WAIT | PRIVATE, 500),
        (WAIT_BITSET, 1500),
        (WAIT_BITSET | REALTIME, SINCE_1970 + 1500),
    ] {
        world.host().clock.set(Some(1000));
        world.put_time(TIME, time);
        let wait = [WORD, op, 0, TIME, 0, ALL];
        world.blocks(0, nr::FUTEX, &wait);
        world.set_clock(1499);
        assert_eq!(world.kernel.ready(), []);
        world.set_clock(1500);
        assert_eq!(world.goes_on(0, 1), error(Errno::TimedOut));
        // It waits no longer.
        assert_eq!(world.call(nr::FUTEX, &[WORD, WAKE, 9]), 0);
    }
    // What is over; but the word comes first.
    world.put_time(TIME, 1499);
    let timed_out = error(Errno::TimedOut);
    assert_eq!(
        world.call(nr::FUTEX, &[WORD, WAIT_BITSET, 0, TIME, 0, ALL]),
        timed_out
    );
    let again = error(Errno::Again);
    assert_eq!(
        world.call(nr::FUTEX, &[WORD, WAIT_BITSET, 1, TIME, 0, ALL]),
        again
    );
    world.put_time(TIME, 0);
    assert_eq!(world.call(nr::FUTEX, &[WORD, WAIT, 0, TIME]), timed_out);
}

pub(crate) fn who_is_woken_in_time_does_not_time_out() {
    let machine = machine(2);
    let world = World::new(&machine);
    world.set_clock(1000);
    let other = world.thread();
    world.run(1, other);
    world.put_time(TIME, 500);
    let wait = [WORD, WAIT, 0, TIME];
    world.blocks(0, nr::FUTEX, &wait);
    assert_eq!(world.call_on(1, nr::FUTEX, &[WORD, WAKE, 1]), 1);
    // The limit is over before it runs.
    world.set_clock(2000);
    assert_eq!(world.goes_on(0, 1), 0);
    assert_eq!(world.kernel.next_deadline(), None);
    // A handler ends it: for good if there is a limit, else it is made again with SA_RESTART.
    world.handle(USR1, 0x1000_0000, 0);
    for (timeout, interrupted) in [(TIME, true), (0, false)] {
        world.blocks(0, nr::FUTEX, &[WORD, WAIT, 0, timeout]);
        assert_eq!(world.call_on(1, nr::TGKILL, &[1, 1, number(USR1)]), 0);
        world.run(0, 1);
        assert!(world.is_in_handler());
        assert_eq!(world.sigreturn(), Outcome::Resume);
        let regs = world.regs(0);
        let expected = if interrupted {
            (error(Errno::Interrupted), CODE)
        } else {
            (nr::FUTEX.cast_signed(), CODE - 2)
        };
        assert_eq!((regs.rax.cast_signed(), regs.rip), expected);
        world.change_regs(0, |regs| regs.rip = CODE);
    }
}

pub(crate) fn bits_choose_who_is_woken() {
    let machine = machine(2);
    let world = World::new(&machine);
    let tids = waiters(&world, WORD, &[0b001, 0b010, 0b110, ALL]);
    let wake = |bits| world.call(nr::FUTEX, &[WORD, WAKE_BITSET, 9, 0, 0, bits]);
    assert_eq!(wake(0b1000), 1);
    assert_eq!(world.kernel.ready(), [tids[3]]);
    assert_eq!(wake(0b010), 2);
    assert_eq!(world.call(nr::FUTEX, &[WORD, WAKE, 9]), 1);
    assert_eq!(world.kernel.ready(), tids);
    let invalid = error(Errno::Invalid);
    for op in [WAIT_BITSET, WAKE_BITSET] {
        assert_eq!(world.call(nr::FUTEX, &[WORD, op, 0, 0, 0, 0]), invalid);
    }
    // A clock that counts from 1970 is for one kind of waiting only.
    let none = error(Errno::NoSystemCall);
    for op in [WAIT, WAKE, WAKE_BITSET, REQUEUE] {
        let wait = [WORD, op | REALTIME, 0, 0, 0, 1];
        assert_eq!(world.call(nr::FUTEX, &wait), none);
    }
}

pub(crate) fn waiters_are_moved_behind_those_of_the_other_word() {
    let machine = machine(2);
    let world = World::new(&machine);
    let first = waiters(&world, WORD, &[ALL; 4]);
    let second = waiters(&world, OTHER, &[ALL]);
    let requeue = |op, wake, moved, expected| {
        world.call(nr::FUTEX, &[WORD, op, wake, moved, OTHER, expected])
    };
    assert_eq!(requeue(CMP_REQUEUE, 1, 2, 1), error(Errno::Again));
    assert_eq!(requeue(REQUEUE, number(-1), 0, 0), error(Errno::Invalid));
    assert_eq!(requeue(REQUEUE, 0, number(-1), 0), error(Errno::Invalid));
    assert_eq!(requeue(CMP_REQUEUE, 1, 2, 0), 3);
    assert_eq!(world.kernel.ready(), [first[0]]);
    // One is left, and two stand in the other queue.
    assert_eq!(requeue(REQUEUE, 0, 0, 5), 0);
    let mut woken = Vec::new();
    for expected in [second[0], first[1], first[2]] {
        assert_eq!(world.call(nr::FUTEX, &[OTHER, WAKE, 1]), 1);
        let ready = world.kernel.ready();
        woken.push(expected);
        assert!(woken.iter().all(|tid| ready.contains(tid)), "{ready:?}");
        assert_eq!(ready.len(), woken.len() + 1);
    }
    assert_eq!(world.call(nr::FUTEX, &[OTHER, WAKE, 1]), 0);
    assert_eq!(world.call(nr::FUTEX, &[WORD, WAKE, 1]), 1);
}

/// Where the head of the list of locks is, and how far an entry is from its word.
const HEAD: u64 = SCRATCH + 2 * PAGE;
const OFFSET: u64 = 8;

/// Makes a list of locks for the thread on a CPU, each with its word, and with one that is pending.
fn make_list(world: &World<'_>, cpu: u32, entries: &[u64], pending: u64) {
    let follow = |at: usize| entries.get(at).copied().unwrap_or(HEAD);
    world.put_words(HEAD, &[follow(0), OFFSET, pending]);
    for (at, entry) in entries.iter().enumerate() {
        world.put_words(*entry, &[follow(at + 1)]);
    }
    assert_eq!(world.call_on(cpu, nr::SET_ROBUST_LIST, &[HEAD, 24]), 0);
}

pub(crate) fn a_thread_that_ends_marks_its_locks() {
    const WAITERS: u32 = 0x8000_0000;
    const DIED: u32 = 0x4000_0000;
    let machine = machine(2);
    let world = World::new(&machine);
    let tid = world.thread();
    world.run(1, tid);
    let own = tid.cast_unsigned();
    // Its own, with and without somebody who waits; somebody else's; nobody's; one that is pending and nobody's.
    let before = [own, own | WAITERS, own + 1, 0, 0];
    let entries: Vec<u64> = (0..5).map(|at| HEAD + 256 + at * 64).collect();
    let word = |at: usize| entries[at] + OFFSET;
    for (at, value) in before.iter().enumerate() {
        world.put(word(at), &value.to_le_bytes());
    }
    let waiting: Vec<i32> = [1, 4]
        .iter()
        .map(|at| {
            world.run(0, 1);
            let tid = world.thread();
            world.run(0, tid);
            world.blocks(0, nr::FUTEX, &[word(*at), WAIT, u64::from(before[*at]), 0]);
            tid
        })
        .collect();
    world.run(0, 1);
    make_list(&world, 1, &entries[..4], entries[4]);
    assert_eq!(world.enter(1, nr::EXIT, &[0]), Outcome::ThreadEnded);
    let after = [DIED, WAITERS | DIED, own + 1, 0, 0];
    for (at, value) in after.iter().enumerate() {
        assert_eq!(world.int(word(at)).cast_unsigned(), *value, "lock {at}");
    }
    assert_eq!(world.kernel.ready(), waiting);
}

pub(crate) fn a_list_that_is_none_ends_somewhere() {
    let machine = machine(1);
    let own = 2_u32;
    let entry = HEAD + 256;
    // A list that goes round for ever, one that leads nowhere, one that is misaligned, one with no head.
    let lists: [&dyn Fn(&World<'_>); 4] = [
        &|world| {
            make_list(world, 0, &[entry], 0);
            world.put_words(entry, &[entry]);
        },
        &|world| {
            make_list(world, 0, &[entry], 0);
            world.put_words(entry, &[NOWHERE]);
        },
        &|world| make_list(world, 0, &[entry, entry + 0x41], 0),
        &|world| {
            assert_eq!(world.call(nr::SET_ROBUST_LIST, &[NOWHERE, 24]), 0);
        },
    ];
    for (at, list) in lists.iter().enumerate() {
        let world = World::new(&machine);
        let thread = world.thread();
        world.run(0, thread);
        world.put(entry + OFFSET, &own.to_le_bytes());
        list(&world);
        assert_eq!(world.enter(0, nr::EXIT, &[0]), Outcome::ThreadEnded);
        world.run(0, 1);
        // What was found before stays marked.
        let expected = if at < 3 { 0x4000_0000 } else { own };
        let word = world.int(entry + OFFSET);
        assert_eq!(word.cast_unsigned(), expected, "list {at}");
    }
}

pub(crate) fn a_lock_behind_a_closed_key_stays_as_it_is() {
    let machine = machine(1);
    for (rights, expected) in [(0, 0x4000_0000), (1, 2), (2, 2)] {
        let world = World::new(&machine);
        let key = world.map_keyed(ARENA, 1, 0);
        let thread = world.thread();
        world.run(0, thread);
        world.put(ARENA + OFFSET, &2_u32.to_le_bytes());
        make_list(&world, 0, &[ARENA], 0);
        assert_eq!(world.call(nr::PKEY_SET, &[key, rights, 0]), 0);
        assert_eq!(world.enter(0, nr::EXIT, &[0]), Outcome::ThreadEnded);
        world.run(0, 1);
        assert_eq!(world.int(ARENA + OFFSET), expected, "rights {rights}");
    }
}

/// A thread with locks ends on a CPU, also if it is ended while it waits, sleeps or is stopped.
pub(crate) fn who_is_killed_while_it_waits_marks_its_locks() {
    let machine = machine(2);
    for is_stopped in [false, true] {
        let world = World::new(&machine);
        // Shared memory, in which the parent sees what the child leaves.
        let shared = [ARENA, PAGE, RW, 0x21 | FIXED, u64::MAX, 0];
        world.ok(nr::MMAP, &shared);
        let child = world.fork();
        world.run(1, child);
        world.put(ARENA + OFFSET, &child.to_le_bytes());
        world.put_words(ARENA, &[ARENA + 512]);
        world.put_words(ARENA + 512, &[ARENA, OFFSET, 0]);
        let list = [ARENA + 512, 24];
        assert_eq!(world.call_on(1, nr::SET_ROBUST_LIST, &list), 0);
        if is_stopped {
            assert_eq!(world.call(nr::KILL, &[number(child), 19]), 0);
            assert_eq!(world.deliver(1), Outcome::Blocked);
        } else {
            world.blocks(1, nr::PAUSE, &[]);
        }
        assert_eq!(world.call(nr::KILL, &[number(child), 9]), 0);
        assert_eq!(world.int(ARENA + OFFSET), child);
        assert_eq!(world.kernel.ready(), [child]);
        let ended = Outcome::ProcessEnded(ExitStatus::Killed(9));
        assert_eq!(world.resume(1, child), ended);
        assert_eq!(world.int(ARENA + OFFSET), 0x4000_0000);
        let wait = [number(child), SCRATCH, 0, 0];
        assert_eq!(world.call(nr::WAIT4, &wait), child.into());
    }
}

pub(crate) fn a_list_is_set_and_told() {
    let machine = machine(1);
    let world = World::new(&machine);
    let other = world.thread();
    let get = |tid, head, len| world.call(nr::GET_ROBUST_LIST, &[tid, head, len]);
    assert_eq!(
        world.call(nr::SET_ROBUST_LIST, &[HEAD, 23]),
        error(Errno::Invalid)
    );
    assert_eq!(world.call(nr::SET_ROBUST_LIST, &[HEAD, 24]), 0);
    for (tid, head) in [(0, HEAD), (1, HEAD), (number(other), 0)] {
        assert_eq!(get(tid, SCRATCH, SCRATCH + 8), 0);
        assert_eq!([world.word(SCRATCH), world.word(SCRATCH + 8)], [head, 24]);
    }
    assert_eq!(get(99, SCRATCH, SCRATCH), error(Errno::NoProcess));
    assert_eq!(get(0, SCRATCH, NOWHERE), error(Errno::Fault));
    assert_eq!(get(0, NOWHERE, SCRATCH), error(Errno::Fault));
}
