//! Signal frames: what a handler finds, and what comes back from it.

use pkeys_kernel::abi::nr;
use pkeys_kernel::{Outcome, UserRegs};

use super::rig::*;

/// Registers with a value of its own in each.
fn telling_regs() -> UserRegs {
    UserRegs {
        rax: 0x1A,
        rbx: 0x1B,
        rcx: 0x1C,
        rdx: 0x1D,
        rsi: 0x1E,
        rdi: 0x1F,
        rbp: 0x2B,
        r8: 0x28,
        r9: 0x29,
        r10: 0x2A,
        r11: 0x2C,
        r12: 0x2D,
        r13: 0x2E,
        r14: 0x2F,
        r15: 0x30,
        rflags: 0x202 | 0x400 | 0x1_0000 | 0x8D5,
        fs_base: 0x7000,
        ..UserRegs::new(CODE, STACK_TOP - 0x1008)
    }
}

pub(crate) fn a_handler_starts_with_linuxs_registers_and_all_come_back() {
    let machine = machine(1);
    for config in [pkeys_kernel::Config::default(), amd()] {
        let world = World::with(&machine, config);
        world.handle(SEGV, 0, 0);
        let before = telling_regs();
        world.change_regs(0, |regs| *regs = before);
        assert!(world.read(0, NOWHERE).is_err());
        let regs = world.regs(0);
        let frame = world.frame();
        assert_eq!(
            (regs.rdi, regs.rsi, regs.rdx),
            (11, frame.at + 312, frame.at + 8)
        );
        assert_eq!((regs.rax, regs.rip, frame.at % 16), (0, HANDLER, 8));
        // DF, RF and TF are clear, other flags as they were.
        assert_eq!(regs.rflags, before.rflags & !0x1_0400);
        assert_eq!(regs.fs_base, 0x7000);
        assert_eq!(
            [frame.word(0), frame.word(8), frame.word(16)],
            [RESTORER, 7, 0]
        );
        let expected = [
            0x28,
            0x29,
            0x2A,
            0x2C,
            0x2D,
            0x2E,
            0x2F,
            0x30,
            0x1F,
            0x1E,
            0x2B,
            0x1B,
            0x1D,
            0x1A,
            0x1C,
            before.rsp,
            CODE,
            before.rflags,
            0x2B_0000_0000_0033,
        ];
        for (at, value) in (48..).step_by(8).zip(expected) {
            assert_eq!(frame.word(at), value, "offset {at}");
        }
        assert_eq!(frame.xstate() % 64, 0);
        assert!(frame.xstate() >= frame.at + 440);
        assert!(frame.xstate() + config.xstate.frame_len() <= before.rsp - 128);
        // The handler leaves nothing of its own behind.
        world.change_regs(0, |regs| {
            *regs = UserRegs {
                rsp: regs.rsp,
                fs_base: regs.fs_base,
                ..UserRegs::default()
            };
        });
        assert_eq!(world.sigreturn(), Outcome::Resume);
        let after = UserRegs {
            orig_rax: before.orig_rax,
            ..world.regs(0)
        };
        assert_eq!(after, before);
    }
}

/// An access, and what a handler is told of it: code, address, key, and error code.
pub(crate) fn the_frame_says_what_the_fault_was() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(SEGV, 0, 0);
    world.map(0, ARENA, 1);
    world.ok(nr::MPROTECT, &[ARENA, PAGE, 1]);
    assert_eq!(world.read(0, ARENA), Ok(0));
    let key = world.map_keyed(ARENA + PAGE, 1, 0);
    assert_eq!(world.write(0, ARENA + PAGE, 1), Ok(()));
    let absent = world.map_keyed(ARENA + 2 * PAGE, 1, 1);
    world.set_pkru(0, INIT);
    let key = i32::try_from(key).unwrap();
    let absent = i32::try_from(absent).unwrap();
    let kernels = 0xFFFF_8000_0000_1000;
    // Whether it is a write, then the address, the code, the key and the error code.
    let table = [
        (false, NOWHERE + 5, 1, 0, 4),
        (true, NOWHERE + 5, 1, 0, 6),
        (true, ARENA + 8, 2, 0, 7),
        (false, ARENA + PAGE + 3, 4, key, 0x25),
        (true, ARENA + PAGE + 3, 4, key, 0x27),
        (false, ARENA + 2 * PAGE, 4, absent, 4),
        (true, ARENA + 2 * PAGE, 4, absent, 6),
        // Whether the kernel has mapped something there is nobody's business.
        (false, kernels, 1, 0, 5),
        (true, kernels, 1, 0, 7),
        (false, 0x7FFF_FFFF_F000, 1, 0, 5),
    ];
    for (is_write, addr, code, pkey, err) in table {
        let outcome = if is_write {
            world.write(0, addr, 1).unwrap_err()
        } else {
            world.read(0, addr).unwrap_err()
        };
        assert_eq!(outcome, Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, code, addr, pkey), "{addr:#x}");
        assert_eq!(world.frame().fault(), [err, 14, addr], "{addr:#x}");
        assert_eq!(world.sigreturn(), Outcome::Resume);
    }
    // An address that is not canonical has no page, and no CR2.
    assert!(world.read(0, 1 << 47).is_err());
    assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
    assert_eq!(world.frame().fault(), [0, 13, 0x7FFF_FFFF_F000]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    // Later signals show the last fault.
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert_eq!(world.frame().info(), (USR1, -6, 1, 0));
    assert_eq!(world.frame().fault(), [0, 13, 0x7FFF_FFFF_F000]);
}

pub(crate) fn masks_hold_while_a_handler_runs_and_come_back() {
    let machine = machine(1);
    let world = World::new(&machine);
    let bit = |signo: i32| 1_u64 << (signo - 1);
    world.handle(USR1, 0, bit(USR2) | bit(9) | bit(15));
    world.set_mask(bit(3));
    assert_eq!(world.raise(USR1), Outcome::Resume);
    let frame = world.frame();
    // oldmask and uc_sigmask.
    assert_eq!((frame.word(216), frame.word(304)), (bit(3), bit(3)));
    // SIGKILL is in no mask.
    let during = bit(3) | bit(15) | bit(USR1) | bit(USR2);
    assert_eq!(world.regs(0).rdi, 10);
    let back = frame.at;
    assert_eq!(world.mask(), during);
    world.change_regs(0, |regs| regs.rsp = back);
    // What a handler writes there holds afterwards, but for what cannot be blocked.
    world.put_words(back + 304, &[bit(9) | bit(19) | bit(5)]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.mask(), bit(5));
    world.set_mask(0);
    // SA_NODEFER: the signal itself is not blocked, and SA_RESETHAND: once.
    world.handle(USR1, 0x4000_0000 | 0x8000_0000, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    let back = world.frame().at;
    assert_eq!(world.mask(), 0);
    world.change_regs(0, |regs| regs.rsp = back);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.raise(USR1), killed(USR1));
}

pub(crate) fn handlers_nest_and_the_last_runs_first() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.handle(USR2, 0, 0);
    world.set_mask(0x800 | 0x200);
    assert_eq!(world.raise(USR2), Outcome::Resume);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    // A second one of the same number is dropped.
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert!(!world.is_in_handler());
    let sp = world.regs(0).rsp;
    world.put_words(SCRATCH + 64, &[0]);
    let args = [2, SCRATCH + 64, 0, 8];
    assert_eq!(world.enter(0, nr::RT_SIGPROCMASK, &args), Outcome::Resume);
    // USR1 has the lower number: its frame was made first, and lies below the one that runs.
    let outer = world.frame();
    assert_eq!(outer.info().0, USR2);
    assert_eq!(
        (outer.word(48 + 16 * 8), outer.word(48 + 15 * 8)),
        (HANDLER, world.word_of_inner())
    );
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.frame().info().0, USR1);
    assert_eq!(world.frame().word(48 + 15 * 8), sp);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    // The result of the call that opened the mask.
    assert_eq!((world.regs(0).rax, world.regs(0).rip), (0, CODE));
}

impl World<'_> {
    /// The stack pointer that the interrupted handler had, as the frame of the inner one has it.
    fn word_of_inner(&self) -> u64 {
        self.frame().word(48 + 15 * 8)
    }
}

pub(crate) fn signals_that_cannot_be_delivered_end_the_process() {
    // How the action is, whether the signal is blocked.
    let table = [
        ([0, 0, 0, 0], false),
        ([1, 0, 0, 0], false),
        ([HANDLER, 0x0400_0004, RESTORER, 0], true),
        // Without SA_RESTORER there is no frame.
        ([HANDLER, 4, RESTORER, 0], false),
    ];
    for (action, is_blocked) in table {
        let machine = machine(1);
        let world = World::new(&machine);
        world.sigaction(SEGV, action);
        if is_blocked {
            world.set_mask(1 << 10);
        }
        assert_eq!(world.read(0, NOWHERE), Err(killed(SEGV)), "{action:x?}");
        assert_eq!(world.kernel.counts(), (0, 0));
        drop(world);
        assert_eq!(machine.memory().allocated_bytes(), 0);
    }
}

pub(crate) fn a_stack_that_cannot_be_written_ends_in_sigsegv() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.change_regs(0, |regs| regs.rsp = NOWHERE);
    assert_eq!(world.raise(USR1), killed(SEGV));
    // With a handler for it on another stack, that one is told, and the signal is gone.
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.handle(SEGV, 0x0800_0000, 0);
    assert_eq!(world.set_altstack(SCRATCH + 4 * PAGE, 4 * PAGE, 0), 0);
    for sp in [NOWHERE, 0, 100, u64::MAX, 1 << 47, 0xFFFF_8000_0000_0000] {
        world.change_regs(0, |regs| regs.rsp = sp);
        assert_eq!(world.raise(USR1), Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
        assert_eq!(world.frame().word(48 + 15 * 8), sp);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.mask(), 0);
    }
}

pub(crate) fn without_siginfo_the_space_for_it_is_left_alone() {
    let machine = machine(1);
    let world = World::with(&machine, amd());
    world.put(STACK, &[0xEE; 16 * 4096]);
    world.sigaction(USR1, [HANDLER, 0x0400_0000, RESTORER, 0]);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    let frame = world.frame();
    assert_eq!(world.get::<128>(frame.at + 312), [0xEE; 128]);
    // And the reserved words behind the machine context.
    assert_eq!(world.get::<64>(frame.at + 240), [0xEE; 64]);
    assert_eq!(frame.word(304), 0);
}

pub(crate) fn a_return_cannot_get_what_user_mode_must_not_have() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    // IOPL, VM, VIP, NT; interrupts off.
    world.frame().set_word(48 + 17 * 8, 0x1F_7000);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.regs(0).rflags & !0x5_0DD5, 0x202);
    // Segments and an instruction pointer that IRET refuses: SIGSEGV, with the selector as the error code.
    world.handle(SEGV, 0, 0);
    let selectors = |cs: u64, ss: u64| cs | ss << 48;
    let table = [
        (48 + 18 * 8, selectors(0x10, 0x2B), 0x10),
        (48 + 18 * 8, selectors(0x23, 0x2B), 0x20),
        (48 + 18 * 8, selectors(0x33, 0x18), 0x18),
        (48 + 16 * 8, 1 << 47, 0),
    ];
    for (offset, word, err) in table {
        assert_eq!(world.raise(USR1), Outcome::Resume);
        let good = world.frame().word(offset);
        world.frame().set_word(offset, word);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
        assert_eq!(world.frame().fault()[..2], [err, 13]);
        world.frame().set_word(offset, good);
        assert_eq!(world.sigreturn(), Outcome::Resume);
    }
    // Without UC_STRICT_RESTORE_SS a stack segment that cannot be is put right.
    assert_eq!(world.raise(USR1), Outcome::Resume);
    world.frame().set_word(8, 3);
    world.frame().set_word(48 + 18 * 8, selectors(0x33, 0x18));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!((world.regs(0).ss, world.regs(0).rip), (0x2B, CODE));
}

pub(crate) fn a_return_from_nowhere_is_sigsegv() {
    let machine = machine(1);
    for sp in [0, 8, 100, NOWHERE, 1 << 47, u64::MAX, STACK + 8] {
        let world = World::new(&machine);
        world.handle(SEGV, 0x0800_0000, 0);
        assert_eq!(world.set_altstack(SCRATCH + 4 * PAGE, 4 * PAGE, 0), 0);
        world.change_regs(0, |regs| regs.rsp = sp);
        assert_eq!(world.enter(0, nr::RT_SIGRETURN, &[]), Outcome::Resume);
        // Zeros are a frame of sorts: it returns to 0, and to what was blocked before: nothing.
        let is_readable = sp == STACK + 8;
        if is_readable {
            assert_eq!(world.regs(0).rip, HANDLER);
            assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
        } else {
            assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0), "{sp:#x}");
            assert_eq!(world.frame().word(48 + 15 * 8), sp);
        }
    }
}
