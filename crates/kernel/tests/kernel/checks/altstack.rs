//! The alternate stack.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const ALT: u64 = SCRATCH + 4 * PAGE;
const ALT_LEN: u64 = 6 * PAGE;
const ONSTACK: u64 = 0x0800_0000;

/// `stack_t` as `sigaltstack` gives it: address, flags, size.
fn stack(world: &World<'_>) -> [u64; 3] {
    world.ok(nr::SIGALTSTACK, &[0, SCRATCH + 256]);
    [0, 8, 16].map(|offset| world.word(SCRATCH + 256 + offset))
}

pub(crate) fn handlers_that_want_it_run_on_it_and_nested_ones_further_down() {
    let machine = machine(1);
    let world = World::with(&machine, amd());
    assert_eq!(stack(&world), [0, 2, 0]);
    assert_eq!(world.set_altstack(ALT, ALT_LEN, 0), 0);
    assert_eq!(stack(&world), [ALT, 0, ALT_LEN]);
    world.handle(USR1, ONSTACK, 0);
    world.handle(USR2, 0, 0);
    world.handle(15, ONSTACK, 0);
    assert_eq!(world.raise(USR2), Outcome::Resume);
    assert!(world.frame().at < STACK_TOP && world.frame().at > STACK);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    let first = world.frame().at;
    assert!(first > ALT && first < ALT + ALT_LEN);
    // The frame has the stack as it was given.
    assert_eq!(
        [24, 32, 40].map(|at| world.frame().word(at)),
        [ALT, 0, ALT_LEN]
    );
    // On it, it says so and cannot be changed.
    assert_eq!(stack(&world), [ALT, 1, ALT_LEN]);
    assert_eq!(world.set_altstack(ALT, ALT_LEN, 2), error(Errno::Perm));
    for signo in [15, USR2] {
        assert_eq!(world.raise(signo), Outcome::Resume);
        assert!(world.is_in_handler());
        assert!(world.regs(0).rsp < first - 128 && world.regs(0).rsp > ALT);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        world.change_regs(0, |regs| regs.rip = HANDLER);
    }
    world.change_regs(0, |regs| regs.rsp = first);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(stack(&world), [ALT, 0, ALT_LEN]);
}

pub(crate) fn one_that_is_too_small_for_a_frame_ends_in_sigsegv() {
    let machine = machine(1);
    for (len, config) in [(2048, pkeys_kernel::Config::default()), (2048, amd())] {
        let world = World::with(&machine, config);
        assert_eq!(world.set_altstack(ALT, len - 1, 0), error(Errno::NoMemory));
        assert_eq!(world.set_altstack(ALT, len, 0), 0);
        world.handle(USR1, ONSTACK, 0);
        let fits = config.xstate.frame_len() + 440 + 64 < len;
        let expected = if fits { Outcome::Resume } else { killed(SEGV) };
        assert_eq!(world.raise(USR1), expected);
    }
}

pub(crate) fn one_that_disarms_itself_is_gone_during_the_handler() {
    let machine = machine(1);
    let world = World::new(&machine);
    let autodisarm = 1 << 31;
    assert_eq!(world.set_altstack(ALT, ALT_LEN, autodisarm), 0);
    world.handle(USR1, ONSTACK, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    let at = world.frame().at;
    assert_eq!(stack(&world), [0, 2, 0]);
    world.change_regs(0, |regs| regs.rsp = at);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(stack(&world), [ALT, autodisarm, ALT_LEN]);
}

pub(crate) fn a_return_sets_what_the_frame_says_unless_the_handler_is_on_it() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    // On the ordinary stack: what is in the frame counts, and errors do not.
    let table = [
        ([ALT, 0, ALT_LEN], [ALT, 0, ALT_LEN]),
        ([ALT, 0, 5], [ALT, 0, ALT_LEN]),
        ([ALT, 7, ALT_LEN], [ALT, 0, ALT_LEN]),
        ([0, 2, 0], [0, 2, 0]),
    ];
    for (given, expected) in table {
        assert_eq!(world.raise(USR1), Outcome::Resume);
        world.put_words(world.frame().at + 24, &given);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(stack(&world), expected);
    }
    assert_eq!(world.set_altstack(ALT, ALT_LEN, 0), 0);
    world.handle(USR1, ONSTACK, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    world.put_words(world.frame().at + 24, &[0, 2, 0]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(stack(&world), [ALT, 0, ALT_LEN]);
}

pub(crate) fn a_thread_has_none_and_a_child_process_has_its_parents() {
    let machine = machine(1);
    let world = World::new(&machine);
    assert_eq!(world.set_altstack(ALT, ALT_LEN, 0), 0);
    let (thread, child) = (world.thread(), world.fork());
    world.run(0, thread);
    assert_eq!(stack(&world), [0, 2, 0]);
    world.run(0, child);
    assert_eq!(stack(&world), [ALT, 0, ALT_LEN]);
    world.put(SCRATCH, b"/bin\0");
    assert_eq!(world.call(nr::EXECVE, &[SCRATCH, 0, 0]), 0);
    assert_eq!(stack(&world), [0, 2, 0]);
}
