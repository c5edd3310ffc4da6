//! Exceptions other than page faults, and the end of memory.

use pkeys_kernel::abi::nr;
use pkeys_kernel::{ExitStatus, Outcome};

use super::rig::*;

const ILL: i32 = 4;
const TRAP: i32 = 5;
const BUS: i32 = 7;
const FPE: i32 = 8;

/// An exception of the program on CPU 0.
fn raise(world: &World<'_>, vector: u8, code: u64) -> Outcome {
    world.enter_by(0, |kernel, processor, regs| {
        kernel.exception(processor, regs, vector, code)
    })
}

/// A world whose program has a handler for each of the signals.
fn with_handlers<'m>(machine: &'m pkeys_machine::Machine) -> World<'m> {
    let world = World::new(machine);
    for signo in [ILL, TRAP, BUS, FPE, SEGV] {
        world.handle(signo, 0, 0);
    }
    world
}

pub(crate) fn each_exception_has_its_signal() {
    let machine = machine(1);
    let world = with_handlers(&machine);
    let kernel = 0x80;
    for (vector, code, info, fault) in [
        (0, 0, (FPE, 1, CODE), [0, 0]),
        // Single step, a watched address, neither: DR6 tells, and is nobody's error code.
        (1, 0x4000, (TRAP, 2, CODE), [0, 1]),
        (1, 1, (TRAP, 4, CODE), [0, 1]),
        (1, 0, (TRAP, 1, CODE), [0, 1]),
        (3, 0, (TRAP, kernel, 0), [0, 3]),
        (4, 0, (SEGV, kernel, 0), [0, 4]),
        (6, 0, (ILL, 2, CODE), [0, 6]),
        (11, 0x18, (BUS, kernel, 0), [0x18, 11]),
        (12, 0, (BUS, kernel, 0), [0, 12]),
        (17, 0, (BUS, 1, 0), [0, 17]),
        (21, 5, (SEGV, kernel, 0), [5, 21]),
    ] {
        assert_eq!(raise(&world, vector, code), Outcome::Resume);
        let frame = world.frame();
        let (signo, si_code, addr, pkey) = frame.info();
        assert_eq!((signo, si_code, addr), info, "vector {vector}");
        assert_eq!(pkey, 0);
        let [err, trapno, _] = frame.fault();
        assert_eq!([err, trapno], fault, "vector {vector}");
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.regs(0).rip, CODE);
    }
}

/// What x87 and SSE say of their exceptions stands in their registers, with what is masked.
pub(crate) fn floating_point_exceptions_say_what_they_are() {
    let machine = machine(1);
    let world = with_handlers(&machine);
    for (vector, control, status, mxcsr, code) in [
        // Division by zero, with that not masked; and everything at once.
        (16, 0x37B, 0x84, 0x1F80, Some(3)),
        (16, 0x340, 0xBF, 0x1F80, Some(7)),
        (16, 0x37E, 0x04, 0x1F80, None),
        (19, 0x37F, 0, 0x1D84, Some(3)),
        (19, 0x37F, 0, 0x0FA0, Some(6)),
        (19, 0x37F, 0, 0x1FBF, None),
    ] {
        assert_eq!(world.raise(TRAP), Outcome::Resume);
        let frame = world.frame();
        world.put(frame.xstate(), &u16::to_le_bytes(control));
        world.put(frame.xstate() + 2, &u16::to_le_bytes(status));
        world.put(frame.xstate() + 24, &u32::to_le_bytes(mxcsr));
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(raise(&world, vector, 0), Outcome::Resume);
        // Where everything is masked the instruction is made again.
        assert_eq!(world.is_in_handler(), code.is_some(), "vector {vector}");
        if let Some(code) = code {
            let (signo, si_code, addr, _) = world.frame().info();
            assert_eq!((signo, si_code, addr), (FPE, code, CODE), "vector {vector}");
            assert_eq!(world.sigreturn(), Outcome::Resume);
        }
    }
}

pub(crate) fn an_exception_without_a_handler_ends_the_process() {
    for (vector, signo) in [(0, FPE), (3, TRAP), (6, ILL), (12, BUS)] {
        let machine = machine(1);
        let world = World::new(&machine);
        let end = Outcome::ProcessEnded(ExitStatus::Killed(signo));
        assert_eq!(raise(&world, vector, 0), end);
        // It has no parent.
        assert_eq!(
            *world.host().ended.borrow(),
            [(1, ExitStatus::Killed(signo))]
        );
    }
}

/// A surrounding kernel that sees its memory end ends who wants more; the parent hears of it.
pub(crate) fn who_wants_memory_that_there_is_not_is_killed() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(SEGV, 0, 0);
    let child = world.fork();
    world.run(0, child);
    let outcome = world.enter_by(0, |kernel, processor, regs| {
        kernel.out_of_memory(processor, regs)
    });
    assert_eq!(outcome, Outcome::ProcessEnded(ExitStatus::Killed(9)));
    assert!(world.host().ended.borrow().is_empty());
    world.run(0, 1);
    assert_eq!(
        world.ok(nr::WAIT4, &[number(-1), SCRATCH, 0, 0]),
        u64::from(child.unsigned_abs())
    );
    assert_eq!(world.int(SCRATCH), 9);
    // On a CPU without a thread there is nobody to end.
    world.kernel.idle(world.processor(0), &world.regs(0));
    let outcome = world.enter_by(0, |kernel, processor, regs| {
        kernel.out_of_memory(processor, regs)
    });
    assert_eq!(outcome, Outcome::Idle);
    assert_eq!(raise(&world, 0, 0), Outcome::Idle);
}
