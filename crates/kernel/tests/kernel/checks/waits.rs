//! Waiting for a signal: `pause`, `rt_sigsuspend`, `rt_sigtimedwait`.

use pkeys_kernel::Outcome;
use pkeys_kernel::abi::{Errno, nr};

use super::rig::*;

const SET: u64 = SCRATCH + 512;
const INFO: u64 = SCRATCH + 1024;
const TIME: u64 = SCRATCH + 768;

/// The set of a signal.
const fn set(signo: i32) -> u64 {
    1 << (signo - 1)
}

/// A signal to the first process, from a thread on CPU 1.
fn send(world: &World<'_>, signo: i32) {
    assert_eq!(world.call_on(1, nr::KILL, &[1, number(signo)]), 0);
}

/// A world with somebody on CPU 1 who can send.
fn with_sender<'m>(machine: &'m pkeys_machine::Machine) -> World<'m> {
    let world = World::new(machine);
    let sender = world.fork();
    world.run(1, sender);
    world
}

pub(crate) fn a_pause_ends_with_a_handler_and_nothing_else() {
    let machine = machine(2);
    let world = with_sender(&machine);
    world.handle(USR1, 0x1000_0000, 0);
    world.blocks(0, nr::PAUSE, &[]);
    // SIGCHLD is ignored by default, SIGCONT goes unnoticed.
    send(&world, 17);
    send(&world, 18);
    assert_eq!(world.kernel.ready(), []);
    send(&world, USR1);
    world.run(0, 1);
    assert!(world.is_in_handler());
    assert_eq!(world.sigreturn(), Outcome::Resume);
    let interrupted = error(Errno::Interrupted);
    assert_eq!(world.regs(0).rax.cast_signed(), interrupted);
}

pub(crate) fn a_suspend_has_another_mask_for_as_long_as_it_waits() {
    let machine = machine(2);
    let world = with_sender(&machine);
    // The handler of USR1 blocks USR2 as well.
    world.handle(USR1, 0, set(USR2));
    world.set_mask(set(USR1));
    world.put_words(SET, &[set(15)]);
    world.blocks(0, nr::RT_SIGSUSPEND, &[SET, 8]);
    send(&world, USR1);
    world.run(0, 1);
    assert!(world.is_in_handler());
    // The frame has the mask from before; the handler has the other one, its own, and its signal.
    assert_eq!(world.frame().word(304), set(USR1));
    assert_eq!(world.mask(), set(15) | set(USR1) | set(USR2));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.mask(), set(USR1));
    // What is pending already lets it not wait at all.
    send(&world, USR1);
    assert!(!world.is_in_handler());
    world.put_words(SET, &[0]);
    let outcome = world.enter(0, nr::RT_SIGSUSPEND, &[SET, 8]);
    assert_eq!(outcome, Outcome::Resume);
    assert!(world.is_in_handler());
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rax.cast_signed(), error(Errno::Interrupted));
    assert_eq!(world.mask(), set(USR1));
    let suspend = |at, size| world.call(nr::RT_SIGSUSPEND, &[at, size]);
    assert_eq!(suspend(SET, 9), error(Errno::Invalid));
    assert_eq!(suspend(NOWHERE, 8), error(Errno::Fault));
    assert_eq!(world.mask(), set(USR1));
}

pub(crate) fn a_signal_that_is_waited_for_is_taken_and_not_handled() {
    let machine = machine(2);
    let world = with_sender(&machine);
    world.set_clock(100);
    let wait = [SET, INFO, 0, 8];
    let handlers: [&dyn Fn(i32); 2] = [&|_| {}, &|signo| world.handle(signo, 0, 0)];
    // One that would end the process, and one with a handler; pending before, or sent while it waits.
    for (signo, handler) in [15, USR1].into_iter().zip(handlers) {
        handler(signo);
        world.set_mask(set(signo));
        world.put_words(SET, &[set(signo)]);
        for is_before in [true, false] {
            let result = if is_before {
                send(&world, signo);
                world.call(nr::RT_SIGTIMEDWAIT, &wait)
            } else {
                world.blocks(0, nr::RT_SIGTIMEDWAIT, &wait);
                send(&world, signo);
                assert_eq!(world.kernel.ready(), [1]);
                world.goes_on(0, 1)
            };
            assert_eq!(result, signo.into());
            // si_signo, si_code SI_USER, si_pid.
            let info = [INFO, INFO + 8, INFO + 16].map(|at| world.int(at));
            assert_eq!(info, [signo, 0, 2]);
            assert_eq!((world.regs(0).rip, world.mask()), (CODE, set(signo)));
        }
    }
    // Afterwards it is blocked as before.
    send(&world, USR1);
    assert_eq!(world.kernel.ready(), []);
    world.put_time(TIME, 0);
    let now = [SET, 0, TIME, 8];
    assert_eq!(world.call(nr::RT_SIGTIMEDWAIT, &now), USR1.into());
    assert_eq!(world.call(nr::RT_SIGTIMEDWAIT, &now), error(Errno::Again));
}

pub(crate) fn a_wait_for_a_signal_has_a_limit_and_other_signals_end_it() {
    let machine = machine(3);
    let world = with_sender(&machine);
    world.set_clock(100);
    world.handle(USR1, 0x1000_0000, 0);
    world.handle(USR2, 0, 0);
    // Somebody of the same process who blocks nothing.
    let other = world.thread();
    world.run(2, other);
    world.set_mask(set(USR2));
    world.put_words(SET, &[set(USR2)]);
    world.put_time(TIME, 50);
    let wait = [SET, INFO, TIME, 8];
    world.blocks(0, nr::RT_SIGTIMEDWAIT, &wait);
    world.set_clock(150);
    assert_eq!(world.goes_on(0, 1), error(Errno::Again));
    // It does not wait for it any more: the other one gets it.
    let other_gets_it = || {
        send(&world, USR2);
        assert_eq!(world.deliver(2), Outcome::Resume);
        assert_eq!(world.regs(2).rip, HANDLER);
        world.change_regs(2, |regs| regs.rsp += 8);
        assert_eq!(world.enter(2, nr::RT_SIGRETURN, &[]), Outcome::Resume);
        assert_eq!(world.regs(2).rip, CODE);
    };
    other_gets_it();
    world.blocks(0, nr::RT_SIGTIMEDWAIT, &wait);
    send(&world, USR1);
    world.run(0, 1);
    assert!(world.is_in_handler());
    assert_eq!(world.sigreturn(), Outcome::Resume);
    let interrupted = error(Errno::Interrupted);
    assert_eq!(world.regs(0).rax.cast_signed(), interrupted);
    other_gets_it();
    // Sent to itself it stays pending.
    assert_eq!(world.raise(USR2), Outcome::Resume);
    assert_eq!(world.regs(0).rip, CODE);
    let call = |args: [u64; 4]| world.call(nr::RT_SIGTIMEDWAIT, &args);
    assert_eq!(call([SET, INFO, 0, 7]), error(Errno::Invalid));
    assert_eq!(call([NOWHERE, INFO, 0, 8]), error(Errno::Fault));
    assert_eq!(call([SET, INFO, NOWHERE, 8]), error(Errno::Fault));
    // Taken and not told: it is gone.
    assert_eq!(call([SET, NOWHERE, 0, 8]), error(Errno::Fault));
    assert_eq!(call([SET, INFO, TIME, 8 | 1 << 32]), error(Errno::Invalid));
    world.put_time(TIME, 0);
    assert_eq!(call([SET, INFO, TIME, 8]), error(Errno::Again));
}
