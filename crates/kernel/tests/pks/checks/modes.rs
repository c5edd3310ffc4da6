//! Settings: what options say, and what a change does to contexts that run and that do not.

use pkeys_core::{Knobs, Mode, Pardon, Rights};
use pkeys_kernel::pks::{
    self, Callbacks, Context, Declaration, Declared, NR_SITES, Pks, PksCpu as _, Settings, Sites,
};

use super::system::{CLOSED, Lock, ONE, SHARED, THREE, TWO, register, silent, system};
use super::world::World;

pub(crate) fn options_set_what_they_name() {
    let with = |option: &str| Settings::DEFAULT.with_option(option);
    for mode in Mode::ALL {
        let set = |option: String| with(&option).unwrap().unwrap();
        let shared = set(format!("pks={mode}"));
        assert_eq!(
            (shared.knobs.stray, shared.knobs.shared),
            (Mode::Strict, mode)
        );
        let stray = set(format!("pks_stray={mode}"));
        assert_eq!(
            (stray.knobs.stray, stray.knobs.shared),
            (mode, Mode::Relaxed)
        );
        assert_eq!([shared.pardon, stray.pardon], [Pardon::Instruction; 2]);
    }
    for pardon in Pardon::ALL {
        let set = with(&format!("pks_pardon={pardon}")).unwrap().unwrap();
        assert_eq!((set.knobs, set.pardon), (Knobs::DEFAULT, pardon));
    }
    for other in [
        "",
        "pks",
        "pkss=strict",
        "init_pkru=0",
        "=strict",
        "PKS=off",
    ] {
        assert_eq!(with(other), None, "{other:?}");
    }
    for (bad, says) in [
        (
            "pks=lax",
            "\"lax\" is not one of strict, relaxed, silent or off",
        ),
        (
            "pks_stray=",
            "\"\" is not one of strict, relaxed, silent or off",
        ),
        (
            "pks_pardon=strict",
            "\"strict\" is not one of instruction or context",
        ),
    ] {
        assert_eq!(with(bad).unwrap().unwrap_err().to_string(), says);
    }
}

fn knobs(stray: Mode, shared: Mode) -> Settings {
    Settings {
        knobs: Knobs { stray, shared },
        pardon: Pardon::Context,
    }
}

pub(crate) fn off_opens_the_keys_of_its_knob() {
    let declared = Declared::new([
        Declaration::new("one"),
        Declaration {
            closed: Rights::ReadOnly,
            ..Declaration::new("two")
        },
        Declaration::shared("three"),
    ]);
    let pks: Pks<Lock> = Pks::new(&declared, Callbacks::NONE, Settings::DEFAULT);
    // Keys 3, 2, 1 and 0 are the last byte; keys that nobody has are closed, or stray.
    let (on, stray_off) = (0xFFFF_FF00_u32, 0);
    for stray in Mode::ALL {
        for shared in Mode::ALL {
            let before = pks.closed();
            let refresh = pks.set(knobs(stray, shared));
            let rest = if stray == Mode::Off { stray_off } else { on };
            let three = if shared == Mode::Off {
                0
            } else {
                0b11_00_00_00
            };
            let two_one = if stray == Mode::Off { 0 } else { 0b10_11_00 };
            assert_eq!(pks.closed().bits(), rest | three | two_one);
            assert_eq!(refresh.is_needed(), pks.closed() != before);
            let mut is_called = false;
            refresh.on_every_cpu(|| is_called = true);
            assert_eq!(is_called, refresh.is_needed());
            assert_eq!(pks.knobs(), Knobs { stray, shared });
        }
    }
}

pub(crate) fn a_change_reaches_saved_contexts_and_takes_no_grant() {
    let pks = system(silent(Pardon::Context), false);
    let mut world = World::new(&pks);
    world.start(&[], false);
    let _ = pks.set(Settings::DEFAULT);
    // A thread with a grant, a handler on top of it with another, and a third with none: all interrupted, none running.
    let idle = world.current();
    let [thread, handler, inner] = [(); 3].map(|()| world.keep(Context::new()));
    pks::switch_to(&world, thread);
    let on_one = pks::grant(&world, ONE, Rights::ReadWrite);
    pks::enter(&world, handler);
    let on_two = pks::grant(&world, TWO, Rights::ReadOnly);
    pks::enter(&world, inner);
    pks::switch_to(&world, idle);

    let settings = [
        (Mode::Strict, Mode::Off),
        (Mode::Off, Mode::Off),
        (Mode::Off, Mode::Silent),
        (Mode::Relaxed, Mode::Strict),
    ];
    for (stray, shared) in settings {
        let refresh = pks.set(knobs(stray, shared));
        assert!(refresh.is_needed());
        for cpu in [0, 1] {
            world.set_here(cpu);
            pks::refresh(&world);
        }
        world.set_here(0);
        let closed = match (stray, shared) {
            (Mode::Off, Mode::Off) => 0,
            (Mode::Off, _) => CLOSED & 0b11_00_00_00_00,
            (_, Mode::Off) => CLOSED & !0b11_00_00_00_00,
            _ => CLOSED,
        };
        let expect = |reads: &[_], writes: &[_]| {
            assert_eq!(
                world.pkrs(),
                register(closed, reads, writes),
                "{stray} {shared}"
            );
        };
        expect(&[], &[]);
        pks::switch_to(&world, inner);
        expect(&[], &[]);
        let own = pks::grant(&world, SHARED, Rights::ReadOnly);
        expect(&[SHARED], &[]);
        pks::revoke(&world, own);
        pks::leave(&world, handler);
        expect(&[TWO], &[]);
        pks::leave(&world, thread);
        expect(&[], &[ONE]);
        // Back, as it was.
        pks::enter(&world, handler);
        let again = pks::grant(&world, THREE, Rights::ReadWrite);
        expect(&[TWO], &[THREE]);
        pks::revoke(&world, again);
        pks::enter(&world, inner);
        pks::switch_to(&world, idle);
    }
    pks::switch_to(&world, handler);
    pks::revoke(&world, on_two);
    pks::leave(&world, thread);
    pks::revoke(&world, on_one);
    assert_eq!(world.pkrs(), register(CLOSED, &[], &[]));
    assert_eq!(world.end().1, None);
}

pub(crate) fn each_site_is_told_of_once() {
    let sites = Sites::new();
    assert!(!sites.is_first(0), "no instruction is there");
    // Addresses that are close together, and so may hash to one place.
    let sites_of = || (0..NR_SITES as u64).map(|number| 0xFFFF_8000_0000_0000 + number * 3);
    for rip in sites_of() {
        assert!(sites.is_first(rip));
        assert!(!sites.is_first(rip));
    }
    assert!(sites_of().all(|rip| !sites.is_first(rip)));
    // The table is full: silence, and an end.
    assert!(!sites.is_first(0x1234));
    // Of several that ask at once, one is told.
    let sites = Sites::new();
    let ask = || (1..200_u64).filter(|rip| sites.is_first(*rip)).count();
    let total: usize = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(ask));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert_eq!(total, 199);
}
