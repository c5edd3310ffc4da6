//! Pardons for one instruction: programs by chance run once undisturbed, with every key open, and once with everything
//! closed and each stray access pardoned. Nobody but the fault handlers must see a difference.
//!
//! What is compared after each instruction and each iteration: the registers, but for TF and IF while a step is under way;
//! then the memory, the traps that the program's own debugger gets, and how many accesses were counted. Handlers of other
//! exceptions, and of interrupts, have to find the flags that the undisturbed program has at that place.

use std::collections::BTreeSet;

use pkeys_core::{Access, Knobs, Mode, PageState, Pardon, Pkey, Rights};
use pkeys_kernel::pks::{
    self, Callbacks, Context, KeyFault, KeyedPage, MAX_ITERATIONS, Pks, PksCpu as _, PksKey,
    Settings, Verdict,
};

use super::chance::Chance;
use super::programs::{KEYS, instruction, key_of, nr_strays_in, page_at, program};
use super::system::{DECLARED, Lock, ONE, THREE, key_fault};
use super::toy::{Bytes, Handlers, IF, Instruction, Kind, PAGE, RF, State, TF, Toy};
use super::world::World;

/// The program alone, with every key open. What it leaves is what the other run is held against.
#[derive(Debug, Default)]
struct Undisturbed {
    /// The registers before each instruction or iteration.
    trace: Vec<State>,
    /// Where the program's own trap flag has trapped.
    own_traps: Vec<u64>,
}

impl Handlers for Undisturbed {
    fn access(&mut self, _: &mut Toy, _: Access, _: u64) -> bool {
        true
    }
    fn debug_trap(&mut self, cpu: &mut Toy) {
        self.own_traps.push(cpu.state.rip);
    }
    fn boundary(&mut self, cpu: &mut Toy, _: bool) {
        self.trace.push(cpu.state);
    }
}

/// The same under pardons.
struct Pardoned<'w> {
    world: &'w World<'w>,
    pks: &'w Pks<Lock>,
    undisturbed: &'w Undisturbed,
    /// Contexts for handlers, by how deep they are nested.
    handlers: Vec<&'w Context>,
    depth: usize,
    chance: Chance,
    own_traps: Vec<u64>,
    /// Pages that are yet to be brought in.
    absent: BTreeSet<u64>,
    /// For so long interrupts were kept out that the program lets in.
    nr_kept_out: u32,
    seen: Seen,
}

/// What has happened, so that a run that shows nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    pardons: usize,
    called_off: usize,
    flags_put_right: usize,
    nmis: usize,
    nmis_in_steps: usize,
    own_traps: usize,
}

impl Seen {
    fn numbers(&mut self) -> [&mut usize; 6] {
        [
            &mut self.pardons,
            &mut self.called_off,
            &mut self.flags_put_right,
            &mut self.nmis,
            &mut self.nmis_in_steps,
            &mut self.own_traps,
        ]
    }
}

impl<'w> Pardoned<'w> {
    fn is_stepped(&self) -> bool {
        self.world.current().is_stepped()
    }

    /// The program's registers at this place, undisturbed.
    fn expected(&self, cpu: &Toy) -> State {
        self.undisturbed.trace[cpu.nr_done]
    }

    /// A handler in a context of its own, closed.
    fn handle<R>(&mut self, body: impl FnOnce(&mut Self, &'w Context) -> R) -> R {
        let interrupted = self.world.current();
        let own = self.handlers[self.depth];
        assert!(own.is_closed() && !own.is_pardoned());
        self.depth += 1;
        pks::enter(self.world, own);
        assert_eq!(self.world.pkrs(), self.pks.closed(), "a handler is closed");
        let result = body(self, interrupted);
        pks::leave(self.world, interrupted);
        self.depth -= 1;
        result
    }

    /// What any other handler does first. It has to find the program's own flags.
    fn other_exception(&mut self, cpu: &mut Toy) {
        let was_stepped = self.is_stepped();
        self.handle(|this, interrupted| {
            pks::call_off(interrupted, &mut cpu.state);
            assert!(!interrupted.is_stepped());
            assert_eq!(cpu.state.rflags & !RF, this.expected(cpu).rflags & !RF);
        });
        self.seen.called_off += usize::from(was_stepped);
    }

    fn key_fault(&mut self, cpu: &mut Toy, access: Access, addr: u64, key: PksKey) {
        let code = cpu.code();
        self.handle(|this, interrupted| {
            let fault = KeyFault {
                addr,
                code: key_fault(access),
                rip: cpu.state.rip,
            };
            let page = KeyedPage {
                pkey: key.pkey(),
                state: PageState::Stray,
            };
            match this.pks.judge(&fault, interrupted, Some(page)) {
                Verdict::Pardon(pardoned) => {
                    let given = pardoned.give(interrupted, &mut cpu.state, &code);
                    assert_eq!(given, Pardon::Instruction);
                }
                verdict => panic!("{verdict:?}"),
            }
            assert_eq!(cpu.state.rflags & (TF | IF), TF);
        });
        self.seen.pardons += 1;
    }

    /// The handler of an NMI, which strays itself, and is stepped.
    fn nmi(&mut self) {
        self.seen.nmis += 1;
        self.seen.nmis_in_steps += usize::from(self.is_stepped());
        self.handle(|this, _| {
            let mut chance = Chance::new(77);
            let stray = instruction(Kind::Store(page_at(1)), &mut chance);
            let state = State {
                rip: 0,
                rsp: 0,
                rflags: 2,
                rcx: 0,
            };
            let mut cpu = Toy::new(&[stray], state, Bytes::new());
            let undisturbed = Undisturbed::default();
            let mut inner = Pardoned {
                undisturbed: &undisturbed,
                handlers: this.handlers.clone(),
                depth: this.depth,
                world: this.world,
                pks: this.pks,
                chance,
                own_traps: Vec::new(),
                absent: BTreeSet::new(),
                nr_kept_out: 0,
                seen: Seen::default(),
            };
            cpu.run(&mut Nested(&mut inner));
            assert_eq!(inner.seen.pardons, 1);
            assert!(!this.world.current().is_pardoned());
            assert_eq!(cpu.state.rflags, 2);
        });
    }
}

impl Handlers for Pardoned<'_> {
    fn access(&mut self, cpu: &mut Toy, access: Access, addr: u64) -> bool {
        if self.absent.remove(&(addr / PAGE)) {
            cpu.state.rflags |= RF;
            self.other_exception(cpu);
            return false;
        }
        let pkrs = self.world.pkrs();
        let stopped_by = key_of(addr).filter(|key| !pkrs.allows(key.pkey(), access));
        let Some(key) = stopped_by else {
            return true;
        };
        cpu.state.rflags |= RF;
        self.key_fault(cpu, access, addr, key);
        false
    }

    fn debug_trap(&mut self, cpu: &mut Toy) {
        let rip = cpu.state.rip;
        let stepped = self.handle(|this, interrupted| {
            let stepped = pks::debug_trap(interrupted, &mut cpu.state)?;
            if let Some(pushed) = stepped.pushed {
                let world = this.world;
                pushed.store(world, |addr, bytes| {
                    let key = key_of(addr).map_or(Pkey::DEFAULT, PksKey::pkey);
                    assert!(
                        world.pkrs().allows(key, Access::Write),
                        "the store would fault"
                    );
                    cpu.store(addr, bytes);
                });
                assert_eq!(world.pkrs(), this.pks.closed());
                this.seen.flags_put_right += 1;
            }
            Some(stepped.is_own)
        });
        if stepped.unwrap_or(true) {
            self.own_traps.push(rip);
            self.seen.own_traps += 1;
        }
    }

    fn boundary(&mut self, cpu: &mut Toy, is_let_in: bool) {
        let expected = self.expected(cpu);
        let mask = if self.is_stepped() { TF | IF | RF } else { RF };
        let flags = |state: State| State {
            rflags: state.rflags & !mask,
            ..state
        };
        assert_eq!(flags(cpu.state), flags(expected));
        let is_kept_out = expected.rflags & IF != 0 && cpu.state.rflags & IF == 0;
        self.nr_kept_out = if is_kept_out { self.nr_kept_out + 1 } else { 0 };
        // An instruction may begin three times: it has two operands.
        let longest = MAX_ITERATIONS + 3;
        assert!(self.nr_kept_out <= longest, "interrupts wait for ever");
        if self.chance.one_in(10) {
            self.nmi();
        }
        if is_let_in && self.chance.one_in(6) {
            self.other_exception(cpu);
        }
    }
}

/// A run inside a handler: nothing else comes in between.
struct Nested<'a, 'w>(&'a mut Pardoned<'w>);

impl Handlers for Nested<'_, '_> {
    fn access(&mut self, cpu: &mut Toy, access: Access, addr: u64) -> bool {
        self.0.access(cpu, access, addr)
    }
    fn debug_trap(&mut self, cpu: &mut Toy) {
        let is_own = self.0.handle(|_, interrupted| {
            let stepped = pks::debug_trap(interrupted, &mut cpu.state);
            stepped.is_none_or(|stepped| stepped.is_own || stepped.pushed.is_some())
        });
        assert!(!is_own);
    }
    fn boundary(&mut self, _: &mut Toy, _: bool) {}
}

pub(crate) fn programs_by_chance_do_not_notice() {
    let settings = Settings {
        knobs: Knobs {
            stray: Mode::Silent,
            shared: Mode::Silent,
        },
        pardon: Pardon::Instruction,
    };
    let mut seen = Seen::default();
    for seed in 0..600 {
        let mut chance = Chance::new(seed + 100);
        let pks = Pks::new(&DECLARED, Callbacks::NONE, settings);
        let mut world = World::new(&pks);
        world.start(&[], false);
        let program = program(&mut chance);
        let stack = page_at(chance.below(KEYS.len()));
        let state = State {
            rip: 0,
            rsp: stack + 0x400,
            rflags: 2 | chance.of(&[0, IF, IF, TF, TF | IF]),
            rcx: chance.below(70) as u64,
        };
        // What POPF finds: flags of all kinds.
        let memory: Bytes = (0..0xC00)
            .map(|at| (stack + at, chance.of(&[0, 1, 2, 3, 0x45])))
            .collect();
        let holds_off = !chance.one_in(4);
        let mut cpu = Toy::new(&program, state, memory);
        cpu.holds_off = holds_off;

        let mut alone = cpu.clone();
        let mut undisturbed = Undisturbed::default();
        alone.run(&mut undisturbed);
        undisturbed.trace.push(alone.state);

        let granted = chance.of(&[None, Some(ONE), Some(THREE)]);
        let thread = world.keep(Context::new());
        let handlers = [(); 4].map(|()| world.keep(Context::new())).to_vec();
        pks::switch_to(&world, thread);
        if let Some(key) = granted {
            let _ = pks::grant(&world, key, Rights::ReadWrite);
        }
        let at_rest = world.pkrs();
        let nr_strays = nr_strays_in(cpu.clone(), granted);
        let absent = (0..KEYS.len())
            .filter(|_| chance.one_in(3))
            .map(|place| page_at(place) / PAGE)
            .collect();
        let mut pardoned = Pardoned {
            world: &world,
            pks: &pks,
            undisturbed: &undisturbed,
            handlers,
            depth: 0,
            chance: Chance::new(seed + 5000),
            own_traps: Vec::new(),
            absent,
            nr_kept_out: 0,
            seen: Seen::default(),
        };
        cpu.run(&mut pardoned);

        assert_eq!(cpu.state, alone.state, "{program:x?}");
        assert_eq!(cpu.memory, alone.memory, "{program:x?}");
        assert_eq!(pardoned.own_traps, undisturbed.own_traps, "{program:x?}");
        assert_eq!(world.pkrs(), at_rest);
        assert!(!thread.is_pardoned() && !thread.is_stepped());
        // Each NMI's handler has strayed once.
        let counted = pks.counters().of_mode(Mode::Silent) - pardoned.seen.nmis as u64;
        // What the instruction behind MOV SS does with the same right goes unseen.
        let is_mov_ss = |instruction: &&Instruction| matches!(instruction.kind, Kind::MovSs(_));
        let nr_unseen = program.iter().filter(is_mov_ss).count() as u64;
        assert!(
            counted <= nr_strays && counted + nr_unseen >= nr_strays,
            "{program:x?}"
        );
        for (sum, number) in seen.numbers().into_iter().zip(pardoned.seen.numbers()) {
            *sum += *number;
        }
    }
    println!("{seen:?}");
    assert!(
        seen.numbers().iter().all(|number| **number > 100),
        "{seen:?}"
    );
}
