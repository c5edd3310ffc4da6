//! PKRU at every event: who starts with what, and what a signal frame does to it.

use pkeys_core::XsaveLayout;
use pkeys_kernel::abi::{Errno, nr};
use pkeys_kernel::hardware::Cpu;
use pkeys_kernel::keys::InitPkru;
use pkeys_kernel::signal::xstate::XstateConfig;
use pkeys_kernel::{Config, Outcome};
use pkeys_machine::Controls;

use super::rig::*;

const VALUES: [u32; 5] = [0, INIT, 0x4545_4544, 0xFFFF_FFF0, 0x10];

/// Both processors, and one that keeps PKRU somewhere else.
fn configs() -> [Config; 3] {
    let odd = XstateConfig {
        size: 4096,
        layout: XsaveLayout { pkru_offset: 3584 },
        ..XstateConfig::AMD
    };
    [
        Config::default(),
        amd(),
        Config {
            xstate: odd,
            ..Config::default()
        },
    ]
}

pub(crate) fn a_handler_starts_with_the_initial_value_and_gives_the_old_one_back() {
    for config in configs() {
        let machine = machine(1);
        let world = World::with(&machine, config);
        world.handle(USR1, 0, 0);
        for pkru in VALUES {
            world.set_pkru(0, pkru);
            assert_eq!(world.raise(USR1), Outcome::Resume);
            assert_eq!(world.pkru(0), INIT);
            assert_eq!(world.frame().pkru(), pkru);
            // The bit is set even where XSAVE leaves it clear for a value of 0.
            assert_eq!(world.word(world.frame().xstate() + 512) & 0x200, 0x200);
            // What the handler does to its own register is gone with it.
            world.set_pkru(0, 0xFFFF_FFF0);
            assert_eq!(world.sigreturn(), Outcome::Resume);
            assert_eq!(world.pkru(0), pkru, "{pkru:#x}");
        }
    }
}

pub(crate) fn what_a_handler_writes_into_its_frame_decides() {
    for config in configs() {
        let machine = machine(1);
        let world = World::with(&machine, config);
        world.handle(USR1, 0, 0);
        let size = u64::from(config.xstate.size);
        let features = config.xstate.features;
        let xstate_word = |offset| world.word(world.frame().xstate() + offset);
        // Where in the extended state a word is changed, to what, and what PKRU is then.
        let table = [
            (512, xstate_bv(features & !0x200), 0),
            (472, features & !0x200, 0),
            // Magic numbers and sizes.
            (464, 0, 0),
            (size, 0, 0),
            (480, size + 64, 0),
            (480, 512, 0),
            // Not strange enough: the magic number is looked for where the size says.
            (480, size, 0x4545_4544),
            // Bits of components that the frame claims to have, and the processor has not, are dropped.
            (472, u64::MAX, 0x4545_4544),
        ];
        for (offset, word, expected) in table {
            world.set_pkru(0, 0x4545_4544);
            assert_eq!(world.raise(USR1), Outcome::Resume);
            let at = world.frame().xstate() + offset;
            world.put_words(at, &[word]);
            assert_eq!(world.sigreturn(), Outcome::Resume);
            assert!(!world.is_in_handler());
            assert_eq!(world.pkru(0), expected, "{offset} {word:#x}");
        }
        for pkru in VALUES {
            world.set_pkru(0, 0x4545_4544);
            assert_eq!(world.raise(USR1), Outcome::Resume);
            assert_eq!(xstate_word(464) & 0xFFFF_FFFF, 0x4650_5853);
            world.frame().set_pkru(pkru);
            assert_eq!(world.sigreturn(), Outcome::Resume);
            assert_eq!(world.pkru(0), pkru);
        }
        // No extended state at all: as at the start of a program.
        assert_eq!(world.raise(USR1), Outcome::Resume);
        world.frame().set_word(232, 0);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.pkru(0), INIT);
    }
}

/// `XSTATE_BV` as the initial frame has it, with bits taken out.
const fn xstate_bv(features: u64) -> u64 {
    features & 3
}

pub(crate) fn a_frame_that_xrstor_refuses_is_sigsegv() {
    let machine = machine(1);
    let world = World::with(&machine, amd());
    world.handle(USR1, 0, 0);
    world.handle(SEGV, 0, 0);
    // XSTATE_BV, XCOMP_BV, the reserved words, MXCSR.
    let table = [(512, 0x800), (520, 1 << 63), (528, 1), (24, 0xFFFF_FFFF)];
    for (offset, word) in table {
        world.set_pkru(0, 0x4545_4544);
        assert_eq!(world.raise(USR1), Outcome::Resume);
        world.put_words(world.frame().xstate() + offset, &[word]);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0), "{offset}");
        assert_eq!(world.frame().pkru(), INIT);
        assert_eq!(world.sigreturn(), Outcome::Resume);
    }
    // Where it lies: nowhere, not aligned, in the kernel's half.
    for at in [NOWHERE, SCRATCH + 8, SCRATCH + 16, 1 << 63, u64::MAX] {
        assert_eq!(world.raise(USR1), Outcome::Resume);
        if at / PAGE == SCRATCH / PAGE {
            let state = world.get::<844>(world.frame().xstate());
            world.put(at, &state);
        }
        world.frame().set_word(232, at);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0), "{at:#x}");
        assert_eq!(world.sigreturn(), Outcome::Resume);
    }
    // The old part alone need only be aligned to 16.
    assert_eq!(world.raise(USR1), Outcome::Resume);
    world.put_words(SCRATCH + 16, &[0; 64]);
    world.frame().set_word(232, SCRATCH + 16);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!((world.pkru(0), world.is_in_handler()), (0, false));
}

pub(crate) fn a_frame_goes_onto_a_stack_whose_key_is_closed() {
    let machine = machine(1);
    // The ordinary stack behind key 0, which is closed.
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.set_pkru(0, 0x5555_5555);
    let pid = number(world.processor(0).current().unwrap().tid());
    assert_eq!(world.enter(0, nr::TGKILL, &[pid, pid, 10]), Outcome::Resume);
    assert_eq!((world.pkru(0), world.frame().pkru()), (INIT, 0x5555_5555));
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.pkru(0), 0x5555_5555);
    // An alternate stack behind a key that nobody has open, the handler neither.
    let world = World::new(&machine);
    world.handle(SEGV, 0x0800_0000, 0);
    let key = world.map_keyed(ARENA, 4, 1);
    assert_eq!(world.set_altstack(ARENA, 4 * PAGE, 0), 0);
    let open = INIT & !(3 << (2 * key));
    world.set_pkru(0, 0x5555_5555);
    assert!(world.read(0, SCRATCH).is_err());
    assert_eq!(
        (world.frame().at > ARENA, world.frame().info()),
        (true, (SEGV, 4, SCRATCH, 0))
    );
    assert_eq!((world.pkru(0), world.frame().pkru()), (INIT, 0x5555_5555));
    // The handler opens the key, and closes it for the time after it: the frame is read before.
    world.set_pkru(0, open);
    world.frame().set_pkru(0x5555_5554);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!((world.pkru(0), world.is_in_handler()), (INIT, false));
    // It does not open it: the return reads nothing, and there is no handler that could run.
    assert!(world.read(0, NOWHERE).is_err());
    assert_eq!(world.sigreturn(), killed(SEGV));
}

pub(crate) fn pkru_after_a_frame_that_failed() {
    let machine = machine(1);
    // Where the stack pointer is above the only page, and what SIGSEGV's frame says of PKRU.
    let table = [
        // The extended state does not fit: the register goes back.
        (128 + 100, 0x4545_4544),
        // It fits and what comes after it does not: it stays open.
        (128 + 2700 + 64, 0),
    ];
    for (above, expected) in table {
        let world = World::new(&machine);
        world.handle(USR1, 0, 0);
        world.handle(SEGV, 0x0800_0000, 0);
        assert_eq!(world.set_altstack(SCRATCH + 4 * PAGE, 4 * PAGE, 0), 0);
        world.map(0, ARENA, 1);
        world.change_regs(0, |regs| regs.rsp = ARENA + above);
        world.set_pkru(0, 0x4545_4544);
        assert_eq!(world.raise(USR1), Outcome::Resume);
        assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
        assert_eq!(world.frame().pkru(), expected);
        assert_eq!(world.pkru(0), INIT);
    }
}

pub(crate) fn children_inherit_and_programs_start_anew() {
    let machine = machine(1);
    let world = World::new(&machine);
    let key = world.ok(nr::PKEY_ALLOC, &[0, 0]);
    world.set_pkru(0, 0x4545_4540);
    let thread = world.thread();
    world.set_pkru(0, 0x4545_4544);
    let child = world.fork();
    world.set_pkru(0, 0);
    for (tid, pkru) in [(thread, 0x4545_4540), (child, 0x4545_4544), (1, 0)] {
        world.run(0, tid);
        assert_eq!(
            (world.pkru(0), world.regs(0).rax & 0xFFFF),
            (pkru, if tid == 1 { number(child) } else { 0 })
        );
    }
    // The child has the same keys, and its own map.
    world.run(0, child);
    assert_eq!(world.call(nr::PKEY_FREE, &[key]), 0);
    assert_eq!(
        world.call(nr::PKEY_GET, &[key, 0]),
        error(Errno::BadDescriptor)
    );
    assert_eq!(world.ok(nr::PKEY_ALLOC, &[0, 0]), key);
    world.put(SCRATCH, b"/bin\0");
    assert_eq!(world.call(nr::EXECVE, &[SCRATCH, 0, 0]), 0);
    assert_eq!((world.pkru(0), world.regs(0).rip), (INIT & !0xC | 4, CODE));
    // A new map, in which the program's execute-only code has taken the first key.
    assert_eq!(
        world.call(nr::PKEY_GET, &[key, 0]),
        error(Errno::BadDescriptor)
    );
    world.run(0, 1);
    assert_eq!(world.call(nr::PKEY_GET, &[key, 0]), 0);
    assert_eq!(world.pkru(0), 0);
}

pub(crate) fn another_initial_value_is_everybodys() {
    let machine = machine(1);
    let init = InitPkru::new(0xAAAA_AAA8).unwrap();
    let world = World::with(
        &machine,
        Config {
            init_pkru: init,
            ..Config::default()
        },
    );
    assert_eq!(world.pkru(0), 0xAAAA_AAA8);
    world.handle(USR1, 0, 0);
    world.set_pkru(0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert_eq!(world.pkru(0), 0xAAAA_AAA8);
}

pub(crate) fn without_keys_the_register_is_never_touched() {
    let machine = machine(2);
    for cpu in machine.cpus() {
        let without = Controls {
            pke: false,
            ..cpu.controls()
        };
        cpu.set_controls(without);
        assert!(!cpu.has_pku());
    }
    let xstate = XstateConfig {
        size: 832,
        features: 7,
        ..XstateConfig::AMD
    };
    let world = World::with(
        &machine,
        Config {
            xstate,
            has_watchdog: true,
            ..Config::default()
        },
    );
    world.handle(USR1, 0, 0);
    assert_eq!(world.raise(USR1), Outcome::Resume);
    assert_eq!(world.word(world.frame().xstate() + 512), 3);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    // Key 0 is taken by the first call that asks, and is none of those that a call gives.
    assert_eq!(world.call(nr::PKEY_ALLOC, &[0, 0]), error(Errno::Invalid));
    assert_eq!(world.call(nr::PKEY_ALLOC, &[0, 0]), error(Errno::NoSpace));
    assert_eq!(
        world.call(nr::PKEY_GET, &[0, 0]),
        error(Errno::BadDescriptor)
    );
    assert_eq!(
        world.call(nr::PKEY_SET, &[0, 0, 0]),
        error(Errno::BadDescriptor)
    );
    let thread = world.thread();
    world.run(0, thread);
    world.run(0, 1);
    assert!(world.kernel.tick(world.processor(0)).is_none());
    for cpu in machine.cpus() {
        assert_eq!(cpu.counters().pkru_writes, 0);
    }
}

pub(crate) fn only_what_a_frame_claims_to_have_must_be_there() {
    let machine = machine(1);
    let world = World::new(&machine);
    world.handle(USR1, 0, 0);
    world.handle(SEGV, 0, 0);
    world.map(0, ARENA, 1);
    let at = ARENA + PAGE - 640;
    // XSTATE_BV, whether the second magic number is right, and what PKRU is then; `None` for SIGSEGV.
    let table = [
        (3, true, Some(0)),
        (3, false, Some(0)),
        // With a PKRU that would lie behind the page.
        (0x203, true, None),
        // Without the second magic number only the first 512 bytes count.
        (0x203, false, Some(0)),
    ];
    for (features, has_magic2, expected) in table {
        world.set_pkru(0, 0x4545_4544);
        assert_eq!(world.raise(USR1), Outcome::Resume);
        let start = world.get::<576>(world.frame().xstate());
        world.put(at, &start);
        world.put_words(at + 480, &[576]);
        world.put_words(at + 512, &[features]);
        world.put(
            at + 576,
            &(u32::from(has_magic2) * 0x4650_5845).to_le_bytes(),
        );
        world.frame().set_word(232, at);
        assert_eq!(world.sigreturn(), Outcome::Resume);
        assert_eq!(world.is_in_handler(), expected.is_none(), "{features:#x}");
        match expected {
            Some(pkru) => assert_eq!(world.pkru(0), pkru),
            None => assert_eq!(world.sigreturn(), Outcome::Resume),
        }
    }
    // And where even those are not there.
    assert_eq!(world.raise(USR1), Outcome::Resume);
    world.frame().set_word(232, ARENA + PAGE - 448);
    world.put_words(ARENA + PAGE - 448, &[0; 56]);
    assert_eq!(world.sigreturn(), Outcome::Resume);
    assert_eq!(world.frame().info(), (SEGV, 0x80, 0, 0));
}
