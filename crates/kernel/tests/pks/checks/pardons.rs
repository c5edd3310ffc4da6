//! Pardons through the lives of threads and handlers, by chance, against a model.
//!
//! Four threads on two CPUs grant themselves rights, stray, are interrupted, preempted in the middle of a fault's handler,
//! and moved. The model keeps sets of bits and lists of grants for each context; after each step both registers have to be
//! what it says.

use pkeys_core::{Access, KeyRegister, Knobs, Mode, PageState, Pardon, Rights};
use pkeys_kernel::pks::{
    self, Callbacks, Context, Granted, KeyFault, KeyedPage, Pks, Settings, Verdict,
};

use super::chance::Chance;
use super::life::{CALLBACKS, KEYS, Life, MOODS, Stray, needed};
use super::system::{DECLARED, Frame, IF, Lock, ONE, THREE, TWO, key_fault};
use super::world::World;

const MODES: [Mode; 3] = [Mode::Relaxed, Mode::Silent, Mode::Off];
const NR_THREADS: usize = 4;

/// MOV [RAX], EAX.
const CODE: [u8; 3] = [0x89, 0x00, 0x90];

/// Everything, for one program.
struct Play<'w> {
    world: &'w World<'w>,
    pks: &'w Pks<Lock>,
    /// Each thread's contexts, the running one last.
    threads: Vec<Vec<Life<'w>>>,
    /// Which thread runs on which CPU.
    running: [usize; 2],
    chance: Chance,
    nr_pardons: [usize; 2],
    nr_stray: u64,
}

impl<'w> Play<'w> {
    fn new(world: &'w World<'w>, chance: Chance) -> Self {
        let mut threads: Vec<_> = (0..NR_THREADS)
            .map(|_| vec![Life::new(world, None)])
            .collect();
        for (cpu, thread) in threads.iter_mut().enumerate().take(2) {
            world.set_here(cpu);
            pks::switch_to(world, thread[0].context);
        }
        Self {
            world,
            pks: world.pks(),
            threads,
            running: [0, 1],
            chance,
            nr_pardons: [0; 2],
            nr_stray: 0,
        }
    }

    fn top(&mut self, cpu: usize) -> &mut Life<'w> {
        let thread = self.running[cpu];
        self.threads[thread].last_mut().unwrap()
    }

    fn check(&mut self, after: &str) {
        let knobs = self.pks.knobs();
        for cpu in [0, 1] {
            self.world.set_here(cpu);
            let expected = self.top(cpu).register(knobs);
            assert_eq!(self.world.pkrs(), expected, "after {after}, on CPU {cpu}");
        }
        let silent = self.pks.counters().of_mode(Mode::Silent);
        let relaxed = self.pks.counters().of_mode(Mode::Relaxed);
        assert_eq!(silent + relaxed, self.nr_stray, "after {after}");
    }

    fn step(&mut self) -> &'static str {
        let cpu = self.chance.below(2);
        self.world.set_here(cpu);
        match self.chance.below(16) {
            0..3 => self.grant(cpu),
            3..5 => self.revoke(cpu),
            5..9 => self.stray(cpu),
            9..12 => self.end_handler(cpu),
            12 => self.interrupt(cpu),
            13 => self.switch(cpu),
            14 => self.return_to_user(cpu),
            _ => self.turn(),
        }
    }

    fn grant(&mut self, cpu: usize) -> &'static str {
        let key = self.chance.of(&KEYS);
        let rights = self
            .chance
            .of(&[Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite]);
        let granted = pks::grant(self.world, key, rights);
        self.top(cpu).grants.push(granted);
        "a grant"
    }

    fn revoke(&mut self, cpu: usize) -> &'static str {
        let nr_open = self.top(cpu).grants.len();
        if nr_open == 0 {
            return "nothing";
        }
        let place = self.chance.below(nr_open);
        let life = self.top(cpu);
        let granted = life.grants.swap_remove(place);
        // One for nothing has opened nothing.
        let is_open = |granted: &Granted| granted.rights() != Rights::NoAccess;
        if !life.grants.iter().any(is_open) {
            life.end_pardons();
        }
        pks::revoke(self.world, granted);
        "the end of a grant"
    }

    /// An access: if it faults, the handler begins.
    fn stray(&mut self, cpu: usize) -> &'static str {
        let stray = Stray {
            key: self.chance.of(&KEYS),
            access: self.chance.of(&[Access::Read, Access::Write]),
            page: self.chance.of(&[PageState::Stray, PageState::Shared]),
            mood: self.chance.of(&MOODS),
            rip: 0x1000 + self.chance.below(8) as u64,
        };
        let knobs = self.pks.knobs();
        let life = self.top(cpu);
        if life.may(stray.key, stray.access, knobs) {
            return "an access";
        }
        self.begin_handler(cpu, Some(stray));
        "a stray access"
    }

    fn interrupt(&mut self, cpu: usize) -> &'static str {
        self.begin_handler(cpu, None);
        "an interrupt"
    }

    fn begin_handler(&mut self, cpu: usize, handles: Option<Stray>) {
        let life = Life::new(self.world, handles);
        pks::enter(self.world, life.context);
        self.threads[self.running[cpu]].push(life);
    }

    fn end_handler(&mut self, cpu: usize) -> &'static str {
        let thread = self.running[cpu];
        if self.threads[thread].len() == 1 {
            return "nothing";
        }
        let handler = self.threads[thread].pop().unwrap();
        let below = self.top(cpu).context;
        let Some(stray) = handler.handles else {
            pks::leave(self.world, below);
            return "the end of an interrupt";
        };
        let is_stepped = self.judge(cpu, stray);
        pks::leave(self.world, below);
        if is_stepped {
            self.run_step(cpu, stray);
            return "a pardon for an instruction";
        }
        let knobs = self.pks.knobs();
        assert!(self.top(cpu).may(stray.key, stray.access, knobs));
        "a pardon, or a callback"
    }

    /// Judges, gives the pardon, and does the same in the model. Whether there is an instruction to be stepped.
    fn judge(&mut self, cpu: usize, stray: Stray) -> bool {
        let fault = KeyFault {
            addr: MOODS.iter().position(|mood| *mood == stray.mood).unwrap() as u64,
            code: key_fault(stray.access),
            rip: stray.rip,
        };
        let page = KeyedPage {
            pkey: stray.key.pkey(),
            state: stray.page,
        };
        let Settings { knobs, pardon } = self.pks.settings();
        let mode = knobs.mode_for(stray.page);
        let life = self.top(cpu);
        let context = life.context;
        let has_callback = [ONE, TWO].contains(&stray.key);
        let is_handled = life.may(stray.key, stray.access, knobs)
            || (mode != Mode::Off && has_callback && life.call_back(stray));
        let expected = (!is_handled).then_some(pardon);
        let verdict = self.pks.judge(&fault, context, Some(page));
        let mut frame = frame(stray.rip);
        let given = match verdict {
            Verdict::Retry => None,
            Verdict::Pardon(pardoned) => Some(pardoned.give(context, &mut frame, &CODE)),
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(given, expected, "{stray:?} under {mode}");
        if given.is_some() && mode != Mode::Off {
            self.nr_stray += 1;
        }
        if given == Some(Pardon::Context) {
            self.nr_pardons[0] += 1;
            self.top(cpu).lend(&needed(stray.key, stray.access));
        }
        given == Some(Pardon::Instruction)
    }

    /// Interrupts are kept out; an NMI may come. Then the instruction is done.
    fn run_step(&mut self, cpu: usize, stray: Stray) {
        self.nr_pardons[1] += 1;
        let knobs = self.pks.knobs();
        let life = self.top(cpu);
        let context = life.context;
        let mut expected = life.register(knobs);
        for (key, is_wd) in needed(stray.key, stray.access) {
            let place = 2 * u32::from(key.pkey().get()) + u32::from(is_wd);
            expected = KeyRegister::from_bits(expected.bits() & !(1 << place));
        }
        let handler = self.world.keep(Context::new());
        for is_nmi in [self.chance.one_in(2), false] {
            assert_eq!(self.world.pkrs(), expected);
            if is_nmi {
                pks::enter(self.world, self.world.keep(Context::new()));
                pks::leave(self.world, context);
            }
        }
        let mut frame = frame(stray.rip + 3);
        pks::enter(self.world, handler);
        assert!(pks::debug_trap(context, &mut frame).is_some());
        pks::leave(self.world, context);
        assert!(!context.is_stepped());
    }

    /// Another thread gets the CPU; one that runs on the other CPU changes places with this one.
    fn switch(&mut self, cpu: usize) -> &'static str {
        let next = self.chance.below(NR_THREADS);
        let this = self.running[cpu];
        let other = 1 - cpu;
        self.running[cpu] = next;
        if self.running[other] == next && this != next {
            self.running[other] = this;
            self.world.set_here(other);
            let context = self.top(other).context;
            pks::switch_to(self.world, context);
            self.world.set_here(cpu);
        }
        let context = self.top(cpu).context;
        pks::switch_to(self.world, context);
        "a switch"
    }

    fn return_to_user(&mut self, cpu: usize) -> &'static str {
        if self.threads[self.running[cpu]].len() > 1 {
            return "nothing";
        }
        self.top(cpu).end_pardons();
        pks::end_of_context(self.world);
        "the return to user mode"
    }

    fn turn(&mut self) -> &'static str {
        let knobs = Knobs {
            stray: self.chance.of(&MODES),
            shared: self.chance.of(&MODES),
        };
        let pardon = self.chance.of(&Pardon::ALL);
        let refresh = self.pks.set(Settings { knobs, pardon });
        refresh.on_every_cpu(|| {
            for cpu in [0, 1] {
                self.world.set_here(cpu);
                pks::refresh(self.world);
            }
        });
        "a change of modes"
    }
}

fn frame(rip: u64) -> Frame {
    Frame {
        rip,
        rflags: IF | 2,
    }
}

pub(crate) fn lives_by_chance_agree_with_a_model() {
    let mut nr_pardons = [0; 2];
    for seed in 0..600 {
        let settings = Settings {
            knobs: Knobs {
                stray: Mode::Silent,
                shared: Mode::Relaxed,
            },
            pardon: Pardon::ALL[seed % 2],
        };
        let pks = Pks::new(&DECLARED, CALLBACKS, settings);
        for key in [ONE, TWO] {
            let id = CALLBACKS.id("moods");
            pks.keys().set_callback(key, Some(id)).unwrap();
        }
        let mut world = World::new(&pks);
        world.start(&[], false);
        let mut play = Play::new(&world, Chance::new(seed as u64 + 10));
        for _ in 0..60 {
            let after = play.step();
            play.check(after);
        }
        for (sum, of_this) in nr_pardons.iter_mut().zip(play.nr_pardons) {
            *sum += of_this;
        }
        assert_eq!(world.end().1, None);
    }
    println!("pardons for a context, for an instruction: {nr_pardons:?}");
    assert!(nr_pardons.iter().all(|nr| *nr > 500));
}

pub(crate) fn a_pardon_ends_with_each_of_its_events() {
    let settings = Settings {
        knobs: Knobs {
            stray: Mode::Silent,
            shared: Mode::Silent,
        },
        pardon: Pardon::Context,
    };
    let pks = Pks::new(&DECLARED, Callbacks::NONE, settings);
    let pardoned = |context: &Context| {
        let fault = KeyFault {
            addr: 0,
            code: key_fault(Access::Write),
            rip: 1,
        };
        let page = KeyedPage {
            pkey: ONE.pkey(),
            state: PageState::Stray,
        };
        let Verdict::Pardon(pardon) = pks.judge(&fault, context, Some(page)) else {
            panic!("silent pardons");
        };
        let _ = pardon.give(context, &mut frame(1), &CODE);
    };
    let mut world = World::new(&pks);
    world.start(&[], false);
    let thread = world.keep(Context::new());
    pks::switch_to(&world, thread);
    let is_open = || world.pkrs().rights(ONE.pkey()) == Rights::ReadWrite;
    let stray = |handler: &Context| {
        pks::enter(&world, handler);
        pardoned(thread);
        pks::leave(&world, thread);
        assert!(is_open());
    };
    let handler = world.keep(Context::new());
    // The return to user mode, or the end of a work item.
    stray(handler);
    pks::end_of_context(&world);
    assert!(!is_open());
    // The end of the outermost grant on whichever key, and not of an inner one.
    stray(handler);
    let outer = pks::grant(&world, TWO, Rights::ReadOnly);
    let inner = pks::grant(&world, THREE, Rights::ReadWrite);
    pks::revoke(&world, inner);
    assert!(is_open());
    pks::revoke(&world, outer);
    assert!(!is_open());
    // The return from an interrupt: what its handler was pardoned is gone with it, and was never the thread's.
    pks::enter(&world, handler);
    pardoned(handler);
    pks::refresh(&world);
    assert!(is_open());
    pks::leave(&world, thread);
    assert!(!is_open() && !thread.is_pardoned());
}
