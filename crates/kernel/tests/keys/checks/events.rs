//! What happens to the register when threads are made, switched, given a program, and interrupted by signals.

use pkeys_core::{AccessBits, KeyRegister};
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys};

use super::model::{self, Chance, Pairs, Register};

const INIT: InitPkru = InitPkru::DEFAULT;

/// Another start value, as a boot parameter gives one.
fn other_init() -> InitPkru {
    InitPkru::new(0x1234_5678).expect("key 0 is open")
}

pub(crate) fn each_event_gives_linux_value() {
    let mut chance = Chance::new(4);
    for init in [INIT, other_init()] {
        for _ in 0..200 {
            let before = chance.register();
            let register = Register::new(before);
            let thread = ThreadKeys::new(init);
            assert_eq!(thread.saved(), init.register());
            // A child has what its creator has now, not what the kernel gave it.
            let child = thread.inherit(&register, init);
            assert_eq!(child.saved(), before);
            // A handler starts anew, and the frame gets what was.
            assert_eq!(thread.enter_handler(&register, init), before);
            assert_eq!(register.read(), init.register());
            // It ends with what the frame has by then.
            let edited = chance.register();
            thread.load(edited, &register);
            assert_eq!((register.read(), thread.granted()), (edited, edited));
            // A program starts anew.
            register.wrpkru(before);
            thread.exec(&register, init);
            assert_eq!(register.read(), init.register());
            assert_eq!(thread.granted(), init.register());
            // A tracer sees and sets what is not running.
            thread.set_saved(edited);
            assert_eq!((thread.saved(), thread.granted()), (edited, edited));
            assert_eq!(register.read(), init.register());
        }
    }
}

pub(crate) fn switches_write_only_what_differs() {
    let mut chance = Chance::new(5);
    let some = [0, 0x5555_5554, 0x5555_5550, u32::MAX].map(KeyRegister::from_bits);
    for live in some.into_iter().chain((0..20).map(|_| chance.register())) {
        for wanted in some {
            let (from, to) = (ThreadKeys::new(INIT), ThreadKeys::new(INIT));
            to.set_saved(wanted);
            let register = Register::new(live);
            from.switch_to(&to, &register);
            assert_eq!(register.read(), wanted);
            assert_eq!(from.saved(), live);
            assert_eq!(register.take_writes(), usize::from(live != wanted));

            let register = Register::new(live);
            to.first_switch(&register);
            assert_eq!(register.read(), wanted);
            assert_eq!(register.take_writes(), usize::from(live != wanted));
        }
    }
}

/// Threads on one CPU, and what each has to have.
struct Cpu {
    threads: Vec<(ThreadKeys, Pairs)>,
    running: usize,
    register: Register,
    /// What lies in the frames of the handlers that run, with whose they are.
    frames: Vec<(usize, KeyRegister)>,
}

impl Cpu {
    fn new() -> Self {
        let init = INIT.register();
        Self {
            threads: vec![(ThreadKeys::new(INIT), model::pairs(init))],
            running: 0,
            register: Register::new(init),
            frames: Vec::new(),
        }
    }

    fn step(&mut self, chance: &mut Chance) {
        let at_start = model::pairs(INIT.register());
        match chance.below(7) {
            0 if self.threads.len() < 6 => {
                let (thread, pairs) = &self.threads[self.running];
                let child = (thread.inherit(&self.register, INIT), *pairs);
                self.threads.push(child);
            }
            0 | 1 => {
                let next = chance.below(self.threads.len());
                if next != self.running {
                    let (from, to) = (&self.threads[self.running].0, &self.threads[next].0);
                    let differ = self.threads[self.running].1 != self.threads[next].1;
                    from.switch_to(to, &self.register);
                    assert_eq!(self.register.take_writes(), usize::from(differ));
                    self.running = next;
                }
            }
            2 => {
                let (number, rights) = (chance.below(16), chance.rights());
                let bits = AccessBits::truncate(rights);
                let (thread, pairs) = &mut self.threads[self.running];
                thread.set(model::key(number), bits, &self.register);
                pairs[number] = model::pair(rights);
            }
            3 => {
                let any = chance.register();
                self.register.wrpkru(any);
                self.threads[self.running].1 = model::pairs(any);
            }
            4 => {
                let (thread, pairs) = &mut self.threads[self.running];
                let frame = thread.enter_handler(&self.register, INIT);
                assert_eq!(model::pairs(frame), *pairs);
                *pairs = at_start;
                self.frames.push((self.running, frame));
            }
            5 => {
                let last = self.frames.iter().rposition(|(of, _)| *of == self.running);
                if let Some((_, frame)) = last.map(|at| self.frames.remove(at)) {
                    let (thread, pairs) = &mut self.threads[self.running];
                    thread.load(frame, &self.register);
                    *pairs = model::pairs(frame);
                }
            }
            _ => {
                let (thread, pairs) = &mut self.threads[self.running];
                thread.exec(&self.register, INIT);
                *pairs = at_start;
            }
        }
        self.register.take_writes();
    }
}

pub(crate) fn threads_and_events_in_any_order_agree_with_a_model() {
    let mut chance = Chance::new(6);
    for _ in 0..300 {
        let mut cpu = Cpu::new();
        for _ in 0..100 {
            cpu.step(&mut chance);
            assert_eq!(cpu.register.pairs(), cpu.threads[cpu.running].1);
            for (number, (thread, pairs)) in cpu.threads.iter().enumerate() {
                if number != cpu.running {
                    assert_eq!(model::pairs(thread.saved()), *pairs);
                }
            }
        }
    }
}
