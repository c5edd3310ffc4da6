//! Every interleaving of up to three interrupts, NMIs, moves to another CPU and changes of a mode, at every step of the
//! protocol.
//!
//! Whatever comes in between, handlers always run closed, and where nothing is under way, register, cache and context
//! agree, on both CPUs.

use pkeys_core::{Access, Mode, Pardon, Rights};
use pkeys_kernel::pks::{self, Context, Grant, PksCpu as _};

use super::explore::{ALL, MOST, every_schedule};
use super::system::{Frame, IF, ONE, SHARED_OFF, silent, system};
use super::world::World;

const READ: Rights = Rights::ReadOnly;
const WRITE: Rights = Rights::ReadWrite;

pub(crate) fn grants() {
    let pks = system(silent(Pardon::Context), false);
    every_schedule("grants", MOST, &pks, |world| {
        let read = Grant::new(world, ONE, READ);
        world.check_at_rest("for reading", &[ONE], &[]);
        let write = pks::grant(world, ONE, WRITE);
        world.check_at_rest("for writing", &[], &[ONE]);
        drop(read);
        world.check_at_rest("still for writing", &[], &[ONE]);
        pks::revoke(world, write);
        world.check_end("closed", &[], &[]);
    });
}

pub(crate) fn grants_while_a_mode_comes_on() {
    let pks = system(SHARED_OFF, false);
    every_schedule("grants while a mode comes on", ALL, &pks, |world| {
        let write = Grant::new(world, ONE, WRITE);
        world.check_at_rest("for writing", &[], &[ONE]);
        drop(write);
        world.check_end("closed", &[], &[]);
    });
}

pub(crate) fn switches() {
    let pks = system(silent(Pardon::Context), false);
    every_schedule("switches", MOST, &pks, |world| {
        let granted = pks::grant(world, ONE, WRITE);
        let creator = world.current();
        let child = world.keep(Context::for_child_of(creator));
        pks::switch_to(world, child);
        world.check_at_rest("a new thread", &[], &[]);
        pks::switch_to(world, creator);
        world.check_at_rest("its creator", &[], &[ONE]);
        pks::revoke(world, granted);
        world.check_end("closed", &[], &[]);
    });
}

pub(crate) fn entries() {
    let pks = system(silent(Pardon::Context), false);
    every_schedule("entries", MOST, &pks, |world| {
        let thread = world.current();
        let granted = pks::grant(world, ONE, READ);
        let softirqs = world.keep(Context::new());
        pks::enter(world, softirqs);
        world.check("softirqs", &[], &[]);
        let own = pks::grant(world, ONE, WRITE);
        world.check("softirqs with a grant", &[], &[ONE]);
        // It is left open: what a handler forgets ends with it.
        let _ = own;
        pks::leave(world, thread);
        world.check_at_rest("behind them", &[ONE], &[]);
        pks::revoke(world, granted);
        pks::end_of_context(world);
        world.check_end("closed", &[], &[]);
    });
}

/// Code that is at an instruction, with interrupts let in.
fn frame() -> Frame {
    Frame {
        rip: 0x4000,
        rflags: IF | 2,
    }
}

/// The stray accesses that were counted.
fn nr_stray(world: &World<'_>) -> u64 {
    world.pks().counters().of_mode(Mode::Silent)
}

pub(crate) fn faults_with_a_callback() {
    let pks = system(silent(Pardon::Context), true);
    every_schedule("faults with a callback", MOST, &pks, |world| {
        assert_eq!(world.access(Access::Write, &mut frame()), 1);
        world.check_at_rest("let in", &[], &[ONE]);
        assert_eq!(world.access(Access::Write, &mut frame()), 0);
        pks::end_of_context(world);
        world.check_end("at its end", &[], &[]);
        assert_eq!(nr_stray(world), 0);
    });
}

pub(crate) fn pardons_for_the_context() {
    let pks = system(silent(Pardon::Context), false);
    every_schedule("pardons for the context", MOST, &pks, |world| {
        let before = nr_stray(world);
        assert_eq!(world.access(Access::Read, &mut frame()), 1);
        world.check_at_rest("pardoned", &[ONE], &[]);
        let granted = pks::grant(world, ONE, WRITE);
        world.check_at_rest("and granted", &[], &[ONE]);
        pks::revoke(world, granted);
        world.check_end("both are over", &[], &[]);
        assert_eq!(nr_stray(world), before + 1);
    });
}

pub(crate) fn pardons_for_an_instruction() {
    let pks = system(silent(Pardon::Instruction), false);
    every_schedule("pardons for an instruction", MOST, &pks, |world| {
        let before = nr_stray(world);
        let mut frame = frame();
        assert_eq!(world.access(Access::Write, &mut frame), 1);
        assert_eq!(frame.rflags, IF | 2);
        world.check_end("behind it", &[], &[]);
        assert_eq!(nr_stray(world), before + 1);
    });
}
